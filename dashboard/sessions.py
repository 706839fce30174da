"""Who has logged in: a bounded set of sessions, in memory, that a random id in a cookie finds.

Knows no requests, and of the token only a mark: a session that was opened with another one is over. Any thread.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

MAX_SESSIONS = 256
IDLE_S = 12 * 3600.0
"""A session that nobody used for so long is over."""
_MAX_NOTICES = 5


@dataclass(frozen=True, slots=True)
class Notice:
    """What became of an action, for the next page."""

    text: str
    bad: bool = False


@dataclass(slots=True)
class Session:
    session_id: str
    csrf: str
    """What each form of this session carries; another site can not know it."""
    used_at: float
    mark: bytes
    """Of the token that it was opened with."""
    notices: deque[Notice] = field(default_factory=lambda: deque(maxlen=_MAX_NOTICES))

    def take_notices(self) -> list[Notice]:
        """Each is shown once."""
        taken = []
        while self.notices:
            taken.append(self.notices.popleft())
        return taken


class Sessions:
    def __init__(self, mark: Callable[[], bytes], now: Callable[[], float] = time.monotonic) -> None:
        """`mark` tells the token of now from others; empty: there is none, and nobody is known."""
        self._mark, self._now = mark, now
        self._lock = threading.Lock()
        self._by_id: dict[str, Session] = {}

    def open(self) -> Session:
        """A new one; when there are too many, it takes the place of the one that was idle longest."""
        session = Session(secrets.token_urlsafe(32), secrets.token_urlsafe(32), self._now(), self._mark())
        with self._lock:
            self._forget_idle()
            if len(self._by_id) >= MAX_SESSIONS:
                del self._by_id[min(self._by_id.values(), key=lambda known: known.used_at).session_id]
            self._by_id[session.session_id] = session
        return session

    def find(self, session_id: str) -> Session | None:
        """The session of this id, unless it is over."""
        with self._lock:
            self._forget_idle()
            session = self._by_id.get(session_id)
        if session is None or not session.mark or session.mark != self._mark():
            return None
        session.used_at = self._now()
        return session

    def close(self, session_id: str) -> None:
        with self._lock:
            self._by_id.pop(session_id, None)

    def __len__(self) -> int:
        with self._lock:
            return len(self._by_id)

    def _forget_idle(self) -> None:
        oldest_at = self._now() - IDLE_S
        for session in [known for known in self._by_id.values() if known.used_at < oldest_at]:
            del self._by_id[session.session_id]
