"""How a cluster follows its load, to look at: a picture that is redrawn on a terminal, lines elsewhere.

    WORKER     KIND       PARENT     STATE   SLOTS
    box:20001  permanent             ONLINE  ■■■■
    box:20002  ephemeral  box:20001  ONLINE  ■■□□

    jobs that wait      █▇▅▃▁
    workers             ▁▅███

`shown(out)` gives what is to be called with each look at the cluster. Knows no connection.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from titan_core.protocol.messages import WorkerStatus
from titan_sdk.cli.output import Output
from titan_sdk.cli.text import plural

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

EIGHTHS = " ▁▂▃▄▅▆▇█"
QUEUE_ROWS, WORKER_ROWS = 5, 2
MOST_COLUMNS = 100
SCALE_COLUMNS = 5


class Look(NamedTuple):
    """The cluster at one moment."""

    after_s: float
    workers: tuple[WorkerStatus, ...]
    jobs: Mapping[str, int]
    """How many are in each state."""


def _sentence(look: Look) -> str:
    waiting, running, done = (look.jobs.get(state, 0) for state in ("QUEUED", "RUNNING", "COMPLETED"))
    workers = f"{plural(len(look.workers), 'worker'):9}"
    return f"{look.after_s:5.1f} s  {workers}  {waiting:3} wait  {running:3} run  {done:3} done"


Show = Callable[[Look], None]


@contextlib.contextmanager
def shown(out: Output) -> Iterator[Show]:
    """What is to be called with each look; it has been put away when this ends."""
    if not (out.pretty and out.color):
        yield Lines(out)
        return
    from rich.live import Live

    with Live(console=out.console, auto_refresh=False) as live:
        yield Picture(live)


# ── lines ─────────────────────────────────────────────────────────────────────────────────────────


class Lines:
    """A line whenever something has changed."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._told: tuple[object, ...] = ()

    def __call__(self, look: Look) -> None:
        figures = (len(look.workers), *look.jobs.items())
        if figures != self._told:
            self._told = figures
            self._out.line(_sentence(look))
            self._out.stdout.flush()


# ── the picture ───────────────────────────────────────────────────────────────────────────────────


class Picture:
    """A row for each worker, and how the queue and their number went until now."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._queue: list[int] = []
        self._workers: list[int] = []

    def __call__(self, look: Look) -> None:
        self._queue.append(look.jobs.get("QUEUED", 0))
        self._workers.append(len(look.workers))
        self._live.update(self._drawn(look), refresh=True)

    def _drawn(self, look: Look) -> Group:
        from rich.console import Group

        room = max(1, min(MOST_COLUMNS, self._live.console.width - SCALE_COLUMNS))
        queue = _graph("jobs that wait", self._queue, QUEUE_ROWS, room, "yellow")
        workers = _graph("workers", self._workers, WORKER_ROWS, room, "cyan")
        return Group(_table(look), "", *queue, "", *workers, "", _sentence(look))


def _table(look: Look) -> Table:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("WORKER", "KIND", "PARENT", "STATE", "SLOTS"):
        table.add_column(title, no_wrap=True)
    for worker in look.workers:
        kind = "permanent" if worker.permanent else "ephemeral" if worker.ephemeral else ""
        table.add_row(worker.worker_id, kind, worker.parent, worker.state, _slots(worker))
    return table


def _slots(worker: WorkerStatus) -> Text:
    from rich.text import Text

    free = max(0, worker.slots - worker.used)
    return Text.assemble(("■" * worker.used, "green"), ("□" * free, "dim"))


def _graph(title: str, values: Sequence[int], rows: int, room: int, style: str) -> Iterator[Text]:
    """Bars, the latest at the right, below what they mean and beside their scale."""
    from rich.text import Text

    top = max(1, *values)
    yield Text(title, "bold")
    for row, line in enumerate(bars(squeezed(values, room), top, rows)):
        scale = str(top) if row == 0 else ""
        yield Text.assemble((f"{scale:>{SCALE_COLUMNS - 1}} ", "dim"), (line, style))


def bars(values: Sequence[int], top: int, rows: int) -> list[str]:
    """The values as columns of blocks, the upper row first; `top` fills all rows."""
    filled = [-(-value * rows * 8 // top) for value in values]
    return ["".join(_block(eighths - 8 * row) for eighths in filled) for row in reversed(range(rows))]


def _block(eighths: int) -> str:
    return EIGHTHS[min(8, max(0, eighths))]


def squeezed(values: Sequence[int], room: int) -> list[int]:
    """At most `room` values, each the greatest of those it stands for."""
    width = -(-len(values) // room)
    return [max(values[start : start + width]) for start in range(0, len(values), width)]
