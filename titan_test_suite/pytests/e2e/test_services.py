"""Services on real processes: kept running through `kill -9` of themselves, their worker and the master."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from titan_sdk import Conflict, ServiceFailed, TitanClient, TitanJob
from titan_test_suite.pytests.support.cluster import Cluster
from titan_test_suite.pytests.support.ports import free_port
from titan_test_suite.pytests.support.servers import SERVER, RequestLoop, ask, asked, server
from titan_test_suite.pytests.support.waiting import wait_until

pytestmark = pytest.mark.e2e

READY_S = 20.0
RATE = 200.0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    flags = ("--port", str(free_port()), "--heartbeat-s", "0.3", "--death-s", "1.5")
    with Cluster(tmp_path, *flags) as cluster:
        cluster.environ["TITAN_WORKER_RECONNECT_MAX_S"] = "0.3"
        yield cluster


@pytest.fixture
def client(cluster: Cluster) -> Iterator[TitanClient]:
    with cluster.client() as client:
        yield client


def deploy(client: TitanClient, job: TitanJob) -> str:
    """The key of a service that is ready."""
    key = client.submit_job(job).key
    client.wait_service(key, READY_S)
    return key


def address_of(client: TitanClient, key: str) -> str:
    """Where the service answers, once it does."""
    return wait_until(lambda: next(iter(client.service_addresses(key)), ""), READY_S, lambda: client.service(key))


def wait_for_another(address: str, pid: int) -> None:
    """Until a process of another pid answers there."""
    wait_until(lambda: (now := asked(address)) and now.pid != pid, READY_S, f"nobody but {pid} at {address}")


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# ── killed ────────────────────────────────────────────────────────────────────────────────────────


def test_a_service_that_is_killed_serves_again_at_the_same_address(
    cluster: Cluster, client: TitanClient, tmp_path: Path
) -> None:
    cluster.start_worker()
    key = deploy(client, server(tmp_path))
    address = address_of(client, key)
    for killed in range(1, 3):
        pid = ask(address).pid
        os.kill(pid, signal.SIGKILL)
        wait_for_another(address, pid)
        wait_until(lambda: client.service(key).state == "READY", READY_S)
        assert client.service_addresses(key) == [address]
        assert client.service(key).instances[0].restarts == killed
        assert client.job(key).attempts[-2].reason == "ended by SIGKILL"


def test_the_log_is_followed_across_restarts(cluster: Cluster, client: TitanClient, tmp_path: Path) -> None:
    cluster.start_worker()
    key = deploy(client, server(tmp_path))
    lines = client.stream_logs(key)
    assert next(lines).startswith("version 1 serves")
    os.kill(ask(address_of(client, key)).pid, signal.SIGKILL)
    assert next(lines).startswith("version 1 serves")
    client.stop_service(key)
    assert list(lines) == []


def test_when_its_worker_is_killed_it_moves_and_its_process_ends_with_the_workers_return(
    cluster: Cluster, client: TitanClient, tmp_path: Path
) -> None:
    workers = {program.pid: program for program in (cluster.start_worker(port=free_port()) for _ in range(2))}
    key = deploy(client, server(tmp_path))
    old = address_of(client, key)
    pid = ask(old).pid
    host = client.service(key).instances[0].worker
    (killed,) = [program for program in workers.values() if host.endswith(f":{program.arguments[1]}")]
    killed.kill()
    new = wait_until(lambda: [a for a in client.service_addresses(key) if a != old], READY_S)[0]
    assert ask(new).pid != pid
    assert client.service(key).instances[0].worker != host
    assert lives(pid)  # nobody is there who could end it
    cluster.restart_worker(killed)
    assert not lives(pid)
    assert ask(new).version == "1"


def test_services_never_stop_for_a_master_that_is_killed(
    cluster: Cluster, client: TitanClient, tmp_path: Path
) -> None:
    cluster.start_worker()
    key = deploy(client, server(tmp_path, instances=2))
    before = {address: ask(address).pid for address in client.service_addresses(key)}
    assert len(before) == 2
    cluster.master.kill()
    assert {address: ask(address).pid for address in before} == before
    cluster.start_master(*cluster.master.arguments[1:])
    assert set(client.service_addresses(key)) == set(before)  # known at once, before any worker is back
    wait_until(lambda: client.workers()[0].state == "ONLINE", READY_S)
    client.wait_service(key, READY_S)
    assert {address: ask(address).pid for address in client.service_addresses(key)} == before
    assert [instance.attempt for instance in client.service(key).instances] == [1, 1]


def test_one_that_crashes_while_the_master_is_away_runs_again_when_it_is_back(
    cluster: Cluster, client: TitanClient, tmp_path: Path
) -> None:
    cluster.start_worker()
    key = deploy(client, server(tmp_path))
    address = address_of(client, key)
    cluster.master.kill()
    pid = ask(address).pid
    os.kill(pid, signal.SIGKILL)
    cluster.start_master(*cluster.master.arguments[1:])
    wait_for_another(address, pid)
    wait_until(lambda: client.service(key).instances[0].restarts == 1, READY_S)


def test_one_that_hangs_is_restarted(cluster: Cluster, client: TitanClient, tmp_path: Path) -> None:
    cluster.start_worker()
    checked = {"http": "/health", "interval": 0.2, "timeout": 0.5}
    text = HTTP_SERVER.format(answers=1)
    key = deploy(client, server(tmp_path, text=text, health=checked, unhealthy_after=2))
    wait_until(lambda: client.service(key).instances[0].restarts >= 1, READY_S, lambda: client.service(key))
    reason = client.job(key).attempts[0].reason
    assert reason.startswith("unhealthy: 2 checks in a row failed, the last: ")


HTTP_SERVER = """\
import http.server, os, time

