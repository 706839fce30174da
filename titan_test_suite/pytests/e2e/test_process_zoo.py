"""Processes that do what they can to outlive their job, and every way in which a job ends: nothing survives.

Every animal enters a directory of its own, its cage, and leaves its brood there; children inherit it, whatever
else they shed. So who survives is read from /proc, without asking Titan.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from titan_sdk import RunHandle, TitanClient, TitanJob
from titan_test_suite.pytests.support.cgroups import CAN_BE_MADE
from titan_test_suite.pytests.support.cluster import Cluster
from titan_test_suite.pytests.support.ports import free_port
from titan_test_suite.pytests.support.waiting import wait_until

pytestmark = pytest.mark.e2e

PYTHON = "import os, signal, sys, time\nos.chdir(os.environ['CAGE'])\nup = lambda: open('up', 'w').close()\n"
SHELL = 'cd "$CAGE"\n'

ANIMALS = {
    "double-fork.py": """\
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        up(); time.sleep(600)
    os._exit(0)
os.wait(); time.sleep(600)
""",
    "daemon.py": """\
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 100)
        up(); os.execve("/bin/sleep", ["sleep", "600"], {})
    os._exit(0)
os.wait(); time.sleep(600)
""",
    "own-session.sh": "setsid sleep 600 & touch up; wait",
    "nothing-to-know-it-by.sh": "(env -i setsid bash -c '(sleep 600 & touch up) & sleep 600' &); sleep 600",
    "three-generations.sh": "env -i setsid bash -c 'setsid bash -c \"sleep 600 & touch up; wait\" & wait' & wait",
    "deaf.sh": "trap '' TERM; sleep 600 & touch up; while :; do sleep 600; done",
    "deaf-brood.sh": "(trap '' TERM INT HUP; touch up; while :; do sleep 600; done) & wait",
    "stopped.sh": "(setsid bash -c 'kill -STOP $$' &); touch up; kill -STOP $$; sleep 600",
    "holds-pipes.sh": "sleep 600 | cat & (sleep 600; echo never) & exec 9> held; touch up; wait",
    "zombies.py": """\
for _ in range(20):
    if os.fork() == 0:
        os._exit(0)
up(); time.sleep(600)
""",
    "orphaned-zombies.py": """\
if os.fork() == 0:
    os.setsid()
    for _ in range(20):
        if os.fork() == 0:
            os._exit(0)
    up(); time.sleep(600)
time.sleep(600)
""",
    "storm.py": """\
for _ in range(16):
    if os.fork() == 0:
        while True:
            time.sleep(0.03)
            if os.fork():
                os._exit(0)
            os.setsid()
up(); time.sleep(600)
""",
    "wiped-storm.py": """\
if len(sys.argv) < 2:
    for _ in range(4):
        if os.fork() == 0:
            os.execve(sys.executable, ["-", "-S", __file__, "on"], {"CAGE": os.getcwd()})
    up(); time.sleep(600)
while True:
    time.sleep(0.03)
    if os.fork():
        os._exit(0)
    os.setsid()
