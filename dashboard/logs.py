"""The log of an attempt for one who reads it: parts from the master, and all of it as it is printed.

What is printed comes from the rings at once, as far as it came there. Beside that the master is asked from time to
time: often while nothing comes, since then nothing may be able to come, and seldom otherwise, for the end of the
attempt. Bytes that neither has sent in order are the reader's to ask for, by their offsets. Knows no HTTP but the
form of an event. Threads of the server.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from dashboard.rings import AttemptName, Piece, Rings
from dashboard.streams import HEARTBEAT, HEARTBEAT_S, event
from titan_core.protocol.messages import LogChunk
from titan_sdk import TitanClient
from titan_sdk.cli.text import clean
from titan_sdk.errors import TitanError

POLL_S = 0.5
"""So often the master is asked while nothing comes by datagrams."""
SELDOM_S = 2.0
"""So often, while something does, and when the attempt is over."""
REST_S = 0.05
"""What comes within this time is one event."""
TAIL_LINES, TAIL_BYTES = 500, 256 * 1024
"""Shown where no script runs."""
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")


def read(client: TitanClient, key: str, attempt: int, offset: int) -> LogChunk | None:
    """What the master has from `offset` on (negative: so many bytes before the end), at most a chunk; None: nothing
    yet. It begins later where what lies between is not kept. Raises NotFound."""
    return next(iter(client.log_chunks(key, attempt, tail_bytes=-offset)), None)  # both are the offset of GetLogs


class Part(NamedTuple):
    """Contiguous bytes of the log of an attempt, as the master has them."""

    attempt: int
    offset: int
    data: bytes = b""
    end: bool = False
    """The attempt is over, and this reaches the end of its log."""
    final: bool = False
    """No further attempt will come."""


def part(client: TitanClient, key: str, attempt: int, offset: int, limit: int) -> Part:
    """Like `read`, until it has `limit` bytes, or there is no more."""
    data, last = bytearray(), None
    for chunk in client.log_chunks(key, attempt, tail_bytes=-offset):
        if last and (chunk.attempt, chunk.offset) != (last.attempt, last.offset + len(last.data)):
            break
        data += chunk.data
        last = chunk
        if chunk.end or len(data) >= limit:
            break
    if last is None:
        return Part(attempt, max(0, offset))
    return Part(last.attempt, last.offset + len(last.data) - len(data), bytes(data), last.end, last.final)


def tail(client: TitanClient, key: str, attempt: int) -> list[str]:
    """The last lines, as text that can do no harm."""
    text = b"".join(chunk.data for chunk in client.log_chunks(key, attempt, tail_bytes=TAIL_BYTES)).decode(
        errors="replace"
    )
    return [shown(line) for line in text.removesuffix("\n").split("\n")[-TAIL_LINES:]] if text else []


def shown(line: str) -> str:
    """A line as a terminal would leave it, without colours: of what overwrites itself, the last."""
    last = _ESCAPES.sub("", line).rstrip("\r").rpartition("\r")[2]
    return clean(last.expandtabs())


class Follower:
    """One reader's way through the log of one attempt, from `offset` on."""

    def __init__(
        self,
        rings: Rings,
        client: TitanClient,
        name: AttemptName,
        offset: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rings, self._client, self._name, self._now = rings, client, name, now
        self._key = f"{name.run_id}/{name.job_id}"
        self._begin = self._position = offset
        self._number = 0
        self._hears = False
        """Datagrams of this attempt come here, as far as is known."""
        self._ask_at = self._told_at = now()
        self._facts: dict[str, object] = {"end": False, "final": False, "next": 0, "trouble": ""}

    def events(self, is_stopping: Callable[[], bool]) -> Iterator[str]:
        """Events for `Streams.respond`, until the job is final and all of it was said:

        `{"offset", "data", "via"}`: bytes of the log, in base64, that came by `datagrams` or from the `master`;
        `{"end", "final", "next", "trouble"}`, when one of them has changed: the attempt is over, the job is final,
        the number of a later attempt or 0, why the master is not reached.
        """
        while not is_stopping() and not self._facts["final"]:
            yield from self._come()
            if self._now() >= self._ask_at:
                yield from self._ask()
            if self._now() - self._told_at >= HEARTBEAT_S:
                self._told_at = self._now()
                yield HEARTBEAT

    def _come(self) -> Iterator[str]:
        """What comes by datagrams, waiting until the master is to be asked."""
        wait_s = max(0.0, min(self._ask_at - self._now(), HEARTBEAT_S))
        found = self._rings.wait(self._name, self._begin, self._number, wait_s)
        self._number = found.number
        if found.pieces:
            self._hears = True
            for piece in joined(found.pieces):
                yield self._piece(piece.offset, piece.data, "datagrams")
            time.sleep(REST_S)

    def _ask(self) -> Iterator[str]:
        """What the master has behind all that was sent, and whether that is the end."""
        self._ask_at = self._now() + (SELDOM_S if self._hears or self._facts["end"] else POLL_S)
        try:
            if self._name.attempt and not self._facts["end"]:
                yield from self._read_on()
            if self._facts["end"] or not self._name.attempt:
                yield from self._tell(**self._outlook())
            yield from self._tell(trouble="")
        except TitanError as error:
            yield from self._tell(trouble=str(error))

    def _read_on(self) -> Iterator[str]:
        chunk = read(self._client, self._key, self._name.attempt, self._position)
        if chunk is None:
            return
        if chunk.data:
            self._hears = False
            self._ask_at = self._now()
            yield self._piece(chunk.offset, chunk.data, "master")
        if chunk.end:
            yield from self._tell(end=True)

    def _outlook(self) -> dict[str, object]:
        job = self._client.job(self._key)
        latest = job.attempts[-1].number if job.attempts else 0
        later = latest if latest > self._name.attempt else 0
        return {"final": job.final and not later, "next": later}

    def _piece(self, offset: int, data: bytes, via: str) -> str:
        self._position = max(self._position, offset + len(data))
        return self._event({"offset": offset, "data": base64.b64encode(data).decode(), "via": via})

    def _tell(self, **facts: object) -> Iterator[str]:
        if facts.items() - self._facts.items():
            self._facts.update(facts)
            yield self._event(self._facts)

    def _event(self, data: dict[str, object]) -> str:
        """With where to go on for a browser whose stream has ended, which asks again with this as `Last-Event-ID`."""
        self._told_at = self._now()
        return f"id: {self._position}\n{event(data)}"


def joined(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The same bytes in as few pieces as possible."""
    parts: list[bytes] = []
    start = end = 0
    for piece in pieces:
        if parts and piece.offset != end:
            yield Piece(start, b"".join(parts))
            parts = []
        if not parts:
            start = piece.offset
        parts.append(piece.data)
        end = piece.end
    if parts:
        yield Piece(start, b"".join(parts))
