"""The file an attempt prints to, kept within a limit while it is printed to.

    0          head         from                      start               size
    | the head | for notes  | …… given back …………………… | the tail ……………… |

The process appends and is never asked to wait: the file is not moved or rewritten under it. `trim` gives the
disk blocks between head and tail back to the file system (a hole), which moves no offset and loses no byte of
either. Where the file system knows no holes the file is cut back to its head instead, and the tail is what
came since. When nobody prints any more, `finish` joins head, note and tail to a text without a hole.

A service has no end: its head is empty, and its log is the tail, known by the offsets at which it was printed.

One lock, held for one small piece of I/O at a time, but for the joining. Any thread may call. Knows nothing
of attempts, sessions and messages.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import threading

NOTE_ROOM = 256
"""Bytes behind the head that are left to the notes; all of them together are shorter."""
MOST_STEP = 1024 * 1024
"""Blocks are given back when there are so many bytes of them, or a sixteenth of the limit if that is less."""
MOST_SPARSE = 1 << 40
"""A file is cut back once it seems so large, before it reaches what some file systems allow (2 TiB)."""
BLOCK_BYTES = 64 * 1024
"""A multiple of the block size of every file system."""
JOIN_BYTES = 1024 * 1024

GOES_ON = b"\n[titan: the output goes on; its end follows when the job is over]\n"
_CUT = re.compile(rb"\[titan: ([0-9,]{1,30}) bytes of the output were cut here\]\n")

_KEEP_SIZE_PUNCH_HOLE = 0x01 | 0x02


def cut_note(size: int) -> bytes:
    return f"[titan: {size:,} bytes of the output were cut here]\n".encode()


class OutputFile:
    """At most `limit` bytes of what is printed to `path`: `head` bytes from its beginning, the rest from its end."""

    def __init__(self, path: str, head: int, limit: int) -> None:
        self.path = path
        self._head = head
        self._limit = limit
        self._from = head + NOTE_ROOM
        self._tail = max(0, limit - self._from)
        self._step = min(MOST_STEP, limit // 16)
        self._lock = threading.Lock()
        self._file = -1
        self._size = 0
        self._start = 0
        """Where in the file the tail begins; 0 = nothing has been cut."""
        self._dropped = 0
        """Offsets in the log are larger by this than positions in the file."""
        self._holes = True
        self._finished = False

    def create(self) -> int:
        """Make the file, empty; the descriptor that the process writes to, valid until `close`. Raises OSError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(self.path, flags, 0o644)
        return self._file

    def open(self) -> None:
        """Open a finished file for reading. Raises OSError."""
        self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self._finished = True
        if not self._head:
            self._skip_note(os.pread(self._file, NOTE_ROOM, 0))

    def close(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            file, self._file = self._file, -1
            if file >= 0:
                os.close(file)

    def read(self, offset: int, size: int) -> tuple[int, bytes]:
        """Up to `size` bytes of the log from `offset`, as far as they can be told already; where they begin, and
        they. They begin later than asked for where what lies between is not kept. Raises OSError."""
        with self._lock:
            if self._file < 0:
                return offset, b""
            if self._head and not self._finished:
                return offset, self._read_head(offset, size)
            position = max(offset - self._dropped, self._start)
            return position + self._dropped, os.pread(self._file, size, position)

    def trim(self) -> bool:
        """Give back what is more than the limit; whether something was printed since the last call."""
        with self._lock, contextlib.suppress(OSError):
            if self._file >= 0 and not self._finished:
                size, before = os.fstat(self._file).st_size, self._size
                self._size = size
                if size > self._limit and size - self._tail - self._start >= self._step:
                    self._cut(size)
                return size != before
        return False

    def finish(self) -> None:
        """Nobody prints any more: from now on the log is all there. What a failing disk does not let be joined
        is missing at the end."""
        with self._lock, contextlib.suppress(OSError):
            if self._file >= 0 and not self._finished:
                self._finished = True
                size = os.fstat(self._file).st_size
                if self._start or size > self._limit:
                    self._join(max(self._from, size - self._tail), size)

    # ── holding the lock ──────────────────────────────────────────────────────────────────────────

    def _read_head(self, offset: int, size: int) -> bytes:
        """While a job prints: its head, and once something has been cut, that the rest is yet to come. What lies
        between head and limit can be told only when it is known whether it stays."""
        if offset < self._head:
            return os.pread(self._file, min(size, self._head - offset), offset)
        return GOES_ON[offset - self._head :] if self._start else b""

    def _cut(self, size: int) -> None:
        if self._holes and size < MOST_SPARSE:
            start = size - self._tail
            # From a whole block on: one of which each time only a part is given back would never be.
            before = max(self._from, self._start - self._start % BLOCK_BYTES)
            self._holes = _punch(self._file, before, start)
            if self._holes:
                self._start = start
                return
        os.ftruncate(self._file, self._from)
        self._dropped += size - self._from
        self._start = self._from

    def _join(self, source: int, size: int) -> None:
        """Put a note where the head ends, and behind it what lies from `source` on."""
        cut = self._dropped + source - self._head
        note = (GOES_ON if self._head else b"") + cut_note(cut)
        self._start = self._dropped = 0
        if not self._head:
            self._skip_note(note)
        # Another descriptor of the same file: one that appends does so whatever the position.
        target = os.open(f"/proc/self/fd/{self._file}", os.O_WRONLY | os.O_CLOEXEC)
        position = self._head
        try:
            position += os.pwrite(target, note, position)
            while piece := os.pread(self._file, min(JOIN_BYTES, size - source), source):
                source += len(piece)
                with contextlib.suppress(OSError):  # before it is written again, so that a full disk has room for it
                    _punch(target, source - len(piece), source)
                position += os.pwrite(target, piece, position)
        finally:
            os.ftruncate(target, position)
            os.close(target)

    def _skip_note(self, beginning: bytes) -> None:
        """What a service's log begins with when it was cut says which offset its first byte has."""
        if note := _CUT.match(beginning):
            self._start = note.end()
            self._dropped = int(note[1].replace(b",", b"")) - note.end()


def _punch(descriptor: int, start: int, stop: int) -> bool:
    """Give the blocks from `start` to `stop` back, the bytes become zeros; False where files have no holes.
    Raises OSError."""
    if _libc.fallocate(descriptor, _KEEP_SIZE_PUNCH_HOLE, _Offset(start), _Offset(stop - start)) == 0:
        return True
    error = ctypes.get_errno()
    if error in (errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV):
        return False
    raise OSError(error, os.strerror(error))


_Offset = ctypes.c_int64
_libc = ctypes.CDLL(None, use_errno=True)
