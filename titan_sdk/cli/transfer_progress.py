"""How far an upload or a download has come: a bar on a terminal, a line for each quarter elsewhere.

Small ones are over before anyone could look, and show nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from titan_core.protocol.wire import MIB
from titan_sdk.cli.text import size

if TYPE_CHECKING:
    from rich.progress import Progress

    from titan_sdk.cli.output import Output

LARGE = 8 * MIB
"""Bytes from which a transfer is worth watching."""


class TransferProgress:
    """A progress function, `(bytes so far, bytes in all)`, for the time of a `with`."""

    def __init__(self, out: Output, name: str) -> None:
        self._out = out
        self._name = name
        self._bar: Progress | None = None
        self._quarters = 0

    def __enter__(self) -> TransferProgress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        if total < LARGE:
            return
        if self._out.live:
            self._draw(done, total)
        elif done * 4 // total > self._quarters:
            self._quarters = done * 4 // total
            self._out.say(f"{self._name}: {size(done)} of {size(total)}")

    def _draw(self, done: int, total: int) -> None:
        if self._bar is None:
            from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

            self._bar = Progress(
                BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=self._out.talk_console, transient=True
            )
            self._bar.add_task(self._name, total=total)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=done)
