"""The journal of results on disk: what a successor finds in it, whatever happened to the file."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from titan_core.errors import ConfigError
from titan_core.protocol.messages import Result
from titan_core.worker import journal as journal_module
from titan_core.worker.journal import DEAD_BYTES, Journal, Kept
from titan_test_suite.pytests.support.disks import SmallDisk

OpenJournal = Callable[[], Journal]


def kept(reason: str = "", log: str = "/home/x/attempt-1.log") -> Kept:
    return Kept(Result(secrets.token_bytes(16), "FAILED", 1, reason, 1.0, 2.0, 3), log, False)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "results" / "8080-here"


@pytest.fixture
def open_journal(directory: Path) -> Iterator[OpenJournal]:
    """Opens the journal as a worker's successor does: the one before is dropped where it stands."""
    opened: list[Journal] = []

    def open_journal() -> Journal:
        _drop(opened)
        opened.append(Journal(directory))
        return opened[-1]

    yield open_journal
    _drop(opened)


def _drop(opened: list[Journal]) -> None:
    """What the end of a process does: its descriptors are closed, nothing else."""
    for journal in opened:
        for descriptor in {journal._file, journal._claim} - {-1}:
            os.close(descriptor)
    opened.clear()


# ── what is kept ──────────────────────────────────────────────────────────────────────────────────


def test_a_successor_finds_what_was_not_struck_out(open_journal: OpenJournal) -> None:
    first, second, third = kept(), kept("äöü", log=""), Kept(kept().result, "/with\udcff/log", True)
    journal = open_journal()
    assert journal.recover() == []
    for entry in (first, second, third):
        journal.add(entry)
    journal.strike_out((second.result.token, b"nobody's"))
    journal = open_journal()
    assert journal.recover() == [first, third]
    journal.strike_out((first.result.token, third.result.token))
    assert open_journal().recover() == []


def test_a_journal_that_keeps_nothing_is_empty_and_leaves_nothing(open_journal: OpenJournal, directory: Path) -> None:
    journal = open_journal()
    entries = [kept() for _ in range(3)]
    for entry in entries:
        journal.add(entry)
        journal.add(entry)
    assert (directory / "journal").stat().st_size > 0
    journal.strike_out(tuple(entry.result.token for entry in entries))
    assert (directory / "journal").stat().st_size == 0
    journal.close()
    assert not directory.exists()


def test_one_that_keeps_something_stays(open_journal: OpenJournal) -> None:
    journal, entry = open_journal(), kept()
    journal.add(entry)
    journal.close()
    Journal(journal._directory).close()  # of a worker that was never started
    assert open_journal().recover() == [entry]


def test_what_nobody_needs_does_not_pile_up(open_journal: OpenJournal, directory: Path) -> None:
    journal, lasting = open_journal(), kept("this one stays")
    journal.add(lasting)
    largest = 0
    for _ in range(300):
        entry = kept("x" * 20_000)
        journal.add(entry)
        journal.strike_out((entry.result.token,))
        largest = max(largest, (directory / "journal").stat().st_size)
    assert DEAD_BYTES / 2 < largest < 2 * DEAD_BYTES
    assert open_journal().recover() == [lasting]


def test_two_workers_do_not_share_one(open_journal: OpenJournal, directory: Path) -> None:
    open_journal()
    with pytest.raises(ConfigError, match=r"another worker uses .*: give this one another port or --hostname"):
        Journal(directory)


