"""Schedules on disk: what the next master is told, what it makes of it, and how long ledgers are kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from titan_core.clock import FakeClock
from titan_core.protocol import messages
from titan_core.scheduler.actions import SendAlert
from titan_core.scheduler.events import (
    BackfillRequested,
    RunCancelRequested,
    ScheduleDefined,
    SchedulePaused,
    ScheduleRemoved,
    ScheduleTriggered,
    StateRecovered,
    WallClockSet,
)
from titan_core.scheduler.records import Batch
from titan_core.scheduler.schedule_model import Definition, Schedule
from titan_core.scheduler.schedule_records import FireRecord, schedule_record
from titan_core.scheduler.states import ScheduleState
from titan_core.store import check, schedule_rows
from titan_core.store.definitions import definition
from titan_core.store.sqlite import Store
from titan_test_suite.pytests.support.stored_cluster import StoredCluster
from titan_test_suite.pytests.support.waiting import wait_until

TASK = messages.Task("etl.py", "ab" * 32, args=("--day", "{scheduled_for}"))
START = FakeClock().wall()
"""A whole minute."""


def minutely(name: str = "nightly", **fields: object) -> Definition:
    timing = messages.Timing(every_s=60.0, anchor_wall=START, jitter_s=float(fields.pop("jitter_s", 0.0)))
    jobs = (messages.JobSpec("work", TASK), messages.JobSpec("report", TASK, ("work",)))
    return definition(messages.ScheduleSpec(name, timing, jobs, **fields))


class Life(StoredCluster):
    """One master on a home: from what the store says, until it is gone."""

    def __init__(self, store: Store, clock: FakeClock, away_s: float) -> None:
        super().__init__(store)
        self.now = clock.now
        self.clock = clock
        loaded = store.load(clock.wall())
        store.start()
        self.handle(
            StateRecovered(
                store.term,
                60.0,
                loaded.runs,
                loaded.workers,
                store.last_sequence,
                clock.offset_s(),
                loaded.schedules,
                loaded.alerts,
            )
        )

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self.clock.now = self.now

    def schedule(self, name: str = "nightly") -> Schedule:
        return self.core.state.schedules[name]

    def define(self, made: Definition) -> None:
        self.handle(ScheduleDefined(made, b"s" * 16))

    def lines(self, name: str = "nightly") -> list[FireRecord]:
        """The ledger on disk, oldest slot first."""
        self.flush()
        return self.store.history.read(schedule_rows.read_fires, name, 2.0**60, "", 10_000)[::-1]

    def outcomes(self, name: str = "nightly") -> list[str]:
        return [line.outcome for line in self.lines(name)]


class Home:
    """A home, and the clock of its machine."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = FakeClock()

    @contextmanager
    def life(self, away_s: float = 0.0) -> Iterator[Life]:
        """A master that begins so long after the one before has ended; what it leaves is sound."""
        self.clock.now += away_s
        store = Store(self.path / ".titan", self.clock)
        try:
            life = Life(store, self.clock, away_s)
            yield life
            life.flush()
            assert store.history.read(check.problems) == []
        finally:
            store.stop()
            assert store.join(10)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


# ── what comes back ───────────────────────────────────────────────────────────────────────────────


def test_a_schedule_comes_back_as_it_was(home: Home) -> None:
    made = minutely(overlap="queue", catch_up="all", jitter_s=3.0, on_failure=messages.Alert("http://x"))
    with home.life() as life:
        life.define(made)
        life.handle(SchedulePaused("nightly", "a holiday"))
        before = life.schedule()
    with home.life() as life:
        after = life.schedule()
        assert after.definition == before.definition == made
        assert (after.secret, after.revision, after.paused) == (before.secret, 1, True)
        assert (after.pause_reason, after.created_wall) == ("a holiday", pytest.approx(before.created_wall))
        assert after.next_slot == before.next_slot == START + 60


def test_runs_of_fires_come_back_with_their_lines_and_variables(home: Home) -> None:
    with home.life() as life:
        life.define(minutely())
        life.advance(60)
        (before,) = life.core.state.runs.values()
    with home.life() as life:
        (run,) = life.core.state.runs.values()
        assert run.variables == before.variables and run.fire is not None
        assert life.schedule().live == {run: run.fire}
        life.join("w")
        life.finish("work")
        life.finish("report")
        assert [(line.run_id, line.run_state) for line in life.lines()] == [(run.run_id, "COMPLETED")]
        assert not life.schedule().live
    with home.life() as life:
        (run,) = life.core.state.runs.values()
        assert run.fire is not None and not life.schedule().live


