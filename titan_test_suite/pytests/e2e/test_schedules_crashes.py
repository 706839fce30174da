"""The master dies at each named point just when schedules are due: a slot comes to one line, and to one run at most.

It dies where it was told to, at the next slot or at its next start; then another one is started on the same home and
port. Who judges is the judge of the storm, by the ledger that the jobs write.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from titan_core.failpoints import VARIABLE
from titan_core.protocol.messages import FireStatus
from titan_sdk import TitanClient, TitanJob
from titan_sdk.access import Access
from titan_sdk.errors import ConnectionFailed, ConnectionLost, Unavailable
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.torture import evidence, fires, oracle
from titan_test_suite.torture.ear import Ear
from titan_test_suite.torture.evidence import Witness
from titan_test_suite.torture.fires import Chronicle, FireEvidence
from titan_test_suite.torture.oracle import Violation
from titan_test_suite.torture.programs import Programs
from titan_test_suite.torture.schedules import Timed, is_over
from titan_test_suite.torture.scripts import Scripts

pytestmark = pytest.mark.e2e

AT_START = ("store.loading", "master.recovered")
UNDECIDED = ("store.before_commit",)
"""What was decided then is on no disk."""
POINTS = (*UNDECIDED, "store.after_commit", "master.before_send", "master.after_send", *AT_START)
PATIENCE_S = 40.0
LAST_MISSED = (("RAN", True), ("MISSED", False))
"""What the catch-up policy `last` makes of a slot that was missed; that the newest one is made up for is judged."""
AWAY = (ConnectionFailed, ConnectionLost, Unavailable)
DUE = (
    Timed("none", 1, "queue", "none", 0, 1),
    Timed("last", 1, "queue", "last", 0, 1),
    Timed("all", 1, "allow", "all", 0, 1),
)


class Trial:
    """A master and a worker, and schedules that are due each second; the master is going to die at `point`."""

    def __init__(self, home: Path, point: str) -> None:
        self._armed, self._at_start = home / "armed", point in AT_START
        self._trap = {VARIABLE: f"{point}@{self._armed}"}
        self._ledger = home / "ledger"
        self._scripts = Scripts(home / "scripts", self._ledger)
        self._programs = Programs(home, 1, ["--heartbeat-s", "0.5", "--death-s", "10"])
        self._programs.connect_workers(lambda name: self._programs.master_port)
        self.master = self._programs.master
        self._ear = Ear()
        self.killed: list[float] = []
        """When the master has died."""
        self._access = Access("127.0.0.1", self._programs.master_port, token_file=str(self._programs.token_file))

    def close(self) -> None:
        self._ear.close()
        for member in reversed(self._programs.all):
            if member.pid:
                member.kill()

    def start(self) -> None:
        for member in self._programs.all:
            member.start(**self._trap if member is self.master else {})
            wait_until(self._programs.token_file.exists, PATIENCE_S, self.master.tail)
        wait_until(lambda: self._patiently(lambda client: bool(client.workers())), PATIENCE_S, self.master.tail)
        with self._client() as client:
            job = TitanJob("step-0", self._scripts.tick, args=("0", "1"), env=self._scripts.env)
            for timed in DUE:
                client.schedule(
                    timed.name,
                    job,
                    every="1s",
                    overlap=timed.overlap,
                    catch_up=timed.catch_up,
                    on_missed=self._ear.url,
                )

    def strike(self) -> None:
        """In the middle of a second, so that the next thing that happens is a fire."""
        self._wait_for_fires(time.time())
        wait_until(lambda: 0.4 < time.time() % 1 < 0.6, PATIENCE_S)
        self._armed.touch()
        if self._at_start:
            self.killed.append(self.master.kill())
            self.master.start(**self._trap)
        self.master.wait()
        self.killed.append(time.time())
        self.master.start()
        self._wait_for_fires(time.time())

    def end(self) -> dict[str, list[FireStatus]]:
        """Remove the schedules, and wait until nothing goes on; what became of their slots, newest first."""
        with self._client() as client:
            for timed in DUE:
                client.remove_schedule(timed.name)
            wait_until(lambda: all(map(is_over, self._lines(client))), PATIENCE_S)
            return {timed.name: list(client.schedule_history(timed.name)) for timed in DUE}

    def judge(self, ledgers: dict[str, list[FireStatus]]) -> list[Violation]:
        chronicles = []
        for timed in DUE:
            last, *_, first = [int(line.slot_wall) for line in ledgers[timed.name]]
            chronicles.append(Chronicle(timed, range(first, last + 1), last, ledgers[timed.name]))
        promises = [promise for chronicle in chronicles for promise in fires.promises_of(chronicle)]
        with contextlib.closing(Witness(self._access)) as witness:
            known = evidence.gather(witness, promises, self._ledger, [], [])
        return oracle.judge(known) + fires.judge(
            FireEvidence(chronicles, known.ledger, known.jobs, self.killed, self._ear.heard)
        )

    def _wait_for_fires(self, since_wall: float) -> None:
        """Until each has run, and has ended, in its time."""

        def have_fired(client: TitanClient) -> bool:
            ran = [line for line in self._lines(client) if line.slot_wall > since_wall and line.finished_wall]
            return {line.schedule for line in ran} == {timed.name for timed in DUE}

        wait_until(lambda: self._patiently(have_fired), PATIENCE_S, self.master.tail)

    @staticmethod
    def _lines(client: TitanClient) -> list[FireStatus]:
        return [line for timed in DUE for line in client.schedule_history(timed.name)]

    def _patiently(self, ask: Callable[[TitanClient], bool]) -> bool:
        """What it says; False as long as there is no master."""
        try:
            with self._client() as client:
                return ask(client)
        except AWAY:
            return False

    def _client(self) -> TitanClient:
        port, token_file = self._programs.master_port, self._programs.token_file
        return TitanClient("127.0.0.1", port, token_file=token_file)


def hold(home: Path, point: str) -> None:
    with contextlib.closing(Trial(home, point)) as trial:
        trial.start()
        trial.strike()
        ledgers = trial.end()
        assert not trial.judge(ledgers), (trial.judge(ledgers), ledgers)
        if point not in AT_START:
            check_slot_of_death(point, int(trial.killed[0]), ledgers)


def check_slot_of_death(point: str, noticed: int, ledgers: dict[str, list[FireStatus]]) -> None:
    """What was decided when the master died holds, if it was on disk; else the next one has decided. Where there is
    much to do, a death may be noticed in the second after it, and the next master comes when more slots were missed:
    then `last` makes up for a later one."""
    undecided = [{"none": ("MISSED", False), "last": last, "all": ("RAN", True)} for last in LAST_MISSED]
    expected = undecided if point in UNDECIDED else [dict.fromkeys(ledgers, ("RAN", False))]
    told = [_told(slot, ledgers) for slot in (noticed, noticed - 1)]
    assert any(slot in expected for slot in told), (noticed, told, ledgers)


def _told(slot: int, ledgers: dict[str, list[FireStatus]]) -> dict[str, tuple[str, bool]]:
    return {
        name: (line.outcome, line.made_up)
        for name, lines in ledgers.items()
        for line in lines
        if line.slot_wall == slot
    }


def test_a_slot_is_one_line_wherever_the_master_dies(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        for point, outcome in [(point, pool.submit(hold, tmp_path / point, point)) for point in POINTS]:
            error = outcome.exception()
            if error is not None:
                raise AssertionError(f"{point}: {error}") from error
