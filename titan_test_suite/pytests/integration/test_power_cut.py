"""The power goes at any instant: nothing acknowledged is missing, and no step is there by half."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from titan_core.clock import FakeClock
from titan_core.store import check
from titan_core.store.sqlite import Store
from titan_test_suite.pytests.support.power_cut import ACKNOWLEDGED, Disk, Note, compiler, record
from titan_test_suite.pytests.support.seeds import announced_seed

CUTS = 250
PROGRAM = "titan_test_suite.pytests.support.recorded_store"
MEMORY = Path("/dev/shm")

pytestmark = pytest.mark.skipif(compiler() is None, reason="there is no C compiler, and what notes the writes is C")


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """In memory where that is possible: the disk is made up, so that a real one would only be slow."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else tmp_path) as path:
        yield Path(path)


def test_nothing_acknowledged_is_missing_after_a_power_cut(scratch: Path) -> None:
    seed = announced_seed()
    dice = random.Random(seed)
    notes, story = _recorded(scratch, seed)
    cuts = set(dice.sample(range(len(notes) + 1), min(CUTS, len(notes) + 1)))
    disk = Disk()
    promised = 0
    for number, note in enumerate(notes):
        if number in cuts:
            promised += _survives(disk, dice, story, scratch / f"cut-{number}")
        disk.take(note)
    assert len(cuts) == CUTS and promised > CUTS * 10, f"{len(notes)} notes, {promised} tickets were promised"
    assert any(note.kind == b"S" and note.file == 0 for note in notes[len(notes) // 2 :]), "no checkpoint was cut"


def test_a_flush_that_fails_ends_the_store_and_nothing_more_is_promised(scratch: Path) -> None:
    seed = announced_seed()
    notes, story = _recorded(scratch, seed, flushes=40)
    ended = json.loads((scratch / "recorded" / "ended.json").read_text())
    told = [int(note.data) for note in notes if note.file == ACKNOWLEDGED]
    assert ended["failed"] and told and told[-1] <= ended["committed"]
    disk = Disk()
    for note in notes:
        disk.take(note)
    assert _survives(disk, random.Random(seed), story, scratch / "after") == told[-1]


def _recorded(scratch: Path, seed: int, flushes: int | None = None) -> tuple[list[Note], dict[int, Any]]:
    """What the program did to its disk, and what each of its tickets stood for."""
    home = scratch / "recorded"
    home.mkdir()
    notes = record(PROGRAM, [str(home), str(seed)], home / ".titan", scratch, flushes)
    story = json.loads((home / "story.json").read_text())
    return notes, {int(ticket): told for ticket, told in story.items()}


def _survives(disk: Disk, dice: random.Random, story: dict[int, Any], home: Path) -> int:
    """How many tickets were promised at this instant."""
    state = home / ".titan"
    state.mkdir(parents=True)
    disk.cut(dice, state)
    store = Store(state, FakeClock())
    try:
        store.load(0.0)
        assert store.history.read(check.problems) == [], home
        _holds(store, story, disk.acknowledged, home)
    finally:
        store.stop()
    shutil.rmtree(home)
    return disk.acknowledged


def _holds(store: Store, story: dict[int, Any], acknowledged: int, home: Path) -> None:
    """All that was acknowledged is there, and of what came after it some steps, whole, without a gap."""
    rows = store.history.read(_rows)
    forgotten = set(store.forgotten_since(0.0))
    ended = False
    for ticket, told in sorted(story.items()):
        if forgotten.intersection(told["runs"].values()):
            continue
        there = [tuple(row) in rows for row in (*told["jobs"], *told["events"], *told["requests"])]
        ended = ended or not all(there)
        assert not (ended and ticket <= acknowledged), f"ticket {ticket} of {acknowledged} is missing: {home}"
        assert not (ended and any(there)), f"ticket {ticket} is there by half, or after a gap: {home}"


def _rows(connection: sqlite3.Connection) -> set[tuple[object, ...]]:
    """(run, job), (run, version, state after), (request id,)"""
    rows = set(connection.execute("SELECT run, sequence FROM jobs"))
    rows |= set(connection.execute("SELECT run, version, after FROM events"))
    return rows | set(connection.execute("SELECT lower(hex(request_id)) FROM requests"))
