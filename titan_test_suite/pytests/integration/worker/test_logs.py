"""What jobs print reaches the master: all of it, in order, in batches, before the result, in bounded memory."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from titan_core.worker.logs import BATCH_LINES, PIECE_BYTES
from titan_core.worker.outbox import ROOM_BYTES
from titan_test_suite.pytests.integration.worker.conftest import StartWorker
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.pytests.support.worker_master import WorkerMaster

pytestmark = pytest.mark.usefixtures("worker")

MIB = 1024 * 1024


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    return tmp_path / "titan_workspace" / "shared" / "run-1"


def received(master: WorkerMaster, token: bytes) -> int:
    return sum(len(batch.data) for batch in list(master.batches[token]))


def test_ten_thousand_lines_come_in_order(master: WorkerMaster) -> None:
    token = master.start("for n in range(10_000): print('line', n)\n", "job.py")
    assert master.result(token).outcome == "SUCCEEDED"
    assert master.log(token).decode().splitlines() == [f"line {n}" for n in range(10_000)]
    assert max(batch.data.count(b"\n") for batch in master.batches[token]) <= BATCH_LINES


def test_a_burst_of_lines_is_split_into_batches(master: WorkerMaster) -> None:
    token = master.start("seq 1000")
    master.result(token)
    assert [batch.data.count(b"\n") for batch in master.batches[token]] == [BATCH_LINES] * 5


def test_the_log_is_complete_before_the_result(master: WorkerMaster, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: dict[bytes, int] = {}
    keep = master._keep

    def note(message: object, stream: object) -> None:
        token = message.token  # type: ignore[attr-defined]
        sizes[token] = received(master, token)
        keep(message, stream)  # type: ignore[arg-type]

    monkeypatch.setattr(master, "_keep", note)
    tokens = [master.start("head -c 700000 /dev/zero") for _ in range(8)]
    for token in tokens:
        master.result(token)
    assert sizes == dict.fromkeys(tokens, 700_000)


def test_lines_arrive_while_the_job_runs(master: WorkerMaster, shared: Path) -> None:
    token = master.start("echo one; while [ ! -e go ]; do sleep 0.01; done; echo two")
    wait_until(lambda: master.log(token) == b"one\n", 5)
    assert not master.results(token)
    (shared / "go").touch()
    master.result(token)
    assert master.log(token) == b"one\ntwo\n"


def test_fifty_megabytes_in_one_line_neither_fill_the_memory_nor_slow_the_job(
    master: WorkerMaster, shared: Path
) -> None:
    size, memory = 50 * MIB, psutil.Process().memory_info().rss
    master.read_gate.clear()  # a master that reads nothing: what can not be sent must stay in the file
    token = master.start(f"head -c {size} /dev/zero | tr '\\0' x; echo > over; sleep 600")
    wait_until((shared / "over").exists, 20)
    assert psutil.Process().memory_info().rss - memory < 8 * ROOM_BYTES
    master.read_gate.set()
    wait_until(lambda: received(master, token) == size, 20)
    assert max(len(batch.data) for batch in master.batches[token]) <= PIECE_BYTES
    assert master.log(token) == b"x" * size
    master.stop(token)
    master.result(token)


def test_bytes_that_are_no_text_come_through(master: WorkerMaster) -> None:
    token = master.start("printf '\\xff\\x00\\xfe\\n\\xe4'")
    master.result(token)
    assert master.log(token) == b"\xff\x00\xfe\n\xe4"


def test_a_log_is_kept_up_to_its_limit(master: WorkerMaster, start_worker: StartWorker, tmp_path: Path) -> None:
    start_worker(max_log_bytes=100_000)
    master.wait_for_worker(2)
    token = master.start(
        "for n in {1..20}; do head -c 50000 /dev/zero | tr '\\0' y; sleep 0.02; done; echo; echo last"
    )
    assert master.result(token).outcome == "SUCCEEDED"
    log = master.log(token)
    assert log.startswith(b"y" * 100_000)
    assert log[100_000:] == b"\n[titan: the output went on; only the first 100000 bytes of it are kept]\n"
    (file,) = tmp_path.glob("titan_workspace/jobs/run-1/*/attempt-1.log")
    assert file.read_bytes() == log
