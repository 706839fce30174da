"""Thousands of schedules in one master: what they cost while they wait, what one more costs, and all due at once."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from titan_core.clock import FakeClock
from titan_core.master.clock_watcher import ClockWatcher
from titan_core.master.engine import Engine
from titan_core.master.finder import Finder
from titan_core.master.schedule_requests import ScheduleRequests
from titan_core.master.submissions import Submissions
from titan_core.protocol.messages import AssetContent, JobSpec, PutSchedule, ScheduleSpec, Task, Timing
from titan_core.scheduler import core
from titan_core.scheduler.core import Core
from titan_core.scheduler.events import ScheduleDefined, WallClockSet
from titan_core.store.assets import AssetStore
from titan_core.store.volatile import Volatile
from titan_test_suite.pytests.support.schedules import definition
from titan_test_suite.pytests.support.stored_cluster import volatile_store

MANY = 2_000
SCRIPT = b"echo done\n"
SHA256 = hashlib.sha256(SCRIPT).hexdigest()


@pytest.fixture
def store() -> Iterator[Volatile]:
    with volatile_store(FakeClock()) as store:
        yield store


def engine_of(clock: FakeClock, store: Volatile, count: int) -> Engine:
    """With so many schedules, each due once a minute."""
    engine = Engine(Core(), clock, store)
    engine.submit(WallClockSet(clock.offset_s()))
    for number in range(count):
        engine.submit(ScheduleDefined(definition(f"schedule-{number}", 60), bytes(16)))
    return engine


def test_whoever_waits_for_the_lock_comes_between_what_is_due_at_once(
    store: Volatile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "FIRED_AT_ONCE", 1)
    clock, begun = FakeClock(), threading.Event()
    engine = engine_of(clock, store, MANY)
    clock.advance(60)
    watcher = ClockWatcher(engine, follow_clock=lambda: None, check_room=begun.set)
    watcher.start()
    assert begun.wait(10)
    fired = engine.read(lambda state: sum(bool(schedule.recent) for schedule in state.schedules.values()))
    watcher.stop()
    assert watcher.join(10) and not watcher.failed
    assert 0 < fired < MANY


def test_a_watcher_of_many_sleeps_until_one_is_due(store: Volatile, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, looked = FakeClock(), threading.Event()
    engine = engine_of(clock, store, MANY)
    next_due_at = engine.next_due_at

    def look() -> float | None:
        looked.set()
        return next_due_at()

    monkeypatch.setattr(engine, "next_due_at", look)
    watcher = ClockWatcher(engine, follow_clock=lambda: None, check_room=lambda: None)
    watcher.start()
    assert looked.wait(10)
    looked.clear()
    assert not looked.wait(0.3)
    watcher.stop()
    assert watcher.join(10)


def test_one_more_costs_what_the_first_did(store: Volatile, tmp_path: Path) -> None:
    clock = FakeClock()
    engine = Engine(Core(), clock, store)
    assets = AssetStore(tmp_path / "perm_files", tmp_path / "assets")
    submissions = Submissions(engine, assets, Finder(engine, store.history), store.history, lambda: None)
    requests = ScheduleRequests(engine, store.history, submissions, lambda: None)

    def put(number: int) -> None:
        jobs = (JobSpec("job", Task("job.sh", SHA256)),)
        spec = ScheduleSpec(f"schedule-{number:04}", Timing(cron="0 2 * * *"), jobs)
        requests.put(PutSchedule(spec, (AssetContent(SHA256, SCRIPT),)))

    put(0)
    first = calls_of(lambda: put(1))
    for number in range(2, MANY):
        put(number)
    assert calls_of(lambda: put(MANY)) <= 1.1 * first


def calls_of(work: Callable[[], None]) -> int:
    """How many functions are called meanwhile, by this thread."""
    count = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count
