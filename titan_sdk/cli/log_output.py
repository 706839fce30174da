"""Log bytes on their way to stdout.

Into a pipe or a file they go untouched. A terminal gets text and colours, but no sequence that could
move the cursor, set the title, or make the terminal answer: a log is written by whatever ran.
With `--json` each line is an object.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from titan_core.protocol.messages import LogChunk
    from titan_sdk.cli.output import Output
    from titan_sdk.client import TitanClient

_COLOUR = r"\x1b\[[0-9;:]{0,64}m"
_HARMFUL = re.compile(
    rf"(?P<colour>{_COLOUR})|[\x00-\x07\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)
_BEGUN = re.compile(r"\x1b(\[[0-9;:]{0,64})?\Z")
_RESET = "\x1b[0m"
_LEAST_TAIL = 64 * 1024
_LINE_BYTES = 160
"""A guess at the length of a line, to fetch about as much of the end as is wanted."""


def write_log(out: Output, chunks: Iterable[LogChunk]) -> None:
    """Write the chunks as they come; a further attempt is announced."""
    sink = _JsonLines(out) if out.json else LogText(out)
    attempt = 0
    try:
        for chunk in chunks:
            if attempt and chunk.attempt != attempt:
                sink.end_line()
                out.say(f"attempt {chunk.attempt}:")
            attempt = chunk.attempt
            sink.write(chunk)
    finally:
        sink.close()


def last_lines(client: TitanClient, key: str, attempt: int, follow: bool, lines: int) -> Iterator[LogChunk]:
    """The last lines of a log as it is now, and with `follow` what comes after them."""
    tail = _tail(client, key, attempt, lines)
    if tail is not None:
        yield tail
    if not follow or (tail is not None and tail.final):
        return
    for chunk in client.log_chunks(key, attempt, follow=True, tail_bytes=_LEAST_TAIL if tail else 0):
        yield chunk if tail is None else _after(tail, chunk)


def _tail(client: TitanClient, key: str, attempt: int, lines: int) -> LogChunk | None:
    """One chunk that ends where the log ends now; None when nothing has been written."""
    size = max(_LEAST_TAIL, lines * _LINE_BYTES)
    while True:
        chunks = list(client.log_chunks(key, attempt, tail_bytes=size))
        if not chunks:
            return None
        data = b"".join(chunk.data for chunk in chunks)
        if len(data) < size or data.count(b"\n") > lines:  # less than was asked for: all there is
            data = data[_start_of_last(data, lines) :]
            end = chunks[-1].offset + len(chunks[-1].data)
            return replace(chunks[-1], offset=end - len(data), data=data)
        size *= 4


def _start_of_last(data: bytes, lines: int) -> int:
    """Where the last so many lines begin; an unfinished one counts."""
    if not lines:
        return len(data)
    position = len(data) - data.endswith(b"\n")
    for _ in range(lines):
        position = data.rfind(b"\n", 0, position)
        if position < 0:
            return 0
    return position + 1


def _after(tail: LogChunk, chunk: LogChunk) -> LogChunk:
    """`chunk` without the bytes that `tail` holds already."""
    if chunk.attempt != tail.attempt:
        return chunk
    known = min(len(chunk.data), max(0, tail.offset + len(tail.data) - chunk.offset))
    return replace(chunk, offset=chunk.offset + known, data=chunk.data[known:])


class LogText:
    """The log as it is, made harmless for a terminal."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._stdout = out.stdout
        self._terminal = out.stdout.isatty()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        """The beginning of an escape sequence whose rest has not come yet."""
        self._coloured = False
        self._mid_line = False

    def write(self, chunk: LogChunk) -> None:
        if not chunk.data:
            return
        self._mid_line = not chunk.data.endswith(b"\n")
        if self._terminal:
            self._stdout.write(self._harmless(self._held + self._decoder.decode(chunk.data)))
            self._stdout.flush()
        else:
            self._out.raw(chunk.data)

    def end_line(self) -> None:
        """On a terminal, begin a new line if the log stopped in the middle of one."""
        if self._mid_line and self._terminal:
            self._stdout.write("\n")
        self._mid_line = False

    def close(self) -> None:
        if self._coloured:
            self._stdout.write(_RESET)
        self.end_line()
        self._stdout.flush()

    def _harmless(self, text: str) -> str:
        begun = _BEGUN.search(text)
        self._held = begun.group() if begun else ""
        text = text[: len(text) - len(self._held)]
        return _HARMFUL.sub(self._kept, text)

    def _kept(self, match: re.Match[str]) -> str:
        """What stays of a control sequence: a colour."""
        colour = match.group("colour") or ""
        self._coloured = self._coloured or bool(colour)
        return colour


class _JsonLines:
    """Each line with the job and the attempt it is from."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._unfinished = ""
        self._last: LogChunk | None = None

    def write(self, chunk: LogChunk) -> None:
        self._last = chunk
        *complete, self._unfinished = (self._unfinished + self._decoder.decode(chunk.data)).split("\n")
        for line in complete:
            self._record(line)

    def end_line(self) -> None:
        if self._unfinished:
            self._record(self._unfinished)
        self._unfinished = ""

    def close(self) -> None:
        self.end_line()

    def _record(self, line: str) -> None:
        assert self._last is not None, "a line comes from a chunk"
        origin = {"run_id": self._last.run_id, "job_id": self._last.job_id, "attempt": self._last.attempt}
        self._out.record({**origin, "line": line})
