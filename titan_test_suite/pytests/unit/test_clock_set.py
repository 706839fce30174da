"""The watch over the wall clock, with a source that a test drives, and the kernel's word as far as it can be had.

Nothing here sets the machine's clock.
"""

from __future__ import annotations

import errno
import os
import queue
import select
import threading
from collections.abc import Callable, Iterator

import pytest

from titan_core import clock_set
from titan_core.clock_set import ClockSetWatch, WallTimer


class Driven:
    """A source whose clock a test sets; `rearms` and `closed` say what was done with it."""

    def __init__(self) -> None:
        self._out, self._in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.rearms = 0
        self.looks = 0
        self.closed = False

    def fileno(self) -> int:
        return self._out

    def set_clock(self) -> None:
        os.write(self._in, b"!")

    def was_set(self) -> bool:
        self.looks += 1
        return bool(os.read(self._out, 1))

    def rearm(self) -> None:
        self.rearms += 1

    def close(self) -> None:
        os.close(self._out)
        os.close(self._in)
        self.closed = True


Watch = Callable[[Callable[[], object]], ClockSetWatch]


@pytest.fixture
def source() -> Driven:
    return Driven()


@pytest.fixture
def watch(source: Driven) -> Iterator[Watch]:
    """Starts a watch of `source`."""
    watches: list[ClockSetWatch] = []

    def begin(on_set: Callable[[], object]) -> ClockSetWatch:
        watches.append(ClockSetWatch(on_set, lambda: source))
        watches[0].start()
        return watches[0]

    yield begin
    watches[0].stop()
    assert watches[0].join(5) and source.closed


def test_it_is_told_each_time_that_the_clock_is_set(source: Driven, watch: Watch) -> None:
    told: queue.Queue[int] = queue.Queue()
    watch(lambda: told.put(source.rearms))
    for number in (1, 2, 3):
        source.set_clock()
        assert told.get(timeout=5) == number, "it has to be armed before anybody is told"
    assert told.empty()


def test_what_happens_while_it_is_told_is_not_missed(source: Driven, watch: Watch) -> None:
    told, go_on = queue.Queue[int](), threading.Event()

    def on_set() -> None:
        told.put(source.rearms)
        go_on.wait(5)

    watch(on_set)
    source.set_clock()
    assert told.get(timeout=5) == 1
    source.set_clock()
    go_on.set()
    assert told.get(timeout=5) == 2


def test_it_looks_only_when_there_is_something_to_see(source: Driven, watch: Watch) -> None:
    told: queue.Queue[bool] = queue.Queue()
    watch(lambda: told.put(True))
    source.set_clock()
    assert told.get(timeout=5)
    assert source.looks == 1


def test_a_false_alarm_is_not_told(source: Driven, monkeypatch: pytest.MonkeyPatch, watch: Watch) -> None:
    answers = iter([False, True])
    monkeypatch.setattr(source, "was_set", lambda: bool(os.read(source.fileno(), 1)) and next(answers))
    told: queue.Queue[int] = queue.Queue()
    watch(lambda: told.put(source.rearms))
    source.set_clock()
    source.set_clock()
    assert told.get(timeout=5) == 1
    assert told.empty()


def test_it_may_be_stopped_before_during_and_after() -> None:
    for _ in range(200):
        source = Driven()
        watch = ClockSetWatch(lambda: None, lambda source=source: source)  # type: ignore[misc]
        stopper = threading.Thread(target=watch.stop)
        stopper.start()
        watch.start()
        stopper.join()
        assert watch.join(5) and source.closed and not watch.failed
        watch.stop()


def test_who_fails_when_told_is_known(source: Driven, watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("no")

    failing = watch(fail)
    source.set_clock()
    assert failing.stopping.wait(5) and failing.join(5)
    assert failing.failed and source.closed


def test_where_the_system_does_not_tell_there_is_no_thread(caplog: pytest.LogCaptureFixture) -> None:
    def refuse() -> Driven:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    watch = ClockSetWatch(lambda: None, refuse)
    with caplog.at_level("INFO"):
        watch.start()
    assert watch.threads() == []
    assert [record.getMessage() for record in caplog.records] == [
        "nobody will tell when the clock is set: Invalid argument"
    ]
    watch.stop()


# ── the kernel's word ─────────────────────────────────────────────────────────────────────────────


def readable(timer: WallTimer) -> bool:
    poller = select.poll()
    poller.register(timer, select.POLLIN)
    return bool(poller.poll(0))


def test_a_timer_that_nobody_disturbs_is_quiet() -> None:
    timer = WallTimer()
    try:
        for _ in range(3):
            assert not readable(timer) and not timer.was_set()
            timer.rearm()
        assert not os.get_inheritable(timer.fileno()) and not os.get_blocking(timer.fileno())
    finally:
        timer.close()


def test_the_watch_over_this_machine_begins_and_ends() -> None:
    watch = ClockSetWatch(lambda: None)
    watch.start()
    assert [thread.name for thread in watch.threads()] == ["clock-set"]
    watch.stop()
    assert watch.join(5) and not watch.failed


class Refusing:
    """A library whose calls fail with an error number each, in turn; 0 = they succeed."""

    def __init__(self, *numbers: int) -> None:
        self._numbers = list(numbers)
        self.timerfd_create = self.timerfd_settime = self._answer

    def _answer(self, *args: object) -> int:
        number = self._numbers.pop(0)
        clock_set.ctypes.set_errno(number)
        return -1 if number else os.eventfd(0) if len(args) == 2 else 0


@pytest.mark.parametrize("numbers", [(errno.EMFILE,), (0, errno.EINVAL)])
def test_a_timer_that_can_not_be_had_leaves_nothing_open(
    numbers: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock_set, "_libc", Refusing(*numbers))
    with pytest.raises(OSError) as refused:
        WallTimer()
    assert refused.value.errno == numbers[-1]


def test_a_clock_that_is_set_while_it_is_armed_anew_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_set, "_libc", Refusing(0, errno.ECANCELED))
    WallTimer().close()


def test_a_system_without_such_timers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_set, "_libc", object())
    with pytest.raises(OSError, match="not implemented"):
        WallTimer()


def test_a_read_that_is_cancelled_says_that_it_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    timer = WallTimer()
    try:
        with monkeypatch.context() as patched:
            patched.setattr(os, "read", _fail(errno.ECANCELED))
            assert timer.was_set()
            patched.setattr(os, "read", _fail(errno.EIO))
            with pytest.raises(OSError):
                timer.was_set()
    finally:
        timer.close()


def _fail(number: int) -> Callable[[int, int], bytes]:
    def read(descriptor: int, most: int) -> bytes:
        raise OSError(number, os.strerror(number))

    return read