class Handler(http.server.BaseHTTPRequestHandler):
    answered = 0

    def do_GET(self):
        Handler.answered += 1
        if Handler.answered > {answers}:
            time.sleep(1000)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


# ── by hand ───────────────────────────────────────────────────────────────────────────────────────


def test_stop_start_and_scale(cluster: Cluster, client: TitanClient, tmp_path: Path) -> None:
    cluster.start_worker()
    cluster.start_worker()
    key = deploy(client, server(tmp_path))
    client.scale_service(key, 4)
    wait_until(lambda: len(client.service_addresses(key)) == 4, READY_S)
    assert len({instance.worker for instance in client.service(key).instances}) == 2
    pids = {ask(address).pid for address in client.service_addresses(key)}
    assert len(pids) == 4
    client.stop_service(key)
    assert client.service_addresses(key) == []
    wait_until(lambda: client.service(key).state == "STOPPED", READY_S)
    assert not any(map(lives, pids))
    client.start_service(key)
    client.wait_service(key, READY_S)
    assert len(client.service_addresses(key)) == 4


def test_a_rolling_update_drops_no_request(cluster: Cluster, client: TitanClient, tmp_path: Path) -> None:
    for _ in range(2):
        cluster.start_worker()
    key = deploy(client, server(tmp_path, instances=2))
    with cluster.client() as other, RequestLoop(other, key, RATE) as loop:
        wait_until(lambda: len(loop.answers) >= 50, READY_S)
        client.update_service(key, server(tmp_path, env={"VERSION": "2"}, min_uptime=0.5))
        wait_until(lambda: client.service(key).state == "READY", READY_S, lambda: client.service(key))
        client.restart_service(key)
        wait_until(lambda: client.service(key).state == "READY", READY_S, lambda: client.service(key))
        seen = len(loop.answers)
        wait_until(lambda: len(loop.answers) >= seen + 50, READY_S)
    assert loop.dropped == []
    assert {answer.version for answer in loop.answers} == {"1", "2"}
    assert {answer.version for answer in loop.answers[-50:]} == {"2"}
    assert len({answer.pid for answer in loop.answers}) >= 2 * 3


def test_an_update_that_does_not_become_ready_is_taken_back(
    cluster: Cluster, client: TitanClient, tmp_path: Path
) -> None:
    cluster.start_worker()
    key = deploy(client, server(tmp_path, instances=2))
    before = {ask(address) for address in client.service_addresses(key)}
    client.update_service(key, server(tmp_path, text="import time\ntime.sleep(1000)\n", ready_timeout=0.5))
    wait_until(lambda: client.service(key).state == "READY", READY_S, lambda: client.service(key))
    status = client.service(key)
    assert status.reason.startswith("revision 2 was taken back: not ready within 0.5 s")
    assert {ask(address) for address in client.service_addresses(key)} == before


def test_an_update_that_ends_at_once_costs_no_instance_though_nothing_can_be_checked(
    cluster: Cluster, client: TitanClient, tmp_path: Path
) -> None:
    cluster.start_worker()
    (tmp_path / "waits.sh").write_text("exec sleep 600")
    (tmp_path / "ends.sh").write_text("exit 5")
    key = deploy(client, TitanJob("consumer", tmp_path / "waits.sh", type="service", instances=2))
    began = [(instance.job_id, instance.started_wall) for instance in client.service(key).instances]
    client.update_service(key, TitanJob("consumer", tmp_path / "ends.sh", type="service"))
    with pytest.raises(ServiceFailed, match="revision 2 was taken back: exit code 5"):
        client.wait_service(key, READY_S, since=1)
    wait_until(lambda: len(client.service(key).instances) == 2, READY_S, lambda: client.service(key))
    assert [(instance.job_id, instance.started_wall) for instance in client.service(key).instances] == began