def test_a_removed_schedule_is_gone_and_its_ledger_is_not(home: Home) -> None:
    with home.life() as life:
        life.define(minutely())
        life.advance(60)
        life.handle(ScheduleRemoved("nightly"))
    with home.life(away_s=600) as life:
        assert life.core.state.schedules == {} and life.outcomes() == ["RAN"]
        assert len(life.core.state.runs) == 1


def test_what_waits_goes_on_waiting_in_its_order(home: Home) -> None:
    with home.life() as life:
        life.define(minutely(overlap="queue"))
        life.advance(190)
        life.handle(BackfillRequested("nightly", (int(START) - 120, int(START) - 60)))
        assert life.outcomes() == ["QUEUED", "QUEUED", "RAN", "QUEUED", "QUEUED"]
    with home.life() as life:
        schedule = life.schedule()
        assert [fire.slot - START for fire in schedule.waiting] == [120, 180]
        assert [fire.slot - START for fire in schedule.made_up] == [-120, -60]
        life.join("w")
        for _ in range(5):
            life.finish("work")
            life.finish("report")
        assert life.outcomes() == ["RAN"] * 5 and not schedule.live


def test_triggers_never_share_a_slot_even_over_lives(home: Home) -> None:
    with home.life() as life:
        life.define(minutely(overlap="allow"))
        life.handle(ScheduleTriggered("nightly"))
    with home.life() as life:
        life.handle(ScheduleTriggered("nightly"))
        slots = [line.slot for line in life.lines() if line.kind == "trigger"]
        assert slots == [int(START), int(START) + 1] and len(life.core.state.runs) == 2


# ── the master was away ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("none", ["MISSED", "MISSED", "MISSED"]),
        ("last", ["MISSED", "MISSED", "RAN"]),
        ("all", ["RAN", "QUEUED", "QUEUED"]),
    ],
)
def test_catch_up(home: Home, policy: str, expected: list[str]) -> None:
    with home.life() as life:
        life.define(minutely(catch_up=policy))
    with home.life(away_s=200) as life:
        assert life.outcomes() == expected
        assert life.lines()[0].reason in ("there was no master", "made up for")
        assert life.schedule().next_slot == START + 240
    with home.life() as life:
        assert life.outcomes() == expected, "nothing comes twice"


def test_what_is_older_than_the_window_is_missed(home: Home) -> None:
    with home.life() as life:
        life.define(minutely(catch_up="all", catch_up_window_s=90.0))
    with home.life(away_s=200) as life:
        assert life.outcomes() == ["MISSED", "RAN", "QUEUED"]


def test_a_long_absence_is_told_in_one_line_and_a_hundred(home: Home) -> None:
    with home.life() as life:
        life.define(minutely(catch_up="all"))
    with home.life(away_s=86400 * 2) as life:
        span, *rest = life.lines()
        assert (span.outcome, span.slot, span.until) == ("MISSED", START + 60, START + 86400 * 2 - 6000)
        assert [line.outcome for line in rest] == ["RAN", *["QUEUED"] * 99]
        assert rest[0].slot == span.until + 60


def test_paused_slots_are_not_missed(home: Home) -> None:
    with home.life() as life:
        life.define(minutely(on_missed=messages.Alert("http://x")))
        life.handle(SchedulePaused("nightly"))
    with home.life(away_s=200) as life:
        assert life.outcomes() == ["SKIPPED"] * 3
        assert not any(isinstance(action, SendAlert) for action in life.actions)


def test_a_slot_that_is_put_off_is_not_missed_before_its_time(home: Home) -> None:
    with home.life() as life:
        life.define(minutely(jitter_s=59.0, catch_up="none"))
        due_at = life.core.next_due_at()
        assert due_at is not None
    away_s = due_at - home.clock.now - 0.5
    assert away_s > 60, "it is put off at all"
    with home.life(away_s) as life:
        assert life.outcomes() == []
        life.advance(0.5)
        assert life.outcomes() == ["RAN"]


def test_the_clock_was_set_back_while_there_was_no_master(home: Home) -> None:
    with home.life() as life:
        life.define(minutely(overlap="allow"))
        life.advance(190)
        assert life.outcomes() == ["RAN"] * 3
    home.clock.set_wall_forward(-130)
    with home.life() as life:
        assert life.schedule().next_slot == START + 240
        assert life.outcomes() == ["RAN"] * 3


