"""A process dies at each named point, while something is submitted, run, cancelled or restarted: nothing is lost.

The victim is armed from its start and dies when it reaches its point after `strike`; then it is started again on the
same home and port, and goes on until the next one. What is right is judged by the ledger that the jobs write.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import pytest

from titan_core.failpoints import POINTS, VARIABLE
from titan_sdk import TitanClient, TitanJob
from titan_sdk.errors import Conflict, ConnectionFailed, ConnectionLost, TitanError, Unavailable
from titan_sdk.handles import JobHandle
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.torture.evidence import processes_of_jobs
from titan_test_suite.torture.ledger import Ledger
from titan_test_suite.torture.programs import Programs
from titan_test_suite.torture.scripts import NOTE, Scripts

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[3]
AT_START = ("store.loading", "master.recovered", "worker.before_register")
"""Reached once in the life of a process, or once in a session."""
FAST = ("--heartbeat-s", "0.5", "--death-s", "10")
PATIENCE_S = 40.0
NOT_SENT = (ConnectionFailed, Unavailable)
AWAY = (*NOT_SENT, ConnectionLost)
GATED = f"""\
# gated.sh FILE: works until there is such a file.
{NOTE}
note start 0
until [ -e "$1" ]; do sleep 0.05; done
note end 0
"""
T = TypeVar("T")


class Trial:
    """A master and a worker, one of which is going to die at `point`. Use as a context manager."""

    def __init__(self, home: Path, point: str) -> None:
        self._trap = home / "trap"
        self._armed = {VARIABLE: f"{point}@{self._trap}"}
        self._at_start = point in AT_START
        self._home = home
        self._ledger = home / "ledger"
        self.scripts = Scripts(home / "scripts", self._ledger)
        self._gates = map(home.joinpath, map("gate-{}".format, itertools.count()))
        self._gated = home / "scripts" / "gated.sh"
        self._gated.write_text(GATED)
        self._programs = Programs(home, 1, [*FAST])
        self._programs.connect_workers(lambda name: self._programs.master_port)
        (worker,) = self._programs.workers
        self._victim = worker if point.startswith("worker.") else self._programs.master
        self._nurse: threading.Thread | None = None
        self._over = False
        self.deaths = 0
        """Of the victim, since the last `live`."""
        self.trapped = False
        """It has died at its point, since then."""
        self._submitted = 0
        self.client = TitanClient("127.0.0.1", self._programs.master_port, token_file=self._programs.token_file)

    def __enter__(self) -> Trial:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        if kind is not None:
            print(self._tails())
        for member in reversed(self._programs.all):
            if member.pid:
                member.kill()
        if self._nurse is not None:
            self._nurse.join()
        self.client.close()

    def start(self) -> None:
        """Both programs; returns when the worker has registered."""
        for member in self._programs.all:
            member.start(**self._armed if member is self._victim else {})
            wait_until(self._programs.token_file.exists, PATIENCE_S, self._tails)
        self.patiently(self.client.workers)

    def live(self, scenario: Callable[[Trial], None]) -> None:
        """The scenario, and what must be so after each. A point that it did not reach is reached by the last job."""
        self.deaths, self.trapped = 0, False
        scenario(self)
        self.check_completed(self.submit(self.scripts.step, "0", "0"))
        self.check_all()

    def strike(self, restart: bool = False) -> None:
        """From now on the victim dies where it was told to; at once, when that is reached at its start only."""
        self._trap.touch()
        if restart or self._at_start:
            self._victim.kill()
            self.deaths += 1
            self._victim.start(**self._armed)
        self._nurse = threading.Thread(target=self._heal, name="nurse")
        self._nurse.start()

    def _heal(self) -> None:
        self._victim.wait()
        if not self._over:
            self._trap.unlink()
            self.deaths += 1
            self._victim.start(**self._armed)
            self.trapped = True

    # ── what a user does ──────────────────────────────────────────────────────────────────────────

    def submit(self, script: str, *args: str, **fields: object) -> JobHandle:
        self._submitted += 1
        job = TitanJob(f"job-{self._submitted}", script, args=args, env=self.scripts.env, **fields)
        # One that was sent is sent again by the client itself, with the id it had.
        return self.patiently(lambda: self.client.submit_job(job), NOT_SENT)

    def start_gated(self) -> tuple[JobHandle, Path]:
        """A job whose process is there, and the file it waits for."""
        gate = next(self._gates)
        job = self.submit(str(self._gated), str(gate))
        self.wait_for_start(job)
        return job, gate

    def wait_for_start(self, job: JobHandle) -> None:
        wait_until(lambda: Ledger.read(self._ledger).starts.get(job.key), PATIENCE_S, self._tails)

    def patiently(self, ask: Callable[[], T], away: tuple[type[TitanError], ...] = AWAY) -> T:
        """The first answer that is not empty; the master may be `away` for a while."""

        def try_once() -> T | None:
            try:
                return ask()
            except away:
                return None

        return wait_until(try_once, PATIENCE_S, self._tails)  # type: ignore[return-value]

    # ── what must be so ───────────────────────────────────────────────────────────────────────────

    def check_completed(self, job: JobHandle) -> None:
        """It ran to its end, counts once, and was not started more often than something happened to it."""
        status = self.patiently(lambda: job.wait(timeout=PATIENCE_S))
        assert status.state == "COMPLETED", (status, self._tails())
        (counted,) = [attempt.number for attempt in status.attempts if attempt.outcome == "SUCCEEDED"]
        ledger = Ledger.read(self._ledger)
        assert ledger.end_of(job.key, counted), ledger.of(job.key)
        starts = ledger.starts[job.key]
        assert len({start.token for start in starts}) == len(starts) <= 1 + self._hits, (starts, status)

    def check_cancelled(self, job: JobHandle) -> None:
        """It is not there any more, and neither is anything that it has started."""
        assert self.patiently(lambda: job.wait(timeout=PATIENCE_S)).state == "CANCELLED"
        wait_until(lambda: not self.living, PATIENCE_S, lambda: self.living)

    def check_all(self) -> None:
        """The victim has died where it should, each submission became one run, and no process is left."""
        wait_until(lambda: self.trapped, PATIENCE_S, self._tails)
        assert len(self.patiently(self.client.runs)) == self._submitted
        wait_until(lambda: not self.living, PATIENCE_S, lambda: self.living)

    @property
    def living(self) -> dict[int, str]:
        return processes_of_jobs(self._ledger)

    @property
    def _hits(self) -> int:
        """How often something happened to jobs: a death of the master does not concern them."""
        return self.deaths if self._victim in self._programs.workers else 0

    def _tails(self) -> str:
        return "\n".join(f"── {member.name}\n{member.tail()}" for member in self._programs.all)


def submit(trial: Trial) -> None:
    trial.strike()
    trial.check_completed(trial.submit(trial.scripts.step, "0", "0"))


def run(trial: Trial) -> None:
    job, gate = trial.start_gated()
    trial.strike()
    gate.touch()
    trial.check_completed(job)


def cancel(trial: Trial) -> None:
    job = trial.submit(trial.scripts.hold, stop_grace=0.2)
    trial.wait_for_start(job)
    trial.strike()
    with suppress(Conflict):  # it was granted the first time, and the answer was lost
        trial.patiently(lambda: trial.client.cancel(job))
    trial.check_cancelled(job)


def restart(trial: Trial) -> None:
    job, gate = trial.start_gated()
    trial.strike(restart=True)
    gate.touch()
    trial.check_completed(job)


@pytest.mark.parametrize("point", POINTS)
def test_nothing_is_lost_by_a_death_at(point: str, tmp_path: Path) -> None:
    with Trial(tmp_path, point) as trial:
        trial.start()
        for scenario in (submit, run, cancel, restart):
            print(f"── {point} during {scenario.__name__}")
            trial.live(scenario)


def test_every_point_is_somewhere_in_the_code_and_nothing_else_is() -> None:
    sources = [path for path in (ROOT / "titan_core").rglob("*.py") if path.name != "failpoints.py"]
    texts = [path.read_text() for path in sources]
    reached = {name for text in texts for name in re.findall(r'\breach\("([^"]+)"\)', text)}
    assert reached <= {*POINTS}
    assert not [point for point in POINTS if not any(f'"{point}"' in text for text in texts)]


def test_a_point_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    for text in ("store.nowhere", "store.loading:never"):
        environ = {VARIABLE: text, "TITAN_HOME": str(tmp_path)}
        command = [sys.executable, "-m", "titan_core.master", "--port", "0"]
        refused = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
        assert refused.returncode == 2
        assert f"{VARIABLE} is {text!r}" in refused.stderr