# ── what goes wrong has a state and a reason ──────────────────────────────────────────────────────


def test_a_crash_loop(tmp_path: Path) -> None:
    with Cluster(tmp_path, "--provisioner", "none") as cluster:
        cluster.master.stop()
        limits = {"TITAN_MASTER_RESTART_MAX_S": "0.05", "TITAN_MASTER_CRASH_LOOP_RESTARTS": "4"}
        cluster.start_master("--port", str(free_port()), **limits)
        cluster.start_worker()
        with cluster.client() as client:
            key = client.submit_job(server(tmp_path, text="raise SystemExit(7)")).key
            wait_until(lambda: client.service(key).state == "CRASHLOOP", READY_S, lambda: client.service(key))
            reason = client.service(key).reason
            assert reason.startswith(
                "crash loop: ended 5 times in a row, at last: exit code 7; tried again in 3600 s"
            )
            assert len(client.job(key).attempts) == 5
            told = cluster.cli("services", key)
            assert "CRASHLOOP" in told.stdout
            client.start_service(key)
            wait_until(lambda: len(client.job(key).attempts) > 5, READY_S)


def test_a_port_that_somebody_has(cluster: Cluster, client: TitanClient, tmp_path: Path) -> None:
    cluster.start_worker()
    with socket.socket() as owner:
        owner.bind(("127.0.0.1", 0))
        owner.listen()
        port = owner.getsockname()[1]
        key = client.submit_job(server(tmp_path, port=port)).key
        wait_until(lambda: client.job(key).attempts, READY_S)
        wait_until(lambda: client.job(key).attempts[0].outcome == "NOT_STARTED", READY_S)
        name = psutil.Process().name()
        expected = f"port {port} is in use by {name} (pid {os.getpid()})"
        assert client.job(key).attempts[0].reason == expected
        wait_until(lambda: expected in client.service(key).reason, READY_S, lambda: client.service(key))
    with contextlib.suppress(Conflict):  # it may have been tried again just now
        client.start_service(key)
    client.wait_service(key, READY_S)


def test_a_port_that_another_service_has(cluster: Cluster, client: TitanClient, tmp_path: Path) -> None:
    cluster.start_worker()
    port = free_port()
    first = deploy(client, server(tmp_path, port=port))
    second = client.submit_job(server(tmp_path, "other", port=port)).key
    status = wait_until(lambda: client.service(second), READY_S)
    host = client.workers()[0].worker_id.rpartition(":")[0]
    assert (status.state, status.reason) == ("WAITING", f"port {port} is taken: on {host} by service {first}")
    client.stop_service(first)
    client.wait_service(second, READY_S)


def test_a_capability_that_nobody_has(cluster: Cluster, client: TitanClient, tmp_path: Path) -> None:
    cluster.start_worker()
    key = client.submit_job(server(tmp_path, requirement="GPU")).key
    status = client.service(key)
    assert (status.state, status.reason) == ("WAITING", "no worker has GPU; the known ones have GENERAL")


# ── in a run ──────────────────────────────────────────────────────────────────────────────────────

CLIENT = """\
import os, socket
host, _, port = os.environ["TITAN_SERVICE_WEB_API"].rpartition(":")
with socket.create_connection((host, int(port)), 5) as connection:
    connection.sendall(b"hello")
    print(connection.recv(100).decode().split()[1])
"""


def test_jobs_of_the_run_find_its_service_which_ends_with_them(
    cluster: Cluster, client: TitanClient, tmp_path: Path
) -> None:
    cluster.start_worker()
    web = server(tmp_path, "web-api", scope="run")
    script = tmp_path / "client.py"
    script.write_text(CLIENT)
    run = client.submit_dag("shop", [web, TitanJob("client", str(script), parents=["web-api"])])
    assert run.result(READY_S).state == "COMPLETED"
    assert client.fetch_logs(f"{run}/client") == "1\n"
    wait_until(lambda: client.service(f"{run}/web-api").state == "STOPPED", READY_S)
    assert client.job(f"{run}/web-api").reason == "its run is over"


def test_what_takes_too_much_memory_is_restarted(cluster: Cluster, client: TitanClient, tmp_path: Path) -> None:
    cluster.start_worker()
    hungry = SERVER.replace("quiet = 0\n", "quiet = 0\nhoard = bytearray(os.urandom(1) * 200_000_000)\n", 1)
    key = client.submit_job(server(tmp_path, text=hungry, max_memory="100M")).key
    wait_until(lambda: len(client.job(key).attempts) > 1, READY_S, lambda: client.service(key))
    assert client.job(key).attempts[0].reason.startswith("memory grew to ")
