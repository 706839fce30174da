"""Server-Sent Events: a browser is told that something has changed, and then asks for it.

A stream takes one thread of the server for as long as it lasts, so there are at most half as many as threads; whoever
comes then is refused with 503, and its page polls. So does a download that is made while it is taken: there are at
most half as many of them again. Each lasts a minute, after which the browser comes again, and says
something every moment: that is how it is found out that nobody listens any more.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator

from flask import Response
from werkzeug.exceptions import ServiceUnavailable

from dashboard.cluster import ClusterWatch
from titan_sdk.cli.text import plural

LIFE_S = 60.0
HEARTBEAT_S = 1.5
"""At most so long apart are two signs of life; so long a browser that has left still takes a stream."""
RETRY_MS = 1000
"""So soon the browser comes again after a stream has ended."""
HEARTBEAT = ": still here\n\n"


class Places:
    """So many there may be at once of what takes a thread for as long as a client likes. Any thread."""

    def __init__(self, most: int, sentence: str) -> None:
        self.most, self._sentence = most, sentence
        self._lock = threading.Lock()
        self._taken = 0

    @property
    def taken(self) -> int:
        with self._lock:
            return self._taken

    def hold(self, response: Response) -> Response:
        """Give it a place until it was sent, or nobody takes it any more. Raises ServiceUnavailable: none is free."""
        with self._lock:
            if self._taken >= self.most:
                raise ServiceUnavailable(self._sentence)
            self._taken += 1
        response.call_on_close(_once(self._leave))  # also when its first part was never asked for
        return response

    def _leave(self) -> None:
        with self._lock:
            self._taken -= 1


class Streams:
    """Those there are. Any thread."""

    def __init__(self, threads: int, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        most = max(1, threads // 2)
        self._streams = Places(most, f"there are {most} streams already; the page asks from time to time")
        most = max(1, threads // 4)
        self.downloads = Places(most, f"at most {plural(most, 'log')} at a time can be downloaded; try again later")

    @property
    def open(self) -> int:
        return self._streams.taken

    def respond(self, events: Iterator[str]) -> Response:
        """An answer that sends `events`, each as `event` or HEARTBEAT writes it, for LIFE_S.

        They must come at least every HEARTBEAT_S. Raises ServiceUnavailable if there are too many streams.
        """
        response = self._streams.hold(Response(self._living(events), mimetype="text/event-stream"))
        response.headers["X-Accel-Buffering"] = "no"
        return response

    def _living(self, events: Iterator[str]) -> Iterator[str]:
        until_at = self._now() + LIFE_S
        yield f"retry: {RETRY_MS}\n\n"
        for text in events:
            yield text
            if self._now() >= until_at:
                return


def event(data: object) -> str:
    """One event; `data` as JSON, which has no line breaks."""
    return f"data: {json.dumps(data)}\n\n"


def versions(cluster: ClusterWatch) -> Iterator[str]:
    """An event `{"version": n}` at once, and at each change of the snapshot."""
    told = -1
    while not cluster.stopping.is_set():
        version = cluster.wait_for_change(told, HEARTBEAT_S).version
        yield HEARTBEAT if version == told else event({"version": version})
        told = version


def _once(function: Callable[[], None]) -> Callable[[], None]:
    done = threading.Lock()
    return lambda: function() if done.acquire(blocking=False) else None
