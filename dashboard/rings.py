"""What jobs have printed lately, as it came in datagrams: of each attempt a bounded run of pieces, in order.

Datagrams are lost, come twice and come late. A piece is kept in the place that its offset gives it, without what was
there already; what lies between two pieces is a gap until somebody brings it, or it is found in the master's log.
Each piece has a number by arrival, so that whoever follows gets also those that came late.

The oldest bytes of an attempt give way to new ones, and attempts of which nothing came for longest to others.
`collector` adds, the threads of the server read and wait; neither sockets nor HTTP are known here.
"""

from __future__ import annotations

import threading
from bisect import bisect_right, insort
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import NamedTuple

ATTEMPTS = 300
RING_BYTES = 256 * 1024
"""Kept of one attempt."""
ALL_BYTES = 32 * 1024 * 1024
"""Kept of all attempts together."""
_PIECE_COST = 200
"""Bytes that a piece takes beside its data, so that many small ones are not kept for nothing."""
_OFFSET = attrgetter("offset")


class AttemptName(NamedTuple):
    run_id: str
    job_id: str
    attempt: int


class Piece(NamedTuple):
    """Contiguous bytes of a log."""

    offset: int
    data: bytes
    number: int = 0
    """By arrival, of all pieces there ever were."""

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


class Gap(NamedTuple):
    """Bytes of a log that did not come, between two that did."""

    start: int
    stop: int


class Found(NamedTuple):
    pieces: tuple[Piece, ...] = ()
    """By offset."""
    gaps: tuple[Gap, ...] = ()
    """Between the offset that was asked for and the end of the last piece."""
    number: int = 0
    """Of the newest piece there is: ask for what comes `after` it."""


@dataclass(slots=True)
class Figures:
    """Since the process began, but for `attempts` and `kept_bytes`."""

    datagrams: int = 0
    bytes: int = 0
    """Of data, in the datagrams that were taken."""
    refused: int = 0
    """Datagrams that nobody sent who knows the key."""
    repeated: int = 0
    """Datagrams that brought nothing new."""
    late: int = 0
    """Datagrams that came after later ones, and filled a gap."""
    gaps: int = 0
    """Times that something was missing before a datagram; it may have come later."""
    attempts: int = 0
    kept_bytes: int = 0


