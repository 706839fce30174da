"""One `kill -9` of the master across fires of schedules, for each policy; and what a schedule keeps.

Schedules that are due every second fire for a while; the master is killed and stays away over several slots; another
one starts on the same home and port. Each test looks at one of the things that must hold. Who says what ran is the
ledger that the jobs write, in which each tells the slot that it was told.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from titan_core.instants import utc_text
from titan_core.protocol.messages import FireStatus, ScheduleStatus
from titan_sdk import TitanClient, TitanJob
from titan_test_suite.pytests.support.cluster import Cluster
from titan_test_suite.pytests.support.endpoints import OK, Endpoint, until_closed
from titan_test_suite.pytests.support.ports import free_port
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.torture.ledger import Ledger, Line
from titan_test_suite.torture.scripts import NOTE, Scripts

pytestmark = pytest.mark.e2e

END_S = 30.0
AWAY_S = 4.2
"""From the second in which the master is killed until another one is started: at least four slots."""
SECRET = b"between us"
POLICIES = ("none", "last", "all")
FOLLOWED = (*POLICIES, "waits", "paused")
"""Schedules that are due each second."""

GATED = f"""\
# gated.sh FILE: works until there is such a file.
{NOTE}
note start 0
until [ -e "$1" ]; do sleep 0.05; done
note end 0
"""
FAILS = f"{NOTE}\nnote start 0\nnote end 3\nexit 3\n"
TELLS = f'{NOTE}\nnote start 0\necho "$TITAN_ALERT|$TITAN_ALERT_RUN|$TITAN_ALERT_REASON" > "$1"\nnote end 0\n'


class Scene:
    """The cluster, what was due on it, and what is known once it is over."""

    def __init__(self, home: Path, missed: Endpoint, failed: Endpoint) -> None:
        (home / "secret").write_bytes(SECRET)
        self._flags = ("--port", str(free_port()), "--webhook-secret-file", str(home / "secret"))
        self.home, self.missed, self.failed = home, missed, failed
        self.cluster = Cluster(home, *self._flags)
        self._books = home / "ledger"
        self._scripts = Scripts(home / "scripts", self._books)
        self._gate = home / "gate"
        self.histories: dict[str, list[FireStatus]] = {}
        """Oldest first."""
        self.killed_wall = self.back_wall = self.up_wall = 0.0
        """When the master was killed, another one started, and when that was there."""

    @property
    def ledger(self) -> Ledger:
        return Ledger.read(self._books)

    def define(self, client: TitanClient) -> None:
        tick = self._job("tick")
        each_second: dict[str, Any] = {"every": "1s", "overlap": "queue"}
        gated = self._job("gated", GATED, str(self._gate))
        client.schedule("none", tick, **each_second, catch_up="none", on_missed=self.missed.url)
        client.schedule("last", tick, **each_second, catch_up="last", on_missed=self._telling("missed"))
        client.schedule("all", tick, **each_second, catch_up="all")
        client.schedule("paused", tick, **each_second, catch_up="all")
        client.schedule("waits", gated, **each_second, catch_up="none")
        client.schedule("fails", self._job("fails", FAILS), every="1h", on_failure=self.failed.url)
        client.schedule("fails-too", self._job("fails", FAILS), every="1h", on_failure=self._telling("failure"))

    def settle(self, client: TitanClient) -> None:
        """Until each has done what it is to do before; then it is the middle of a second."""
        wait_until(lambda: self._ran(client, "paused", 1), END_S)
        client.pause_schedule("paused", "not today")
        self.paused_wall = time.time()
        for policy in POLICIES:
            wait_until(lambda policy=policy: self._ran(client, policy, 2), END_S)  # type: ignore[misc]
        wait_until(lambda: client.get_schedule("waits").queued >= 2, END_S)
        self.failing = client.trigger_schedule("fails-too")
        wait_until((self.home / "failure").exists, END_S)
        client.trigger_schedule("fails")
        wait_until(lambda: self.failed.calls, END_S)  # it was asked, and does not answer
        wait_until(lambda: 0.4 < time.time() % 1 < 0.6, END_S)

    def fall_and_rise(self) -> None:
        self.killed_wall = time.time()
        self.cluster.master.kill()
        wait_until(lambda: time.time() > int(self.killed_wall) + AWAY_S, END_S)
        self.back_wall = time.time()
        self.cluster.start_master(*self._flags)
        self.up_wall = time.time()

    def rest(self, client: TitanClient) -> None:
        """Let each fire again; then end all of it, and write down what is known."""
        self.paused = client.get_schedule("paused")
        self._gate.touch()
        for policy in POLICIES:
            wait_until(lambda policy=policy: self._ran(client, policy, 2, self.up_wall), END_S)  # type: ignore[misc]
        wait_until(lambda: client.get_schedule("waits").queued == 0, END_S)
        wait_until(lambda: self.missed.calls and len(self.failed.calls) == 2, END_S)
        wait_until(lambda: 0.4 < time.time() % 1 < 0.6, END_S)  # nothing waits for its turn then
        for status in client.schedules():
            client.remove_schedule(status.name)
        for name in (*FOLLOWED, "fails", "fails-too"):
            wait_until(lambda name=name: self._is_over(client, name), END_S)  # type: ignore[misc]

    def _ran(self, client: TitanClient, name: str, times: int, since_wall: float = 0.0) -> bool:
        lines = client.schedule_history(name, outcome="RAN")
        return sum(line.finished_wall > 0 and line.slot_wall > since_wall for line in lines) >= times

    def _is_over(self, client: TitanClient, name: str) -> bool:
        lines = client.schedule_history(name)
        self.histories[name] = list(reversed(lines))
        return not any(line.alert == "due" or line.run_state == "RUNNING" for line in lines)

    def _job(self, name: str, text: str = "", *args: str) -> TitanJob:
        path = Path(self._scripts.tick)
        if text:
            path = path.with_name(f"{name}.sh")
            path.write_text(text)
        return TitanJob(name, str(path), args=args or ("0", "1"), env=self._scripts.env)

    def _telling(self, about: str) -> TitanJob:
        """A job that tells of an alert, by a file of that name."""
        return self._job(f"tells-{about}", TELLS, str(self.home / about))

    # ── what is known ─────────────────────────────────────────────────────────────────────────────

    def lines(self, name: str) -> dict[int, FireStatus]:
        """What became of each slot."""
        return {int(line.slot_wall): line for line in self.histories[name] if line.kind == "schedule"}

    def away(self, name: str) -> list[FireStatus]:
        """The slots that passed without a master: from the kill on, those that the next one did not see itself."""
        missed = [line for line in self.lines(name).values() if line.made_up or line.outcome == "MISSED"]
        first, last = int(self.killed_wall) + 1, int(self.back_wall)
        slots = [int(line.slot_wall) for line in missed]
        assert slots == list(range(first, first + len(slots))), (name, self.killed_wall, missed)
        assert last <= slots[-1] <= int(self.up_wall), (name, self.up_wall, missed)
        return missed

    def starts(self, name: str) -> dict[int, list[Line]]:
        """What was started for each slot, as the jobs say, oldest first; without what tells somebody of it."""
        found: dict[int, list[Line]] = {}
        for line in sorted(itertools.chain.from_iterable(self.ledger.starts.values()), key=lambda line: line.wall):
            if line.schedule == name and not line.job_id.startswith("tells"):
                found.setdefault(line.slot, []).append(line)
        return found

    def told(self, about: str) -> list[Line]:
        """The starts of the jobs that tell of this."""
        found = self.ledger.starts.items()
        return [line for key, lines in found if key.endswith(f"/tells-{about}") for line in lines]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    home = tmp_path_factory.mktemp("schedules")
    with Endpoint(OK) as missed, Endpoint(until_closed, OK) as failed:
        scene = Scene(home, missed, failed)
        with scene.cluster as cluster:
            cluster.environ["TITAN_WORKER_RECONNECT_MAX_S"] = "0.5"
            cluster.start_worker(slots=8)
            with cluster.client() as client:
                scene.define(client)
                scene.settle(client)
                scene.fall_and_rise()
                scene.rest(client)
                yield scene


# ── the policies ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", FOLLOWED)
def test_every_slot_has_one_line_and_what_ran_ran_once(scene: Scene, name: str) -> None:
    lines, starts = scene.lines(name), scene.starts(name)
    assert len(lines) == len(scene.histories[name])
    assert list(lines) == list(range(min(lines), max(lines) + 1))
    ran = [slot for slot, line in lines.items() if line.outcome == "RAN"]
    assert sorted(starts) == ran
    assert all(len(lines) == 1 and lines[0].number == 1 and lines[0].wall >= slot for slot, lines in starts.items())
    assert {starts[slot][0].run_id for slot in ran} == {lines[slot].run_id for slot in ran}
    assert {lines[slot].run_state for slot in ran} == {"COMPLETED"}


def test_without_catch_up_they_are_missed(scene: Scene) -> None:
    away = scene.away("none")
    assert len(away) >= 4
    assert {(line.outcome, line.reason) for line in away} == {("MISSED", "there was no master")}
    assert scene.starts("none").keys().isdisjoint(int(line.slot_wall) for line in away)


def test_the_last_one_is_made_up_for(scene: Scene) -> None:
    *missed, last = scene.away("last")
    assert len(missed) >= 3
    assert {line.outcome for line in missed} == {"MISSED"}
    assert (last.outcome, last.made_up, last.reason) == ("RAN", True, "made up for")
    (start,) = scene.starts("last")[int(last.slot_wall)]
    assert start.wall > scene.back_wall


def test_all_are_made_up_for_in_order_and_one_at_a_time(scene: Scene) -> None:
    away = scene.away("all")
    assert len(away) >= 4
    assert {(line.outcome, line.made_up) for line in away} == {("RAN", True)}
    starts = [scene.starts("all")[int(line.slot_wall)][0] for line in away]
    ends = [scene.ledger.end_of(start.key, 1) for start in starts]
    for (_, end), (start, _) in itertools.pairwise(zip(starts, ends, strict=True)):
        assert end is not None and end.wall <= start.wall


@pytest.mark.parametrize("name", POLICIES)
def test_on_time_before_and_after(scene: Scene, name: str) -> None:
    away = {line.slot_wall for line in scene.away(name)}
    others = [line for line in scene.lines(name).values() if line.slot_wall not in away]
    assert {(line.outcome, line.made_up) for line in others} == {("RAN", False)}
    sides = Counter(line.slot_wall < scene.killed_wall for line in others)
    assert sides[True] >= 2 and sides[False] >= 2


# ── what is kept ──────────────────────────────────────────────────────────────────────────────────


def test_what_is_paused_stays_so(scene: Scene) -> None:
    status: ScheduleStatus = scene.paused
    assert (status.state, status.reason) == ("PAUSED", "not today")
    later = [line for slot, line in scene.lines("paused").items() if slot > scene.paused_wall]
    assert {(line.outcome, line.reason) for line in later} == {("SKIPPED", "paused: not today")}
    assert later[0].slot_wall < scene.killed_wall and later[-1].slot_wall > scene.up_wall


def test_what_waits_goes_on_waiting_in_its_order(scene: Scene) -> None:
    waited = [slot for slot in scene.lines("waits") if slot < scene.killed_wall]
    assert len(waited) >= 3
    assert {scene.lines("waits")[slot].outcome for slot in waited} == {"RAN"}
    assert {line.outcome for line in scene.away("waits")} == {"MISSED"}
    walls = [starts[0].wall for _, starts in sorted(scene.starts("waits").items())]
    assert walls == sorted(walls) and walls[0] < scene.killed_wall and walls[1] > scene.back_wall


# ── whoever is told ───────────────────────────────────────────────────────────────────────────────


def bodies(endpoint: Endpoint) -> list[dict[str, Any]]:
    return [json.loads(call.body) for call in endpoint.calls]


def test_a_webhook_is_told_once_of_what_was_missed(scene: Scene) -> None:
    (call,), (body,), newest = scene.missed.calls, bodies(scene.missed), scene.away("none")[-1]
    signed = call.headers["X-Titan-Timestamp"].encode() + b"." + call.body
    assert call.headers["X-Titan-Signature"] == f"sha256={hmac.new(SECRET, signed, hashlib.sha256).hexdigest()}"
    assert (body["event"], body["schedule"], body["outcome"]) == ("missed", "none", "MISSED")
    assert body["scheduled_for"] == utc_text(newest.slot_wall)
    assert [line.alert for line in scene.away("none")] == [*[""] * (len(scene.away("none")) - 1), "sent"]


def test_a_job_is_told_once_of_what_was_missed(scene: Scene) -> None:
    *_, newest, _ = scene.away("last")
    (start,) = scene.told("missed")
    assert (start.schedule, start.slot) == ("last", newest.slot_wall)
    assert newest.alert == f"run {start.run_id}"
    assert (scene.home / "missed").read_text() == "missed||there was no master\n"


def test_a_job_is_told_once_of_what_has_failed(scene: Scene) -> None:
    (start,), (line,) = scene.told("failure"), scene.histories["fails-too"]
    assert (line.run_state, line.alert) == ("FAILED", f"run {start.run_id}")
    assert (scene.home / "failure").read_text() == f"failure|{scene.failing.run_id}|\n"


def test_an_alert_that_was_due_is_sent_by_the_next_master(scene: Scene) -> None:
    first, second = bodies(scene.failed)
    (line,) = scene.histories["fails"]
    assert (first["event"], first["run_id"], first["run_state"]) == ("failure", line.run_id, "FAILED")
    assert first["id"] == second["id"]
    assert {**first, "sent": ""} == {**second, "sent": ""}
    assert line.alert == "sent"


# ── elsewhere ─────────────────────────────────────────────────────────────────────────────────────


def test_a_backup_fires_elsewhere_what_was_defined(tmp_path: Path) -> None:
    home, elsewhere, archive, said = (tmp_path / name for name in ("home", "elsewhere", "titan.tar", "said"))
    script = tmp_path / "says.sh"

    def says(text: str) -> TitanJob:
        script.write_text(f'echo "{text} $TITAN_SCHEDULED_FOR $TITAN_RUN_ID" >> {said}\n')
        return TitanJob("says", str(script))

    def words(since_wall: float = 0.0) -> list[str]:
        lines = said.read_text().splitlines() if said.exists() else []
        return [line.split()[0] for line in lines if line.split()[1] > utc_text(since_wall)]

    for directory in (home, elsewhere):
        directory.mkdir()
    with Cluster(home) as cluster, cluster.client() as client:
        cluster.start_worker()
        client.schedule("says", says("first"), every="1s", catch_up="none")
        wait_until(lambda: len(words()) >= 1, END_S)
        changed_wall = time.time()
        script.write_text("exit 1\n")
        wait_until(lambda: len(words(changed_wall)) >= 1, END_S)
        assert {*words()} == {"first"}
        assert client.schedule("says", says("second"), every="1s", catch_up="none").outcome == "updated"
        wait_until(lambda: "second" in words(), END_S)
        assert cluster.cli("backup", str(archive)).returncode == 0
    script.unlink()
    gone_wall = time.time()
    subprocess.run(["tar", "xf", archive, "-C", elsewhere], check=True)
    with Cluster(elsewhere) as cluster, cluster.client() as client:
        cluster.start_worker()
        wait_until(lambda: len(words(gone_wall)) >= 2, END_S)
        assert {*words(gone_wall)} == {"second"}
        ran = [line.run_id for line in client.schedule_history("says", outcome="RAN")]
    started = [line.split()[2] for line in said.read_text().splitlines()]
    assert len({*started}) == len(started) and {*started[-2:]} <= {*ran}