def test_missed_by_a_clock_that_was_wrong_and_taken_back(home: Home) -> None:
    with home.life() as life:
        life.define(minutely(catch_up="none"))
        life.handle(WallClockSet(life.core.state.offset_s + 86400 * 30, {}))
        assert set(life.outcomes()) == {"MISSED"}
    with home.life() as life:
        assert life.outcomes() == [] and life.schedule().next_slot == START + 60


def test_what_lay_ahead_hides_nothing_that_came_before_it(home: Home) -> None:
    with home.life() as life:
        life.define(minutely(overlap="allow"))
        home.clock.set_wall_forward(200)
        life.handle(WallClockSet(home.clock.offset_s()))
        assert life.outcomes() == ["MISSED", "MISSED", "RAN"]
        home.clock.set_wall_forward(-200)
        life.flush()
        life.handle(WallClockSet(home.clock.offset_s(), {"nightly": (int(START) + 180,)}))
        assert life.outcomes() == ["RAN"]
    with home.life(away_s=250) as life:
        assert [line.slot - START for line in life.lines()] == [60, 120, 180, 240]
        assert life.outcomes() == ["MISSED", "MISSED", "RAN", "RAN"]


def test_what_lay_ahead_and_what_hid_nothing_are_written_at_once(home: Home) -> None:
    with home.life() as life:
        life.define(minutely(overlap="allow"))
        life.flush()
        home.clock.set_wall_forward(200)
        life.handle(WallClockSet(home.clock.offset_s()))
        home.clock.set_wall_forward(-200)
        life.handle(WallClockSet(home.clock.offset_s(), {"nightly": (int(START) + 180,)}))
    with home.life(away_s=250) as life:
        assert life.outcomes() == ["MISSED", "MISSED", "RAN", "RAN"]


def test_retracted_before_it_was_written(home: Home) -> None:
    with home.life() as life:
        life.define(minutely(catch_up="none", overlap="allow"))
        life.advance(60)
        offset_s = life.core.state.offset_s
        life.handle(WallClockSet(offset_s + 600, {}))
        life.handle(WallClockSet(offset_s, {}))
        life.advance(60)
        assert life.outcomes() == ["RAN", "RAN"]


# ── alerts ────────────────────────────────────────────────────────────────────────────────────────


def test_an_alert_that_was_due_is_sent_by_the_next_master(home: Home) -> None:
    with home.life() as life:
        life.define(minutely(on_missed=messages.Alert("http://missed"), catch_up="none"))
    with home.life(away_s=130) as life:
        sent = [action for action in life.actions if isinstance(action, SendAlert)]
        assert [(action.about, action.fire.slot, action.webhook) for action in sent] == [
            ("missed", START + 120, "http://missed")
        ]
    with home.life() as life:
        sent = [action for action in life.actions if isinstance(action, SendAlert)]
        assert [(action.about, action.fire.slot) for action in sent] == [("missed", START + 120)]


def test_without_its_schedule_nobody_is_told_any_more(home: Home) -> None:
    with home.life() as life:
        life.define(minutely(on_missed=messages.Alert("http://missed"), catch_up="none"))
    with home.life(away_s=70) as life:
        life.handle(ScheduleRemoved("nightly"))
    with home.life() as life:
        assert [line.alert for line in life.lines()] == ["nobody is to be told any more"]


# ── how long ledgers are kept ─────────────────────────────────────────────────────────────────────


def keep(home: Home, monkeypatch: pytest.MonkeyPatch, fires: int, newest: int) -> None:
    monkeypatch.setattr(schedule_rows, "FIRES_KEPT", fires)
    monkeypatch.setattr(schedule_rows, "NEWEST_KEPT", newest)


def kept(life: Life, name: str) -> list[int]:
    return [round(line.slot - START) for line in life.lines(name)]


