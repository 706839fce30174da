"""The master's copy of what attempts print: where batches belong, what is rotated away, what readers then get."""

from __future__ import annotations

import random
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from titan_core.master import logs
from titan_core.master.logs import LogName, LogStore
from titan_core.master.topics import Topics

NAME = LogName("run", "job", 1)
FILE_BYTES, FILES, LEAST_BYTES = 1_000, 5, 50


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "logs"


@pytest.fixture
def store(directory: Path, monkeypatch: pytest.MonkeyPatch) -> LogStore:
    monkeypatch.setattr(logs, "SERVICE_LOG_BYTES", FILE_BYTES)
    monkeypatch.setattr(logs, "SERVICE_LOG_FILES", FILES)
    monkeypatch.setattr(logs, "LEAST_FILE_BYTES", LEAST_BYTES)
    return LogStore(directory, Topics())


def output(size: int) -> bytes:
    return random.Random(7).randbytes(size)


def everything(store: LogStore, name: LogName = NAME, offset: int = 0) -> bytes:
    pieces = []
    while data := (found := store.read(name, offset, 300))[1]:
        pieces.append(data)
        offset = found[0] + len(data)
    return b"".join(pieces)


def sizes(directory: Path) -> dict[str, int]:
    """The files of the one job, by name."""
    return {path.name: path.stat().st_size for path in (directory / "run" / "job").iterdir()}


def keep_service(store: LogStore, size: int, name: LogName = NAME) -> bytes:
    """A service has printed so much; that."""
    printed = output(size)
    for start in range(0, size, 90):
        store.append(name, start, printed[start : start + 90], rotate=True)
    return printed


# ── jobs ──────────────────────────────────────────────────────────────────────────────────────────


def test_batches_come_twice_and_in_pieces(store: LogStore, directory: Path) -> None:
    for offset, data in [(0, b"one\n"), (4, b"two\n"), (0, b"one\ntwo\n"), (8, b"three\n"), (4, b"two\n")]:
        store.append(NAME, offset, data)
    assert everything(store) == b"one\ntwo\nthree\n"
    assert store.size(NAME) == 14
    assert sizes(directory) == {"attempt-1.log": 14}


def test_the_log_of_a_job_has_no_hole(store: LogStore) -> None:
    store.append(NAME, 100, b"late")
    assert everything(store) == b"late"


def test_reading_from_the_end(store: LogStore) -> None:
    assert store.read(NAME, -5, 100) == (0, b"")
    store.append(NAME, 0, b"0123456789")
    assert store.read(NAME, -3, 100) == (7, b"789")
    assert store.read(NAME, -30, 100) == (0, b"0123456789")
    assert store.read(NAME, 10, 100) == (10, b"")
    assert store.read(NAME, 12, 100) == (12, b"")


def test_the_logs_of_attempts_are_apart(store: LogStore) -> None:
    for number in (1, 2, 10, 12):
        store.append(NAME._replace(attempt=number), 0, b"attempt %d" % number)
    assert everything(store) == b"attempt 1"
    assert everything(store, NAME._replace(attempt=12)) == b"attempt 12"
    assert store.size(NAME._replace(attempt=3)) == 0


def test_what_is_forgotten_is_gone(store: LogStore, directory: Path) -> None:
    store.append(NAME._replace(job_id="other"), 0, b"one")
    keep_service(store, 3_000)
    store.forget("run")
    assert not list(directory.iterdir())
    store.append(NAME, 3_000, b"goes on", rotate=True)
    assert store.read(NAME, 0, 100) == (3_000, b"goes on")


def test_strange_files_are_let_be(store: LogStore, directory: Path) -> None:
    strangers = {"notes.txt", "attempt-1.log.gz", "attempt-x.log"}
    store.append(NAME, 0, output(10), rotate=True)
    for stranger in strangers:
        (directory / "run" / "job" / stranger).write_text("strange")
    printed = keep_service(store, 10 * FILE_BYTES)
    assert everything(store, offset=9_900) == printed[-100:]
    assert strangers <= sizes(directory).keys()


# ── services ──────────────────────────────────────────────────────────────────────────────────────


def test_the_last_files_of_a_service_are_kept(store: LogStore, directory: Path) -> None:
    printed = keep_service(store, 20_000)
    kept = sizes(directory)
    assert len(kept) == FILES
    assert max(kept.values()) <= FILE_BYTES
    oldest = 20_000 - sum(kept.values())
    assert oldest < 20_000 - (FILES - 2) * FILE_BYTES
    assert store.size(NAME) == 20_000
    assert store.read(NAME, 0, 300) == (oldest, printed[oldest : oldest + 300])
    assert everything(store) == printed[oldest:]
    assert store.read(NAME, -100, 300) == (19_900, printed[-100:])