def test_any_history_and_any_end(open_journal: OpenJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    monkeypatch.setattr(journal_module, "DEAD_BYTES", 2_000)
    journal, expected = open_journal(), {}
    for _ in range(3_000):
        what = dice.random()
        if what < 0.5:
            entry = kept("x" * dice.randrange(200))
            expected[entry.result.token] = entry
            journal.add(entry)
        elif what < 0.97:
            tokens = dice.sample([*expected], min(len(expected), dice.randrange(4)))
            journal.strike_out(tuple(tokens))
            expected = {token: entry for token, entry in expected.items() if token not in tokens}
        else:
            journal = open_journal()
            assert journal.recover() == [*expected.values()]


# ── what the disk may hold ────────────────────────────────────────────────────────────────────────


def test_a_record_that_was_being_written_costs_no_other(open_journal: OpenJournal, directory: Path) -> None:
    path, entries = directory / "journal", [kept("reason") for _ in range(3)]
    journal = open_journal()
    sizes = [0]
    for entry in entries:
        journal.add(entry)
        sizes.append(path.stat().st_size)
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        journal = open_journal()
        there = [entry for entry, size in zip(entries, sizes[1:], strict=True) if size <= cut]
        assert journal.recover() == there
        journal.add(entries[2])
        assert open_journal().recover() == [*(entry for entry in there if entry != entries[2]), entries[2]]


def test_nor_does_a_byte_that_has_changed(open_journal: OpenJournal, directory: Path) -> None:
    path, first, second = directory / "journal", kept(), kept()
    journal = open_journal()
    journal.add(first)
    size = path.stat().st_size
    journal.add(second)
    whole = path.read_bytes()
    for at in range(size, len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        assert open_journal().recover() == [first]


@pytest.mark.parametrize(
    "content",
    [
        b"\0" * 100_000,
        b"\xff" * 100_000,
        struct.pack(">II", 2**32 - 1, 0) + b"x",
        struct.pack(">II", 2**20, 0) + b"x",
        struct.pack(">II", 3, 0x8C736521) + b"\1\0\0",
        random.Random(7).randbytes(1 << 20),
    ],
)
def test_what_is_no_journal_is_cut_off(open_journal: OpenJournal, directory: Path, content: bytes) -> None:
    directory.mkdir(parents=True)
    (directory / "journal").write_bytes(content)
    journal, entry = open_journal(), kept()
    assert journal.recover() == []
    journal.add(entry)
    assert open_journal().recover() == [entry]
    assert (directory / "journal").stat().st_size < 1000


def test_a_directory_that_is_gone_is_made_again(open_journal: OpenJournal, directory: Path) -> None:
    journal, first, second = open_journal(), kept(), kept()
    journal.recover()
    shutil.rmtree(directory)
    journal.add(first)  # there is no place for it
    journal.add(second)
    assert open_journal().recover() == [first, second]


@pytest.mark.parametrize("in_the_way", ["results", "results/8080-here", "results/8080-here/journal/x"])
def test_a_place_that_can_not_be_used(directory: Path, tmp_path: Path, in_the_way: str) -> None:
    """The results live in memory, somebody is told, and the journal catches up when it can."""
    blocked = tmp_path / in_the_way
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.touch()
    failures: list[OSError] = []
    journal, entry = Journal(directory, failures.append), kept()
    assert journal.recover() == []
    journal.add(entry)
    assert failures
    with pytest.raises(OSError):
        journal.mend()
    shutil.rmtree(directory, ignore_errors=True)
    blocked.unlink(missing_ok=True)
    journal.mend()
    journal.mend()
    journal.close()
    journal = Journal(directory)
    assert journal.recover() == [entry]
    journal.strike_out((entry.result.token,))
    journal.close()


def test_a_disk_that_fills_up_and_is_freed(small_disk: SmallDisk) -> None:
    failures: list[OSError] = []
    journal = Journal(small_disk.path / "results", failures.append)
    before, during = [kept() for _ in range(5)], [kept("x" * 3_000) for _ in range(5)]
    for entry in before:
        journal.add(entry)
    small_disk.fill()
    for entry in during:
        journal.add(entry)
    assert {failure.errno for failure in failures} == {28}
    journal.strike_out((before[0].result.token,))
    shutil.copytree(small_disk.path / "results", small_disk.path.with_name("seen"))
    seen = Journal(small_disk.path.with_name("seen"))
    assert set(before[1:]) <= set(seen.recover())  # nothing that was there before is lost
    _drop([seen])
    small_disk.clear()
    journal.mend()
    _drop([journal])
    successor = Journal(small_disk.path / "results")
    assert successor.recover() == [*before[1:], *during]
    _drop([successor])
