"""One command: started, heard, and ended in time.

It gets a session of its own, nothing on stdin, and pipes for what it prints, of which the last lines are kept.
When its time is over all of its process group is killed. When it ends by itself, what it left running runs on, and is
not listened to any more.

Knows nothing of what is run. `run` is called once, by one thread, and blocks; `cut` by any.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import IO, NamedTuple

_KILLED_S = 2.0
"""What a killed command gets to be gone; one that waits for a file system may take for ever."""
_TAIL = 8192
"""Bytes of each stream that are kept, the last ones."""
_PIPE = 65536
"""Bytes that a pipe holds: one look takes all that was printed before."""


class Ending(NamedTuple):
    exit_code: int | None
    """Its own, or 128 + the signal that ended it; None: its time was over, and it was killed."""
    output: list[str]
    """The last lines it printed, without empty ones; the same for `errors`."""
    errors: list[str]


class Command:
    """`words`: the program, then its arguments."""

    def __init__(self, words: Sequence[str], timeout_s: float) -> None:
        self._words = words
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._is_cut = False
        self._lock = threading.Lock()
        """The leader is reaped, and its group killed, under it: so the number is still its own."""

    def run(self) -> Ending:
        """Run it to its end. Raises OSError when there is no process."""
        until_at = time.monotonic() + self._timeout_s
        process = self._start()
        assert process.stdout is not None and process.stderr is not None  # they are pipes
        with process.stdout as output, process.stderr as errors:
            try:
                tails = _follow(process.pid, (output, errors), until_at)
            finally:
                exit_code = self._end(process)
        return Ending(exit_code, *map(_lines, tails))

    def cut(self) -> None:
        """Kill it now, or as soon as it begins."""
        with self._lock:
            self._is_cut = True
            if self._process is not None:
                _kill(self._process)

    def _start(self) -> subprocess.Popen[bytes]:
        with self._lock:
            self._process = subprocess.Popen(
                self._words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            if self._is_cut:
                _kill(self._process)
            return self._process

    def _end(self, process: subprocess.Popen[bytes]) -> int | None:
        """Its exit code; None for a process that has to be killed for it."""
        with self._lock:
            self._process = None
            code = process.poll()
            if code is None:
                _kill(process)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_KILLED_S)
                return None
        return code if code >= 0 else 128 - code


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _follow(pid: int, streams: Sequence[IO[bytes]], until_at: float) -> list[bytes]:
    """The end of what is printed on each stream until the process has ended, or its time is over."""
    tails = dict.fromkeys(streams, b"")
    pidfd = os.pidfd_open(pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(pidfd, selectors.EVENT_READ, None)
            for stream in streams:
                selector.register(stream, selectors.EVENT_READ, stream)
            while (left_s := until_at - time.monotonic()) > 0 and _listen(selector, tails, left_s):
                pass
    finally:
        os.close(pidfd)
    return list(tails.values())


def _listen(selector: selectors.BaseSelector, tails: dict[IO[bytes], bytes], left_s: float) -> bool:
    """Take what is there to be read; False: the process has ended, and with it what it can have printed."""
    ready = [key.data for key, _ in selector.select(left_s)]
    for stream in filter(None, ready):
        piece = os.read(stream.fileno(), _PIPE)
        tails[stream] = (tails[stream] + piece)[-_TAIL:]
        if not piece:
            selector.unregister(stream)
    return None not in ready


def _lines(tail: bytes) -> list[str]:
    """Lines without what would do something to a terminal or a log."""
    text = "".join(char if char.isprintable() or char == "\n" else " " for char in tail.decode(errors="replace"))
    return [line.strip() for line in text.split("\n") if line.strip()]
