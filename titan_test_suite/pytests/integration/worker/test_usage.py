"""What services take, as heartbeats say it, and attempts whose memory grows beyond what they may have."""

from __future__ import annotations

import re

import pytest

from titan_core.protocol.messages import Heartbeat, ServiceUsage
from titan_core.protocol.wire import MIB
from titan_core.worker import usage
from titan_core.worker.app import Worker
from titan_test_suite.pytests.integration.worker.conftest import StartWorker
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.pytests.support.worker_master import WorkerMaster

FILLS = "block = bytearray(80_000_000)\nfor i in range(0, len(block), 4096): block[i] = 1\n"
BURNS = "while True: pass\n"
TREE = """\
import os, time
if os.fork() == 0:
    os.environ.clear()
{child}
time.sleep(600)
"""
ORPHAN = """\
import os, time
if os.fork() == 0:
    if os.fork() == 0:
{child}
        time.sleep(600)
    os._exit(0)
os.wait()
time.sleep(600)
"""


def indented(code: str, depth: int) -> str:
    return "".join(f"{' ' * depth}{line}\n" for line in code.splitlines())


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "LOOK_S", 0.02)


@pytest.fixture
def worker(master: WorkerMaster, start_worker: StartWorker) -> Worker:
    master.heartbeat_s = 0.1
    worker = start_worker()
    master.wait_for_worker()
    return worker


def said(master: WorkerMaster, token: bytes) -> list[ServiceUsage]:
    """What the heartbeats say of this service."""
    return [one for beat in master.of(Heartbeat) for one in beat.usage if one.token == token]  # type: ignore[attr-defined]


def end(master: WorkerMaster, token: bytes) -> None:
    master.stop(token)
    master.result(token)


@pytest.mark.usefixtures("worker")
def test_heartbeats_say_what_services_take(master: WorkerMaster) -> None:
    busy = master.start(TREE.format(child=indented(FILLS + BURNS, 4)), "job.py", service=True)
    idle = master.start("exec sleep 600", service=True)
    master.start("exec sleep 600")
    wait_until(lambda: any(one.memory > 80_000_000 and one.cpu_percent > 20 for one in said(master, busy)), 20)
    assert all(one.cpu_percent < 400 and one.memory < 300_000_000 for one in said(master, busy))
    quiet = wait_until(lambda: said(master, idle))[-1]
    assert quiet.memory < 20_000_000
    assert quiet.cpu_percent < 20
    assert {one.token for beat in master.of(Heartbeat) for one in beat.usage} == {busy, idle}  # type: ignore[attr-defined]
    end(master, busy)
    end(master, idle)
    wait_until(lambda: master.of(Heartbeat)[-1].usage == ())  # type: ignore[attr-defined]


@pytest.mark.usefixtures("worker")
def test_what_has_lost_its_parent_counts(master: WorkerMaster) -> None:
    token = master.start(ORPHAN.format(child=indented(FILLS, 8)), "job.py", service=True)
    wait_until(lambda: any(one.memory > 80_000_000 for one in said(master, token)), 20)
    end(master, token)


@pytest.mark.parametrize("script", [FILLS + "import time\ntime.sleep(600)", TREE.format(child=indented(FILLS, 4))])
@pytest.mark.parametrize("service", [True, False])
@pytest.mark.usefixtures("worker")
def test_memory_that_grows_beyond_its_limit(master: WorkerMaster, script: str, service: bool) -> None:
    small = master.start("import time\ntime.sleep(600)", "job.py", service=service, max_memory=64 * MIB)
    token = master.start(script, "job.py", service=service, max_memory=64 * MIB)
    result = master.result(token)
    assert (result.outcome, result.exit_code) == ("FAILED", 143)
    found = re.fullmatch(r"memory grew to (\d+) MiB, max_memory is 64 MiB", result.reason)
    assert found and 64 < int(found[1]) < 200
    assert not master.results(small)
    end(master, small)


def test_a_worker_that_has_limited_nothing_looks_at_nothing(worker: Worker, master: WorkerMaster) -> None:
    token = master.start("true", max_memory=64 * MIB)
    master.result(token)
    wait_until(lambda: not worker._usage._limited)


@pytest.mark.usefixtures("worker")
def test_what_processes_share_is_theirs_once(master: WorkerMaster) -> None:
    forks = "import os, time\nfor _ in range(4):\n    if os.fork() == 0: break\ntime.sleep(600)"
    token = master.start(FILLS + forks, "job.py", service=True, max_memory=200 * MIB)
    wait_until(lambda: any(one.memory > 320_000_000 for one in said(master, token)), 20)
    end(master, token)
    assert master.results(token)[0].outcome == "STOPPED"
