"""The turn: one thread has it, the others wait for it, but not for long."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from titan_core.worker import turn
from titan_core.worker.turn import Turn
from titan_test_suite.pytests.support.waiting import wait_until

LONG_S = 20.0


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "PATIENCE_S", LONG_S)


class Other:
    """A thread that takes the turn, says that it is there, and stays until it may go."""

    def __init__(self, shared: Turn, inside: Callable[[], object] = lambda: None) -> None:
        self.there, self.may_go = threading.Event(), threading.Event()
        self._shared = shared
        self._inside = inside
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        with self._shared.taken():
            self._inside()
            self.there.set()
            assert self.may_go.wait(LONG_S)

    def end(self) -> None:
        self.may_go.set()
        self.thread.join(LONG_S)


def test_others_wait_until_the_turn_is_given_back() -> None:
    shared = Turn()
    with shared.taken():
        other = Other(shared)
        assert not other.there.is_set()
        with shared.away():
            assert other.there.wait(LONG_S)
            other.end()
        third = Other(shared)
        assert not third.there.is_set(), "who was away has it again"
    assert third.there.wait(LONG_S)
    third.end()


def test_nobody_waits_longer_than_the_patience_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    shared, reached = Turn(), []
    holder = Other(shared)
    assert holder.there.wait(LONG_S)
    monkeypatch.setattr(turn, "PATIENCE_S", 0.0)
    with shared.taken():
        with shared.away():
            reached.append("away")
        reached.append("without")
    third = Other(shared)
    assert third.there.wait(LONG_S)
    assert reached == ["away", "without"]
    for one in (third, holder):
        one.end()
    monkeypatch.setattr(turn, "PATIENCE_S", LONG_S)
    after = Other(shared)
    assert after.there.wait(LONG_S), "the holder's, and nobody else's, end gave it back, once"
    after.end()


def test_who_is_away_without_having_had_the_turn_does_not_come_back_with_it() -> None:
    shared = Turn()
    with shared.away():
        pass
    other = Other(shared)
    assert other.there.wait(LONG_S)
    other.end()


def test_an_exception_gives_it_back() -> None:
    shared = Turn()

    def fail() -> None:
        with pytest.raises(ValueError, match="inside"), shared.away():
            raise ValueError("inside")

    other = Other(shared, inside=fail)
    assert other.there.wait(LONG_S)
    with pytest.raises(ValueError, match="outside"):
        other.end()
        with shared.taken():
            raise ValueError("outside")
    last = Other(shared)
    assert last.there.wait(LONG_S)
    last.end()


def test_what_is_for_afterwards_is_done_at_once_where_nobody_waits() -> None:
    shared, done = Turn(), []
    shared.afterwards(lambda: done.append("without"))
    with shared.taken():
        shared.afterwards(lambda: done.append("with"))
        assert done == ["without", "with"]


def who_waits(shared: Turn) -> Other:
    """Another thread, which waits for the turn."""
    other = Other(shared)
    wait_until(lambda: shared._waiting)
    return other


def goes_on_and_does_what_was_left(other: Other, done: list[threading.Thread]) -> None:
    """The other comes to the turn, or goes on without; what was left is done at its end, and not before."""
    assert other.there.wait(LONG_S)
    assert not done
    other.end()
    assert done == [other.thread]


def test_what_is_for_afterwards_is_done_by_the_last_who_waited() -> None:
    shared, done = Turn(), []
    with shared.taken():
        other = who_waits(shared)
        shared.afterwards(lambda: done.append(threading.current_thread()))
    goes_on_and_does_what_was_left(other, done)


class Held:
    """A lock that somebody else has, until `patience` is over."""

    def __init__(self) -> None:
        self.patience = threading.Event()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        assert not blocking or self.patience.wait(LONG_S)
        return False


def test_it_is_done_also_where_who_waited_goes_on_without(monkeypatch: pytest.MonkeyPatch) -> None:
    shared, held, done = Turn(), Held(), []
    monkeypatch.setattr(shared, "_lock", held)
    other = who_waits(shared)
    shared.afterwards(lambda: done.append(threading.current_thread()))
    held.patience.set()
    goes_on_and_does_what_was_left(other, done)


def test_not_much_is_left_for_afterwards() -> None:
    shared, done = Turn(), []
    with shared.taken():
        other = who_waits(shared)
        for number in range(turn.MOST_LEFT + 1):
            shared.afterwards(lambda number=number: done.append(number))  # type: ignore[misc]
        assert done == list(range(turn.MOST_LEFT))
    assert other.there.wait(LONG_S)
    other.end()
    assert done == list(range(turn.MOST_LEFT + 1))


def test_what_fails_afterwards_takes_the_turn_from_nobody() -> None:
    shared = Turn()

    def fail() -> None:
        raise ValueError("afterwards")

    with pytest.raises(ValueError, match="afterwards"), shared.taken():
        shared._left.append(fail)
    other = Other(shared)
    assert other.there.wait(LONG_S)
    other.end()
