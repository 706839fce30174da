"""Where a command's words go: data to stdout, talk to stderr, in the form the user asked for.

Owns the two streams and the choice between tables, JSON and ids; knows no commands and no master.
Every text that comes from a job, a file name or a worker passes `clean` on its way to a terminal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from titan_sdk.cli.text import clean

if TYPE_CHECKING:
    from rich.console import Console

    from titan_sdk.cli.tables import Column

T = TypeVar("T")


class Output:
    """`json`: JSON instead of tables; `quiet`: ids only, and no talk; `color`: whether colours are wanted at all."""

    def __init__(
        self,
        json: bool = False,
        quiet: bool = False,
        color: bool = True,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.json = json
        self.quiet = quiet
        self.color = color and not environ.get("NO_COLOR")
        self.stdout = stdout or sys.stdout
        self.stderr = stderr or sys.stderr
        self._dumb = environ.get("TERM", "dumb") == "dumb"

    # ── data ──────────────────────────────────────────────────────────────────────────────────────

    def line(self, text: str = "") -> None:
        """A line of data, as it is."""
        self.stdout.write(text + "\n")

    def raw(self, data: bytes) -> None:
        """Bytes of data, untouched."""
        self.stdout.flush()
        self.stdout.buffer.write(data)
        self.stdout.buffer.flush()

    def record(self, value: Any) -> None:
        """One JSON document on a line, seen at once by whoever reads the stream."""
        from titan_sdk.cli.records import to_json

        self.line(to_json(value))
        self.stdout.flush()

    def listing(self, items: Sequence[T], name: Callable[[T], str], columns: Sequence[Column[T]], noun: str) -> None:
        """Many things: a JSON array, their names alone, or a table; `noun` is what there are none of."""
        if self.json:
            self.record(list(items))
        elif self.quiet:
            for item in items:
                self.line(clean(name(item)))
        elif not items:
            self.say(f"no {noun}")
        else:
            from titan_sdk.cli.tables import show

            show(self, items, columns)

    def done(self, text: str, ids: Sequence[str] = (), record: Any = None) -> None:
        """The outcome of a request: a sentence, the ids it concerned, or a JSON object."""
        if self.json:
            self.record(record if record is not None else {"message": text, "keys": list(ids)})
        elif self.quiet:
            for item in ids:
                self.line(clean(item))
        else:
            self.line(clean(text))

    # ── talk ──────────────────────────────────────────────────────────────────────────────────────

    def say(self, text: str) -> None:
        """Something for the person who waits; not part of the result."""
        if not self.quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """Something that must be said, `-q` or not."""
        self.stdout.flush()
        self.stderr.write(clean(text) + "\n")
        self.stderr.flush()

    def interject(self, text: str) -> None:
        """Talk while progress may be on the terminal, which goes on below it."""
        if self.live:
            self.talk_console.print(clean(text))
        else:
            self.say(text)

    def error(self, error: BaseException, text: str) -> None:
        """Why a command failed; an object on stderr with `--json`."""
        if not self.json:
            return self.warn(f"titan: {text}")
        from titan_sdk.cli.records import to_json

        details = getattr(error, "details", {})
        fault = {"code": getattr(error, "code", "ERROR"), "message": text, "details": details}
        return self.warn(to_json({"error": fault}))

    # ── terminals ─────────────────────────────────────────────────────────────────────────────────

    @property
    def pretty(self) -> bool:
        """Whether tables go to a terminal that can draw."""
        return not self._dumb and self.stdout.isatty()

    @property
    def live(self) -> bool:
        """Whether progress can be redrawn in place."""
        return not (self.quiet or self.json or self._dumb) and self.stderr.isatty()

    @cached_property
    def console(self) -> Console:
        """For tables on a terminal."""
        return self._console(self.stdout)

    @cached_property
    def talk_console(self) -> Console:
        """For progress on a terminal."""
        return self._console(self.stderr)

    def _console(self, stream: TextIO) -> Console:
        from rich.console import Console

        return Console(file=stream, no_color=not self.color, highlight=False, markup=False, emoji=False)
