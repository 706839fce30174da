"""The file an attempt prints to: its head and its tail stay, whatever is cut, and whenever it is sent."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from titan_core.master.logs import LogName, LogStore
from titan_core.master.topics import Topics
from titan_core.protocol.messages import LogBatch
from titan_core.protocol.wire import Decoder
from titan_core.worker import logs, output
from titan_core.worker.logs import PIECE_BYTES, AttemptLog
from titan_core.worker.outbox import Outbox
from titan_core.worker.output import GOES_ON, NOTE_ROOM, OutputFile, cut_note

TOKEN = bytes(16)
NAME = LogName("run", "job", 1)
LIMIT = 40_000
KEPT_TAIL = LIMIT // 2 - NOTE_ROOM


def text(size: int) -> bytes:
    """Lines without a NUL byte, no two alike."""
    return b"".join(b"line %d\n" % n for n in range(size // 6 + 1))[:size]


def as_kept(printed: bytes) -> bytes:
    if len(printed) <= LIMIT:
        return printed
    cut = len(printed) - LIMIT // 2 - KEPT_TAIL
    return printed[: LIMIT // 2] + GOES_ON + cut_note(cut) + printed[-KEPT_TAIL:]


class Chain:
    """A log, the sessions it is sent over, and the master's copy."""

    def __init__(self, directory: Path, service: bool = False) -> None:
        self.path = directory / "log"
        self.log = AttemptLog(str(self.path), TOKEN, LIMIT, service)
        self.store = LogStore(directory / "master", Topics())
        self.service = service
        self.outbox = Outbox()
        self._file = self.log.create()

    def print(self, data: bytes) -> None:
        assert os.write(self._file, data) == len(data)

    def deliver(self, part: float = 1.0) -> None:
        """What is queued arrives, or the first part of it."""
        self.outbox.put_bytes(b"\0")  # taking waits for something
        *batches, _ = _batches(self.outbox.take())
        for batch in batches[: round(part * len(batches))]:
            self.store.append(NAME, batch.offset, batch.data, rotate=self.service)

    def reconnect(self) -> None:
        self.outbox.close()
        self.outbox = Outbox()
        self.log.seek(self.store.size(NAME))

    def end(self) -> None:
        self.log.end()
        assert self.log.send_rest(self.outbox)
        self.log.close()

    def copy(self) -> bytes:
        offset, pieces = 0, []
        while data := (found := self.store.read(NAME, offset, 10_000))[1]:
            pieces.append(data)
            offset = found[0] + len(data)
        return b"".join(pieces)


def _batches(frames: bytes) -> list[LogBatch | None]:
    decoder = Decoder()
    return [*(LogBatch.decode(frame.payload) for frame in decoder.feed(frames[:-1])), None]


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    chain = Chain(tmp_path)
    yield chain
    chain.log.close()