""",
}


NEED_A_CGROUP = {"daemon.py", "nothing-to-know-it-by.sh", "storm.py", "wiped-storm.py"}
"""They hide so well that a worker without one can not always tell whose they are."""
if not CAN_BE_MADE:
    ANIMALS = {name: text for name, text in ANIMALS.items() if name not in NEED_A_CGROUP}


class Zoo:
    """A cluster of one worker, which has a place for every animal at once and a service beside them."""

    def __init__(self, directory: Path, *master_flags: str) -> None:
        self._directory = directory
        self.cluster = Cluster(directory, *master_flags)
        self.worker = self.cluster.start_worker(slots=len(ANIMALS), port=free_port())

    def let_in(self, client: TitanClient, **fields: object) -> RunHandle:
        """Start every animal, and wait until each has its brood."""
        run = client.submit_dag("zoo", [self._animal(name, fields) for name in ANIMALS])
        for name in ANIMALS:
            wait_until((self._cage(name) / "up").exists, 20, f"{name} is not up")
        assert set(self.alive()) == set(ANIMALS)
        return run

    def keep_a_service(self, client: TitanClient) -> int:
        """Start a service on the worker, so that it is not idle when the animals end; its pid."""
        cage = self._cage("keeper")
        client.submit_job(self._job("keeper.sh", SHELL + "echo $$ > pid; mv pid up; exec sleep 600", type="service"))
        wait_until((cage / "up").exists)
        return int((cage / "up").read_text())

    def alive(self) -> dict[str, list[str]]:
        """Who lives in which cage."""
        cages = {str(self._cage(name)): name for name in ANIMALS}
        found: dict[str, list[str]] = {}
        for process in Path("/proc").iterdir():
            if process.name.isdigit() and (name := cages.get(_cwd(process))) is not None:
                found.setdefault(name, []).append(process.name)
        return found

    def put_down(self) -> None:
        """End what has survived, so that a test that fails leaves nothing."""
        while found := self.alive():
            for pid in itertools.chain(*found.values()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)

    def zombies(self) -> list[psutil.Process]:
        """What the worker has been handed and has not reaped."""
        children = psutil.Process(self.cluster.workers[-1].pid).children()
        return [child for child in children if child.status() == psutil.STATUS_ZOMBIE]

    def _animal(self, name: str, fields: dict[str, object]) -> TitanJob:
        return self._job(name, (PYTHON if name.endswith(".py") else SHELL) + ANIMALS[name], **fields)

    def _job(self, name: str, text: str, **fields: object) -> TitanJob:
        cage = self._cage(name)
        cage.mkdir(parents=True)
        script = cage / name
        script.write_text(text)
        values = {"env": {"CAGE": str(cage)}, "stop_grace": 0.3, "max_attempts": 1, **fields}
        return TitanJob(filename=script, **values)

    def _cage(self, name: str) -> Path:
        return self._directory / "cages" / Path(name).stem


def _cwd(process: Path) -> str:
    try:
        return str((process / "cwd").readlink())
    except OSError:  # it has ended
        return ""


@pytest.fixture
def zoo(tmp_path: Path) -> Iterator[Zoo]:
    zoo = Zoo(tmp_path, "--heartbeat-s", "0.2", "--death-s", "2")
    try:
        with zoo.cluster:
            yield zoo
        assert not zoo.alive()
    finally:
        zoo.put_down()


def ends(client: TitanClient, run: RunHandle) -> set[tuple[str, str]]:
    """In which states the animals' jobs ended, and how their attempts did."""
    jobs = [client.job(f"{run.run_id}/{job.job_id}") for job in run.wait(timeout=20).jobs]
    return {(job.state, attempt.outcome) for job in jobs for attempt in job.attempts}


def test_cancel(zoo: Zoo) -> None:
    with zoo.cluster.client() as client:
        service = zoo.keep_a_service(client)
        run = zoo.let_in(client)
        run.cancel()
        assert ends(client, run) == {("CANCELLED", "STOPPED")}
        assert not zoo.alive()
        assert psutil.Process(service).status() == psutil.STATUS_SLEEPING
        wait_until(lambda: not zoo.zombies(), 5, zoo.zombies)


def test_time_out(zoo: Zoo) -> None:
    with zoo.cluster.client() as client:
        service = zoo.keep_a_service(client)
        run = zoo.let_in(client, timeout=4.0)
        assert ends(client, run) == {("DEAD", "TIMED_OUT")}
        assert not zoo.alive()
        assert psutil.Process(service).status() == psutil.STATUS_SLEEPING
        wait_until(lambda: not zoo.zombies(), 5, zoo.zombies)


def test_a_worker_that_is_killed_and_started_again(zoo: Zoo) -> None:
    with zoo.cluster.client() as client:
        run = zoo.let_in(client)
        zoo.worker.kill()
        zoo.cluster.restart_worker(zoo.worker)
        assert not zoo.alive()
        assert ends(client, run) == {("DEAD", "LOST")}
        lost = zoo.cluster.cli("explain", f"{run.run_id}/own-session")
        assert "DEAD: outcome unknown: worker" in lost.stdout
        assert "was restarted" in lost.stdout


def test_a_worker_that_is_killed_and_another_in_its_home(zoo: Zoo) -> None:
    with zoo.cluster.client() as client:
        run = zoo.let_in(client)
        zoo.worker.kill()
        zoo.cluster.start_worker()
        assert not zoo.alive()
        assert ends(client, run) == {("DEAD", "LOST")}
        assert "was not heard for 2 s" in zoo.cluster.cli("explain", f"{run.run_id}/own-session").stdout


def test_a_master_that_is_killed_and_started_again(zoo: Zoo) -> None:
    with zoo.cluster.client() as client:
        run = zoo.let_in(client)
        port = str(zoo.cluster.port)
        zoo.cluster.master.kill()
        zoo.cluster.start_master("--port", port)
        wait_until(client.workers, 20)
        assert set(zoo.alive()) == set(ANIMALS)
        run.cancel()
        assert ends(client, run) == {("CANCELLED", "STOPPED")}
        assert not zoo.alive()
