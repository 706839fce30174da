"""Text clients of the Java system, byte for byte as they speak, against a real cluster."""

from __future__ import annotations

import base64
import json
import socket
import struct
from collections.abc import Iterator

import pytest

from titan_test_suite.pytests.support.cluster import Cluster
from titan_test_suite.pytests.support.waiting import wait_until

pytestmark = pytest.mark.e2e

HEADER = struct.Struct(">BBBBI")


@pytest.fixture(scope="module")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("legacy"), "--legacy-clients") as cluster:
        cluster.start_worker()
        yield cluster


def ask(cluster: Cluster, opcode: int, body: str = "") -> str:
    """One connection, one frame, one reply; its text."""
    return _ask(cluster, opcode, body)[1]


def _ask(cluster: Cluster, opcode: int, body: str) -> tuple[int, str]:
    payload = body.encode()
    with socket.create_connection(("127.0.0.1", cluster.port), 10) as sock:
        sock.sendall(HEADER.pack(1, opcode, 0, 0, len(payload)) + payload)
        with sock.makefile("rb") as stream:
            version, reply, flags, spare, length = HEADER.unpack(stream.read(HEADER.size))
            assert (version, flags, spare) == (1, 0, 0)
            return reply, stream.read(length).decode()


def encoded(script: str) -> str:
    return base64.b64encode(script.encode()).decode()


def test_a_dag_runs_and_is_asked_for_by_its_prefixed_ids(legacy: Cluster) -> None:
    fetch = f"fetch|RUN_PAYLOAD|fetch.sh|{encoded('echo 3 > n; echo fetched data for the next job')}|GENERAL|5|0|[]"
    adds = encoded("import sys; print(int(open('n').read()) + int(sys.argv[1]))")
    add = f"add|GENERAL|RUN_PAYLOAD|add.py|7|{adds}|1|0|[fetch]|AFFINITY"
    assert ask(legacy, 0x04, f"{fetch} ; {add}") == "DAG_ACCEPTED"
    wait_until(lambda: ask(legacy, 0x55, "DAG-add") == "COMPLETED", explain=lambda: ask(legacy, 0x16, "DAG-add"))
    assert ask(legacy, 0x16, "add") == "10\n"
    assert ask(legacy, 0x55, "nobody") == "NULL"


def test_files_go_up_run_and_come_back(legacy: Cluster) -> None:
    assert ask(legacy, 0x57, f"hello.sh|{encoded('echo hello from a file')}") == "DEPLOY_SUCCESS"
    assert base64.b64decode(ask(legacy, 0x54, "hello.sh")) == b"echo hello from a file"
    assert ask(legacy, 0x54, "absent.sh") == "ERROR_NOT_FOUND"
    queued = ask(legacy, 0x06, "hello.sh|GENERAL")
    assert queued.startswith("JOB_QUEUED ")
    assert queued.endswith(" on GENERAL")
    job_id = queued.split()[1]
    wait_until(lambda: ask(legacy, 0x55, job_id) == "COMPLETED")
    assert ask(legacy, 0x16, job_id) == "hello from a file\n"


def test_a_service_is_deployed_shown_and_stopped(legacy: Cluster) -> None:
    assert ask(legacy, 0x53, f"serve.sh|{encoded('exec sleep 600')}") == "UPLOAD_SUCCESS"
    assert ask(legacy, 0x05, "serve.sh|8099|GENERAL") == "DEPLOY_QUEUED"
    worker = wait_until(lambda: next((w for w in _stats(legacy)["workers"] if w["services"]), None))
    assert worker["load"] == "0/4"
    assert "Service ID:" in ask(legacy, 0x08)
    assert "STOPPED" in ask(legacy, 0x07, worker["services"][0])
    wait_until(lambda: not any(w["services"] for w in _stats(legacy)["workers"]))


def test_a_single_job_and_the_figures(legacy: Cluster) -> None:
    assert ask(
        legacy, 0x03, f"solo|RUN_PAYLOAD|solo.sh|{encoded('echo alone, with a line of some length')}|GENERAL|2|0"
    ) == ("JOB_ACCEPTED")
    wait_until(lambda: ask(legacy, 0x55, "DAG-solo") == "COMPLETED")
    stats = _stats(legacy)
    assert (stats["active_workers"], stats["queue_size"]) == (1, 0)
    assert any(
        entry["id"] == "DAG-solo" and entry["status"] == "COMPLETED" for entry in stats["workers"][0]["history"]
    )
    assert ask(legacy, 0x08).startswith("--- TITAN SYSTEM MONITOR ---")


def test_refusals_are_texts(legacy: Cluster) -> None:
    assert ask(legacy, 0x04, "a|x.sh|1|0|[b] ; b|x.sh|1|0|[a]").startswith("ERROR: ")
    assert ask(legacy, 0x04, "a|GENERAL|hello.sh|1|0|[b] ; b|GENERAL|hello.sh|1|0|[a]") == "ERROR: cycle: a → b → a"
    assert ask(legacy, 0x07, "nobody").startswith("ERROR: ")
    assert ask(legacy, 0x11, "nowhere|1").startswith("ERROR: ")
    assert _ask(legacy, 0x60, "key|value")[0] == 0x51
    assert _ask(legacy, 0x04, "\x00")[0] == 0x50


def test_text_clients_are_refused_unless_asked_for(tmp_path: pytest.TempPathFactory) -> None:
    with Cluster(tmp_path) as cluster:  # type: ignore[arg-type]
        payload = b"x"
        with socket.create_connection(("127.0.0.1", cluster.port), 10) as sock:
            sock.sendall(HEADER.pack(1, 0x08, 0, 0, len(payload)) + payload)
            with sock.makefile("rb") as stream:
                reply = stream.read()
        assert reply[1] == 0x51
        assert b"NOT_AUTHORISED" in reply


def _stats(cluster: Cluster) -> dict[str, object]:
    return json.loads(ask(cluster, 0x09))  # type: ignore[no-any-return]
