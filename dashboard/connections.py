"""How many connections there are, and how slowly one may bring a request or take an answer.

waitress waits for a byte now and then without end, and takes no further connections while there are too many: whoever
opens enough of them would keep all others out. Here a newcomer takes the place of the one that has been silent for
longest, and who brings or takes too little in its time is closed, also where a thread waits for it. Knows no pages.
The thread `http` calls it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from waitress.channel import HTTPChannel

from dashboard.bodies import Parser, Refused

MOST = 150
"""Connections; beyond, one on which nothing is being answered goes for each that comes."""
HARD_MOST = MOST + 100
"""If all of them are being answered, no more are taken."""
SILENT_S = 60
"""A connection on which nothing goes over for so long is closed, unless an answer is being made."""
GRACE_S = 20.0
"""So long a request may take to arrive, or an answer to be taken, however little of it goes over;"""
LEAST_RATE = 1024
"""and one second more for each so many bytes."""
HEADER_BYTES = 32 * 1024
TIDY_S = 1.0


class Pace:
    """How fast bytes go one way since somebody began to owe them."""

    def __init__(self) -> None:
        self._since_at = self._moved = 0.0

    def is_too_slow(self, owed: bool, moved: int, now: float) -> bool:
        """To be asked regularly. `moved`: bytes that have ever gone this way."""
        if not owed or not self._since_at:
            self._since_at, self._moved = now, moved
        return now - self._since_at > GRACE_S + (moved - self._moved) / LEAST_RATE


class Channel(HTTPChannel):  # type: ignore[misc]
    """One connection."""

    parser_class = Parser
    error_task_class = Refused

    def __init__(self, server: Any, *about: Any, **named: Any) -> None:
        _make_room(server.active_channels)
        self._received = self._sent = 0
        self._bringing, self._taking = Pace(), Pace()
        super().__init__(server, *about, **named)

    def received(self, data: bytes) -> bool:
        self._received += len(data)
        return bool(super().received(data))

    def send(self, data: bytes, do_close: bool = True) -> int:
        sent: int = super().send(data, do_close=do_close)
        self._sent += sent
        return sent

    def is_too_slow(self, now: float, now_wall: float) -> bool:
        owes = self.total_outbufs_len > 0
        brings_slowly = self._bringing.is_too_slow(self.request is not None, self._received, now)
        takes_slowly = self._taking.is_too_slow(owes, self._sent, now)
        is_silent = (owes or not self.requests) and now_wall - self.last_activity > SILENT_S
        return brings_slowly or takes_slowly or is_silent


class Connections:
    """Those of a server of waitress, which was made with HARD_MOST and HEADER_BYTES."""

    def __init__(self, server: Any, now: Callable[[], float] = time.monotonic) -> None:
        self._server, self._now = server, now
        self._tidy_at = now()
        server.channel_class = Channel

    def tidy(self) -> None:
        """Close those that are too slow; between turns of the loop."""
        now = self._now()
        if now < self._tidy_at:
            return
        self._tidy_at = now + TIDY_S
        for channel in list(self._server.active_channels.values()):
            if channel.is_too_slow(now, time.time()):
                channel.handle_close()  # at once: one that takes nothing never becomes writable


def _make_room(channels: dict[int, Any]) -> None:
    resting = [channel for channel in channels.values() if not channel.requests]
    if len(channels) >= MOST and resting:
        min(resting, key=lambda channel: channel.last_activity).handle_close()
