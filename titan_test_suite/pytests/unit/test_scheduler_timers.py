"""Time: the delay heap, and jobs that start late, but never early."""

from __future__ import annotations

import random

import pytest

from titan_core.scheduler.events import TimePassed
from titan_core.scheduler.timers import Timers
from titan_test_suite.pytests.support.cluster_model import Cluster, job

# ── the heap ──────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_due_when_nothing_was_added() -> None:
    timers: Timers[str] = Timers()
    assert timers.next_due_at() is None
    assert list(timers.pop_due(1e9)) == []


def test_what_is_due_comes_out_earliest_first_and_never_early() -> None:
    timers: Timers[str] = Timers()
    for due_at, what in ((3.0, "c"), (1.0, "a"), (2.0, "b")):
        timers.add(due_at, what)
    assert timers.next_due_at() == 1.0
    assert list(timers.pop_due(0.999)) == []
    assert list(timers.pop_due(2.0)) == ["a", "b"]
    assert timers.next_due_at() == 3.0
    assert list(timers.pop_due(100.0)) == ["c"]
    assert len(timers) == 0


def test_among_equals_the_first_added_comes_first() -> None:
    timers: Timers[str] = Timers()
    for what in "zay":
        timers.add(1.0, what)
    assert list(timers.pop_due(1.0)) == ["z", "a", "y"]


def test_what_is_cancelled_does_not_come() -> None:
    timers: Timers[str] = Timers()
    first, second = timers.add(1.0, "first"), timers.add(2.0, "second")
    timers.cancel(first)
    assert first not in timers
    assert second in timers
    assert timers.next_due_at() == 2.0
    assert list(timers.pop_due(9.0)) == ["second"]


def test_what_is_cancelled_by_something_due_at_the_same_time_does_not_come() -> None:
    timers: Timers[str] = Timers()
    timers.add(1.0, "first")
    second = timers.add(1.0, "second")
    come = []
    for what in timers.pop_due(1.0):
        come.append(what)
        timers.cancel(second)
    assert come == ["first"]


def test_cancelling_what_is_not_pending_is_no_matter() -> None:
    timers: Timers[str] = Timers()
    ticket = timers.add(1.0, "a")
    assert list(timers.pop_due(1.0)) == ["a"]
    for never in (ticket, ticket, 0, 99):
        timers.cancel(never)
    assert len(timers) == 0


def test_cancelled_entries_do_not_pile_up() -> None:
    timers: Timers[int] = Timers()
    for number in range(10_000):
        timers.cancel(timers.add(1e6 + number, number))
    assert len(timers._heap) < 200


def test_against_a_list_that_is_sorted_each_time() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    timers: Timers[int] = Timers()
    pending: dict[int, float] = {}
    now = 0.0
    for _ in range(3000):
        step = rng.random()
        if step < 0.5:
            due_at = now + rng.choice([0.0, 1.0, rng.random() * 20])
            pending[timers.add(due_at, len(pending))] = due_at
        elif step < 0.8 and pending:
            ticket = rng.choice(list(pending))
            timers.cancel(ticket)
            del pending[ticket]
        else:
            now += rng.random()
            due = sorted((at, ticket) for ticket, at in pending.items() if at <= now)
            assert len(list(timers.pop_due(now))) == len(due)
            for _, ticket in due:
                del pending[ticket]
        assert timers.next_due_at() == min(pending.values(), default=None)
        assert len(timers) == len(pending)


# ── delayed jobs ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster()
    cluster.join("w")
    return cluster


def test_a_delayed_job_is_due_after_its_delay(cluster: Cluster) -> None:
    cluster.submit(job("a", delay_s=5))
    assert cluster.state("a") == "DELAYED"
    assert cluster.core.next_due_at() == cluster.job("a").due_at == cluster.now + 5
    cluster.advance(4.999)
    assert cluster.state("a") == "DELAYED"
    cluster.advance(0.001)
    assert cluster.state("a") == "RUNNING"
    assert cluster.core.next_due_at() is None


def test_a_tick_that_comes_early_fires_nothing(cluster: Cluster) -> None:
    cluster.submit(job("a", delay_s=5))
    cluster.now += 4.999
    assert cluster.handle(TimePassed()) == []


def test_a_tick_that_comes_late_fires_all_that_is_due(cluster: Cluster) -> None:
    cluster.submit(job("b", delay_s=2), job("a", delay_s=1), job("c", delay_s=9))
    cluster.now += 5
    cluster.handle(TimePassed())
    assert cluster.states() == {"b": "RUNNING", "a": "RUNNING", "c": "DELAYED"}


def test_a_delay_begins_when_the_parents_are_done(cluster: Cluster) -> None:
    cluster.submit(job("a"), job("b", "a", delay_s=5))
    cluster.advance(100)
    assert cluster.state("b") == "BLOCKED"
    cluster.finish("a")
    assert cluster.state("b") == "DELAYED"
    cluster.advance(4.999)
    assert cluster.state("b") == "DELAYED"
    cluster.advance(0.001)
    assert cluster.state("b") == "RUNNING"


def test_a_delay_is_waited_for_once_not_before_each_retry(cluster: Cluster) -> None:
    cluster.submit(job("a", delay_s=50, retries=1, retry_backoff_s=0))
    cluster.advance(50)
    cluster.fail("a")
    cluster.advance(0)
    assert cluster.state("a") == "RUNNING"


def test_what_is_due_waits_for_a_slot_like_everybody(cluster: Cluster) -> None:
    cluster.submit(*(job(f"j{number}") for number in range(4)), job("late", delay_s=1, priority=9))
    cluster.advance(1)
    assert cluster.state("late") == "QUEUED"
    cluster.submit(job("other", priority=8), run_id="next")
    cluster.finish("run/j0")
    assert (cluster.state("late"), cluster.state("other")) == ("RUNNING", "QUEUED")


def test_time_does_not_run_backwards(cluster: Cluster) -> None:
    cluster.advance(100)
    cluster.submit(job("a", delay_s=5))
    due_at = cluster.job("a").due_at
    cluster.now -= 50
    cluster.submit(job("b", delay_s=5), run_id="next")
    assert cluster.job("b").due_at == due_at