@pytest.mark.parametrize(
    "size", [0, 1, LIMIT // 2, LIMIT - 1, LIMIT, LIMIT + 1, LIMIT + NOTE_ROOM, 3 * LIMIT, 100 * LIMIT]
)
@pytest.mark.parametrize("trimmed", [True, False])
def test_all_or_head_note_and_tail(chain: Chain, size: int, trimmed: bool) -> None:
    printed = text(size)
    for start in range(0, size, 7_000):
        chain.print(printed[start : start + 7_000])
        if trimmed:
            chain.log.trim()
    chain.end()
    chain.deliver()
    assert chain.copy() == chain.path.read_bytes() == as_kept(printed)
    assert len(chain.copy()) <= LIMIT


def test_while_it_runs_the_head_is_told_and_that_more_follows(chain: Chain) -> None:
    printed = text(3 * LIMIT)
    chain.print(printed[:LIMIT])
    assert chain.log.send_some(chain.outbox)
    assert not chain.log.send_some(chain.outbox)
    chain.print(printed[LIMIT:])
    assert chain.log.trim()
    assert not chain.log.trim()
    assert chain.log.send_some(chain.outbox)
    assert not chain.log.send_some(chain.outbox)
    chain.deliver()
    assert chain.copy() == printed[: LIMIT // 2] + GOES_ON
    chain.end()


def test_the_room_it_takes_is_bounded_and_nothing_printed_moves(chain: Chain) -> None:
    for _ in range(1000):
        chain.print(b"x" * 10_000)
        chain.log.trim()
        assert chain.path.stat().st_blocks * 512 <= LIMIT + 128 * 1024  # some take room in advance
    assert chain.path.stat().st_size == 10_000_000
    chain.end()
    assert chain.path.stat().st_blocks * 512 <= LIMIT + 128 * 1024


@pytest.mark.parametrize("seed", range(40))
def test_lost_sessions_change_nothing_of_the_copy(chain: Chain, seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    printed = text(rng.choice([LIMIT // 2, LIMIT, 2 * LIMIT, 10 * LIMIT]) + rng.randrange(-300, 300))
    rest = printed
    while rest:
        size = rng.choice([1, 50, 5_000, 30_000])
        chain.print(rest[:size])
        rest = rest[size:]
        disturb(chain, rng)
    chain.log.end()
    while not (chain.log.send_some(chain.outbox) and rng.random() < 0.5) and rng.random() < 0.5:
        disturb(chain, rng)
    chain.log.close()
    chain.deliver(rng.random())
    chain.outbox = Outbox()
    assert chain.log.send_again(chain.outbox, rng.choice([0, chain.store.size(NAME)]))
    chain.deliver()
    assert chain.copy() == chain.path.read_bytes() == as_kept(printed)


def disturb(chain: Chain, rng: random.Random) -> None:
    """Some of what may happen between two lines."""
    for _ in range(rng.randrange(4)):
        step = rng.choice([chain.log.trim, lambda: chain.log.send_some(chain.outbox), chain.deliver])
        step()
    if rng.random() < 0.2:
        chain.deliver(rng.random())
        chain.reconnect()


# ── services ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    monkeypatch.setattr(logs, "SERVICE_LOG_BYTES", LIMIT)
    chain = Chain(tmp_path, service=True)
    yield chain
    chain.log.close()


@pytest.mark.parametrize("seed", range(20))
def test_a_service_is_copied_without_a_gap_by_who_keeps_up(service: Chain, seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    printed = text(20 * LIMIT)
    for start in range(0, len(printed), 10_000):
        service.print(printed[start : start + 10_000])
        disturb(service, rng)
        service.log.send_some(service.outbox)
        service.deliver()
    service.end()
    service.deliver()
    assert service.copy() == printed
    assert service.path.read_bytes() == cut_note(20 * LIMIT - LIMIT + NOTE_ROOM) + printed[-(LIMIT - NOTE_ROOM) :]


def test_what_is_sent_again_of_a_service_is_not_kept_twice(service: Chain) -> None:
    printed = text(20 * LIMIT)
    for start in range(0, len(printed), 10_000):
        service.print(printed[start : start + 10_000])
        service.log.trim()
        service.log.send_some(service.outbox)
    service.end()
    service.deliver(0.99)
    service.outbox = Outbox()
    assert service.log.send_again(service.outbox, 0)
    service.deliver()
    assert service.copy() == printed


def test_who_falls_behind_a_service_is_told_how_much_is_missing(service: Chain) -> None:
    service.print(b"a" * 1_000)
    service.log.send_some(service.outbox)
    for _ in range(10):
        service.print(b"b" * LIMIT)
        service.log.trim()
    service.print(b"c" * 1_000)
    service.end()
    service.deliver()
    missing = 10 * LIMIT + 1_000 - (LIMIT - NOTE_ROOM)
    assert service.copy() == b"a" * 1_000 + cut_note(missing) + b"b" * (LIMIT - NOTE_ROOM - 1_000) + b"c" * 1_000
    assert service.store.size(NAME) == 10 * LIMIT + 2_000


def test_earlier_attempts_of_a_service_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "SERVICE_LOG_BYTES", 10_000)
    monkeypatch.setattr(logs, "LEAST_LOG_BYTES", 2_000)
    (tmp_path / "attempt-odd.log").touch()
    for number in range(1, 30):
        log = AttemptLog(str(tmp_path / f"attempt-{number}.log"), TOKEN, LIMIT, service=True)
        os.write(log.create(), b"x" * (5_000 if number == 28 else 10))
        log.close()
    assert {path.name for path in tmp_path.iterdir()} == {f"attempt-{number}.log" for number in (26, 27, 28, 29)}


# ── disks that can not do everything ──────────────────────────────────────────────────────────────


@pytest.fixture
def no_holes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system whose files have none."""
    monkeypatch.setattr(output, "_punch", lambda descriptor, start, stop: False)


@pytest.mark.usefixtures("no_holes")
def test_without_holes_the_end_is_what_came_since_the_last_cut(chain: Chain) -> None:
    printed = text(10 * LIMIT)
    for start in range(0, len(printed), 1_000):
        chain.print(printed[start : start + 1_000])
        chain.log.trim()
        assert chain.path.stat().st_size <= LIMIT + LIMIT // 16 + 1_000
    chain.end()
    chain.deliver()
    head, _, rest = chain.copy().partition(GOES_ON)
    note, _, tail = rest.partition(b"\n")
    assert chain.copy() == chain.path.read_bytes()
    assert printed.startswith(head)
    assert printed.endswith(tail)
    assert note + b"\n" == cut_note(len(printed) - len(head) - len(tail))


@pytest.mark.usefixtures("no_holes")
def test_without_holes_a_service_is_copied_too(service: Chain) -> None:
    printed = text(20 * LIMIT)
    for start in range(0, len(printed), 10_000):
        service.print(printed[start : start + 10_000])
        service.log.send_some(service.outbox)
        service.log.trim()
    service.end()
    service.deliver()
    assert service.copy() == printed


def test_a_file_is_cut_back_before_it_seems_too_large(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "MOST_SPARSE", 10 * LIMIT)
    for _ in range(300):
        chain.print(b"x" * 10_000)
        chain.log.trim()
        assert chain.path.stat().st_size <= 10 * LIMIT + 10_000
    chain.end()
    chain.deliver()
    head, _, rest = chain.copy().partition(GOES_ON)
    note, _, tail = rest.partition(b"\n")
    assert note + b"\n" == cut_note(3_000_000 - len(head) - len(tail))


def test_a_log_that_can_not_be_read_holds_up_nobody(chain: Chain, tmp_path: Path) -> None:
    chain.print(text(2 * PIECE_BYTES))
    directory = os.open(tmp_path, os.O_RDONLY)
    os.dup2(directory, chain._file)  # every read fails from now on
    os.close(directory)
    assert not chain.log.send_some(chain.outbox)
    chain.end()


def test_a_job_that_cuts_its_own_log_is_told_as_what_is_left(chain: Chain) -> None:
    chain.print(text(3 * LIMIT))
    chain.log.trim()
    os.truncate(chain.path, 5)
    chain.end()
    chain.deliver()
    assert chain.copy() == chain.path.read_bytes()


def test_nothing_is_read_of_a_closed_file(tmp_path: Path) -> None:
    file = OutputFile(str(tmp_path / "log"), 10, 1000)
    assert not file.trim()
    file.finish()
    assert file.read(5, 10) == (5, b"")
