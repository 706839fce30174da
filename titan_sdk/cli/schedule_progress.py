"""The runs of a backfill while one waits for them: a bar on a terminal, lines elsewhere, JSON Lines, or nothing.

Knows no connection. On a terminal, rich redraws from a thread of its own; what it draws is one value, which is
replaced as a whole.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from titan_sdk.cli.progress import MANY, REFRESH_PER_S
from titan_sdk.cli.schedule_rows import outcome, reason
from titan_sdk.cli.text import clock

if TYPE_CHECKING:
    from rich.table import Table

    from titan_core.protocol.messages import FireStatus
    from titan_sdk.cli.output import Output


def show(out: Output, fires: Iterable[FireStatus], total: int) -> Counter[str]:
    """Follow fires until the last of `total` is over; how many ended how."""
    lines, live = Lines(out, total), Live(out, total) if out.live else None
    ended: Counter[str] = Counter()
    with live.redrawing() if live else contextlib.nullcontext():
        for fire in fires:
            ended[outcome(fire)] += 1
            (live or lines).update(fire, ended)
    return ended


def told(ended: Counter[str]) -> str:
    """`11 COMPLETED, 1 FAILED`."""
    return ", ".join(f"{count} {state}" for state, count in ended.items())


class Lines:
    """A line for each fire that is over; of many, for each tenth, and for each that has not completed."""

    def __init__(self, out: Output, total: int) -> None:
        self._out = out
        self._total = total

    def update(self, fire: FireStatus, ended: Counter[str]) -> None:
        if self._out.json:
            self._out.record(fire)
            return
        done = ended.total()
        tenth = done * 10 // self._total != (done - 1) * 10 // self._total
        if self._total <= MANY or tenth or outcome(fire) != "COMPLETED":
            what = f"{fire.run_id} {outcome(fire)}" + (f": {why}" if (why := reason(fire)) else "")
            self._out.say(f"{clock(time.time())}  {done} of {self._total} over  {what}")


class Live:
    """A bar, and how many ended how."""

    def __init__(self, out: Output, total: int) -> None:
        self._console = out.talk_console
        self._total = total
        self._ended: Counter[str] = Counter()

    def redrawing(self) -> AbstractContextManager[object]:
        from rich.live import Live as Redraw

        return Redraw(
            console=self._console, get_renderable=self._drawn, refresh_per_second=REFRESH_PER_S, redirect_stdout=False
        )

    def update(self, fire: FireStatus, ended: Counter[str]) -> None:
        self._ended = Counter(ended)

    def _drawn(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        ended = self._ended
        line = Table.grid(padding=(0, 1))
        line.add_row(
            ProgressBar(self._total, ended.total(), width=24),
            Text(f"{ended.total()} of {self._total} over  {told(ended)}"),
        )
        return line