class Ring:
    """The pieces of one attempt, which never overlap. Whoever uses it holds the lock of `Rings`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._pieces: list[Piece] = []
        self._floor = 0
        """What lies before has been here and gone: it is not taken again."""
        self.cost = 0
        self.newest = 0
        """The number of the piece that came last."""

    @property
    def end(self) -> int:
        return self._pieces[-1].end if self._pieces else self._floor

    @property
    def kept(self) -> int:
        """Bytes of data."""
        return self.cost - _PIECE_COST * len(self._pieces)

    def add(self, offset: int, data: bytes, number: int) -> bool:
        """Keep what of it is new; whether anything was."""
        fresh = self._missing(offset, offset + len(data))
        for start, stop in fresh:
            insort(self._pieces, Piece(start, data[start - offset : stop - offset], number), key=_OFFSET)
            self.cost += stop - start + _PIECE_COST
        if fresh:
            self.newest = number
            self._shrink()
        return bool(fresh)

    def read(self, offset: int, after: int) -> list[Piece]:
        """The pieces with something from `offset` on that came `after`, without what they have before it."""
        pieces = self._pieces[self._place(offset) :]
        return [_cut(piece, offset) for piece in pieces if piece.number > after and piece.end > offset]

    def gaps(self, offset: int) -> list[Gap]:
        found, at = [], offset
        for piece in self._pieces[self._place(offset) :]:
            if piece.offset > at:
                found.append(Gap(at, piece.offset))
            at = max(at, piece.end)
        return found

    def _missing(self, start: int, stop: int) -> list[Gap]:
        found, at = [], max(start, self._floor)
        for piece in self._pieces[self._place(at) :]:
            if piece.offset >= stop:
                break
            if piece.offset > at:
                found.append(Gap(at, piece.offset))
            at = max(at, piece.end)
        return [*found, Gap(at, stop)] if at < stop else found

    def _place(self, offset: int) -> int:
        """Of the last piece that begins at `offset` or before; 0 if none does."""
        return max(0, bisect_right(self._pieces, offset, key=_OFFSET) - 1)

    def _shrink(self) -> None:
        gone = 0
        while self.cost > self._most and gone < len(self._pieces) - 1:
            self.cost -= len(self._pieces[gone].data) + _PIECE_COST
            gone += 1
        if gone:
            self._floor = self._pieces[gone - 1].end
            del self._pieces[:gone]


class Rings:
    """Those of all attempts. Any thread."""

    def __init__(self, attempts: int = ATTEMPTS, ring_bytes: int = RING_BYTES, all_bytes: int = ALL_BYTES) -> None:
        self._attempts, self._ring_bytes, self._all_bytes = attempts, ring_bytes, all_bytes
        self._rings: OrderedDict[AttemptName, Ring] = OrderedDict()
        """Of which something came last, last."""
        self._changed = threading.Condition()
        self._number = 0
        self._cost = 0
        self._figures = Figures()
        self._stopped = False

    def add(self, pieces: Iterable[tuple[AttemptName, int, bytes]], refused: int = 0) -> None:
        """What came in some datagrams: of whose log, from which offset on, what; and how many more were none."""
        with self._changed:
            self._figures.refused += refused
            for name, offset, data in pieces:
                self._add(name, offset, data)
            self._changed.notify_all()

    def read(self, name: AttemptName, offset: int = 0, after: int = 0) -> Found:
        """What there is of a log from `offset` on; with `after`, only the pieces that came after that number."""
        with self._changed:
            ring = self._rings.get(name)
            if ring is None:
                return Found(number=self._number)
            return Found(tuple(ring.read(offset, after)), tuple(ring.gaps(offset)), self._number)

    def wait(self, name: AttemptName, offset: int, after: int, timeout_s: float) -> Found:
        """Like `read`, once something has come, or after `timeout_s`, or when this stops."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._newest(name) > after, timeout_s)
        return self.read(name, offset, after)

    def figures(self) -> Figures:
        with self._changed:
            kept = sum(ring.kept for ring in self._rings.values())
            return replace(self._figures, attempts=len(self._rings), kept_bytes=kept)

    def stop(self) -> None:
        """Nobody waits any more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    # ── holding the lock ──────────────────────────────────────────────────────────────────────────

    def _newest(self, name: AttemptName) -> int:
        ring = self._rings.get(name)
        return ring.newest if ring else 0

    def _add(self, name: AttemptName, offset: int, data: bytes) -> None:
        ring = self._rings.get(name)
        if ring is None:
            ring = self._rings[name] = Ring(self._ring_bytes)
            end = offset  # what was printed before is not missed by anybody: it was not sent to us
        else:
            self._rings.move_to_end(name)
            end = ring.end
        self._number += 1
        before = ring.cost
        is_new = ring.add(offset, data, self._number)
        self._cost += ring.cost - before
        self._count(len(data), is_new, is_late=offset < end, has_gap=offset > end)
        self._make_room()

    def _count(self, size: int, is_new: bool, is_late: bool, has_gap: bool) -> None:
        figures = self._figures
        figures.datagrams += 1
        figures.bytes += size
        figures.repeated += not is_new
        figures.late += is_new and is_late
        figures.gaps += is_new and has_gap

    def _make_room(self) -> None:
        while len(self._rings) > self._attempts or (self._cost > self._all_bytes and len(self._rings) > 1):
            _, oldest = self._rings.popitem(last=False)
            self._cost -= oldest.cost


def _cut(piece: Piece, offset: int) -> Piece:
    if piece.offset >= offset:
        return piece
    return Piece(offset, piece.data[offset - piece.offset :], piece.number)