def test_a_reader_that_keeps_up_misses_nothing(store: LogStore) -> None:
    printed, read = output(20_000), b""
    for start in range(0, 20_000, 90):
        store.append(NAME, start, printed[start : start + 90], rotate=True)
        read += everything(store, offset=len(read))
    assert read == printed


def test_a_new_master_goes_on_where_the_old_one_was(store: LogStore, directory: Path) -> None:
    printed = output(6_000)
    for start in range(0, 2_300, 90):
        store.append(NAME, start, printed[start : start + 90], rotate=True)
    later = LogStore(directory, Topics())
    assert later.size(NAME) == store.size(NAME) == 2_340
    for start in range(2_000, 6_000, 70):  # what it has comes again first
        later.append(NAME, start, printed[start : start + 70], rotate=True)
    oldest, _ = later.read(NAME, 0, 1)
    assert oldest < 3_000
    assert everything(later) == printed[oldest:]


def test_what_a_worker_skipped_is_skipped_for_readers(store: LogStore) -> None:
    store.append(NAME, 0, b"first", rotate=True)
    store.append(NAME, 1_000_000, b"after the gap", rotate=True)
    assert store.read(NAME, 0, 100) == (0, b"first")
    assert store.read(NAME, 5, 100) == (1_000_000, b"after the gap")
    assert store.size(NAME) == 1_000_013


def test_all_attempts_of_a_service_share_the_room(store: LogStore, directory: Path) -> None:
    for number in range(1, 30):
        printed = keep_service(store, 700, NAME._replace(attempt=number))
    assert sum(sizes(directory).values()) <= FILES * FILE_BYTES
    assert everything(store, NAME._replace(attempt=29)) == printed
    assert everything(store) == b""
    for number in range(30, 300):
        store.append(NAME._replace(attempt=number), 0, b"!", rotate=True)
    assert len(sizes(directory)) <= FILES * FILE_BYTES // LEAST_BYTES


def test_an_attempt_whose_file_made_room_for_others_goes_on_in_a_new_one(store: LogStore) -> None:
    store.append(NAME, 0, b"early", rotate=True)
    keep_service(store, 10 * FILE_BYTES, NAME._replace(attempt=2))
    assert store.size(NAME) == 0
    store.append(NAME, 5, b"late", rotate=True)
    assert store.read(NAME, 0, 100) == (5, b"late")


def test_reading_while_files_are_rotated_away(store: LogStore) -> None:
    printed, over = output(100_000), threading.Event()
    wrong: list[tuple[int, bytes]] = []

    def read() -> None:
        while not over.is_set():
            for offset in (0, -500, 50_000):
                start, data = store.read(NAME, offset, 300)
                if data != printed[start : start + len(data)]:
                    wrong.append((start, data))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    keep_service(store, 100_000)
    over.set()
    for reader in readers:
        reader.join()
    assert not wrong


# ── a disk that is full ───────────────────────────────────────────────────────────────────────────


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """Writing further fails, as on a full disk."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is logged, which could not be written either."""
    said: list[str] = []
    say: Callable[..., None] = lambda sentence, *values, extra: said.append(extra["action"])  # noqa: E731
    monkeypatch.setattr(logs.log, "error", say)
    return said


def test_a_full_disk_costs_lines_of_a_job(store: LogStore, quiet: list[str]) -> None:
    store.append(NAME, 0, b"a" * 50)
    with no_file_beyond(60):
        store.append(NAME, 50, b"b" * 50)  # a part of it fits
        store.append(NAME, 100, b"c" * 50)
    store.append(NAME, 150, b"d" * 50)
    assert everything(store) == b"a" * 50 + b"b" * 10 + b"d" * 50
    assert "log.failed" in quiet


def test_a_full_disk_costs_lines_of_a_service(store: LogStore, directory: Path, quiet: list[str]) -> None:
    store.append(NAME, 0, b"a" * 50, rotate=True)
    with no_file_beyond(0):
        for start in range(50, 500, 50):
            store.append(NAME, start, b"b" * 50, rotate=True)
    store.append(NAME, 500, b"d" * 50, rotate=True)
    assert everything(store) == b"a" * 50 + b"d" * 50
    assert store.size(NAME) == 550
    assert sizes(directory) == {"attempt-1.log": 50, "attempt-1.log.000000000000500": 50}
    assert quiet == ["log.failed"] * 9