def test_ledgers_are_shortened_by_number_and_by_age(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first line stays in any case: its run is there, and may go on when somebody retries it."""
    keep(home, monkeypatch, fires=8, newest=3)
    names = ("a", "b", "gone")
    with home.life() as life:
        for name in names:
            life.define(minutely(name, overlap="skip"))
        life.advance(60 * 10)
        life.handle(ScheduleRemoved("gone"))
        assert kept(life, "a") == list(range(60, 601, 60))
        life.store.shorten_ledgers(0.0)
        wait_until(lambda: all(kept(life, n) == [60, *range(180, 601, 60)] for n in names), explain=life.outcomes)
        life.store.shorten_ledgers(START + 60 * 4 + 1)
        wait_until(lambda: kept(life, "gone") == [60, *range(300, 601, 60)], explain=lambda: kept(life, "gone"))
        life.store.shorten_ledgers(START + 86400)
        wait_until(lambda: kept(life, "gone") == [60], explain=lambda: kept(life, "gone"))
        assert kept(life, "a") == [60, 480, 540, 600]
    with home.life() as life:
        assert life.schedule("a").next_slot == START + 660 and life.schedule("a").live


def test_triggers_crowd_no_slot_out(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(home, monkeypatch, fires=2, newest=1)
    with home.life() as life:
        life.define(minutely(overlap="skip"))
        life.handle(SchedulePaused("nightly"))
        life.advance(60)
        for _ in range(5):
            life.handle(ScheduleTriggered("nightly"))
            life.handle(RunCancelRequested(next(reversed(life.core.state.runs)), "enough"))
        run_ids = list(life.core.state.runs)
    with home.life(away_s=30) as life:
        life.store.forget(run_ids)
        wait_until(lambda: not any(map(life.store.history.has_run, run_ids)), explain=life.lines)
        life.store.shorten_ledgers(START + 86400)
        wait_until(lambda: len(life.lines()) == 2, explain=life.lines)
        assert [line.kind for line in life.lines()] == ["schedule", "trigger"]
    with home.life() as life:
        assert life.schedule().next_slot == START + 120


def test_what_is_not_settled_is_kept(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(home, monkeypatch, fires=1, newest=1)
    with home.life() as life:
        life.define(minutely(overlap="queue"))
        life.advance(60 * 4)
        life.flush()
        life.store.shorten_ledgers(START + 86400)
        life.define(minutely("other"))
        life.advance(60)
        life.flush()
        assert life.outcomes() == ["RAN", *["QUEUED"] * 4]


def test_what_lies_ahead_is_kept(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock was set back since: these slots must not come again."""
    keep(home, monkeypatch, fires=2, newest=1)
    with home.life() as life:
        life.define(minutely(overlap="skip"))
        life.handle(SchedulePaused("nightly"))
        life.advance(60 * 8)
        life.flush()
    home.clock.set_wall_forward(-60 * 5)
    with home.life() as life:
        life.store.shorten_ledgers(START + 86400)
        wait_until(lambda: kept(life, "nightly") == list(range(180, 481, 60)), explain=lambda: kept(life, "nightly"))
        assert life.schedule().next_slot == START + 540


# ── what can not be read any more ─────────────────────────────────────────────────────────────────


def test_a_zone_that_is_not_there_any_more(home: Home) -> None:
    """The schedule starts nothing, says why, and keeps the master from nothing."""
    with home.life() as life:
        life.define(minutely())
        life.flush()
        source = life.schedule().definition.source
        gone = replace(source, timing=messages.Timing(cron="0 2 * * *", timezone="Atlantis/Capital"))
        record = schedule_record(life.schedule(), False)._replace(source=gone)
        life.store.append(Batch([], [], [], [], [], [], [], schedules=[record]))
    with home.life(away_s=600) as life:
        schedule = life.schedule()
        assert schedule.state is ScheduleState.PAUSED and "Atlantis/Capital" in schedule.trouble
        assert schedule.next_slot is None and schedule.definition.source == gone
        life.define(minutely())
        assert life.schedule().state is ScheduleState.ACTIVE and life.schedule().next_slot is not None


def test_a_span_and_the_first_of_its_slots_are_two_lines(home: Home) -> None:
    """What is made up for of a span takes nothing from the others that it stands for."""
    with home.life() as life:
        life.define(minutely(catch_up="none"))
    with home.life(away_s=60 * 150) as life:
        span = life.lines()[0]
        assert (span.kind, span.slot, span.until) == ("span", START + 60, START + 60 * 50)
        life.handle(BackfillRequested("nightly", (span.slot, span.slot + 60)))
        first, second, third, *rest = life.lines()
        assert {first.kind, second.kind} == {"span", "schedule"} and len(rest) == 100
        assert span in (first, second) and third.outcome == "QUEUED" and third.run_id
    with home.life() as life:
        assert life.schedule().next_slot == START + 60 * 151
