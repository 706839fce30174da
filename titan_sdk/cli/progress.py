"""A run while one waits for it: redrawn in place on a terminal, lines into a file, JSON Lines, or nothing.

`show(out, statuses)` takes what `TitanClient.watch` gives (first every job, then those that changed)
and picks the display. Knows no connection. On a terminal, rich redraws from a thread of its own, so
that times tick; what it draws is shared with it under a lock.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from titan_sdk.cli import rows
from titan_sdk.cli.text import clean, clock, plural, span

if TYPE_CHECKING:
    from rich.console import Group

    from titan_core.protocol.messages import JobStatus, RunStatus
    from titan_sdk.cli.output import Output

MANY = 200
"""Jobs up to which each change has a line of its own when nothing can be redrawn."""
REFRESH_PER_S = 5
_RANKED = ("RUNNING", "FAILED", "CRASHLOOP", "DEAD", "QUEUED", "DELAYED", "CANCELLED", "COMPLETED")
_RANK = {state: rank for rank, state in enumerate(_RANKED)}
"""Which jobs are shown when there is no room for all: what happens now, and what went wrong, first."""


def show(out: Output, statuses: Iterator[RunStatus]) -> RunStatus:
    """Follow a run to its last status, which is returned with its counts and the jobs that changed last."""
    with _display(out) as display:
        for status in statuses:
            display.update(status)
    return status


def _display(out: Output) -> Display:
    if out.json:
        return Records(out)
    if out.quiet:
        return Display()
    return Live(out) if out.live else Lines(out)


class Display:
    """Shows nothing; the others show something."""

    def update(self, status: RunStatus) -> None:
        """The run has changed, or is seen for the first time."""

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Records(Display):
    """Every job that changed, then the run once it is over, one JSON object each."""

    def __init__(self, out: Output) -> None:
        self._out = out

    def update(self, status: RunStatus) -> None:
        for job in status.jobs:
            self._out.record(job)
        if status.final:
            import dataclasses

            self._out.record(dataclasses.replace(status, jobs=()))


class Lines(Display):
    """A line for each change of state; in a large run, for each tenth of it and each job that died."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._states: dict[str, str] = {}
        self._tenths = 0

    def update(self, status: RunStatus) -> None:
        changed = [job for job in status.jobs if self._states.get(job.job_id) != job.state]
        self._states.update((job.job_id, job.state) for job in changed)
        many = len(self._states) > MANY
        for job in changed:
            if job.state == "DEAD" or not (many or job.state == "BLOCKED"):
                self._out.say(change_line(job))
        if many:
            self._count(status)

    def _count(self, status: RunStatus) -> None:
        done, total = finished(status)
        tenths = done * 10 // total if total else 0
        if tenths != self._tenths:
            self._tenths = tenths
            self._out.say(f"{clock(time.time())}  {done} of {total} jobs over: {rows.counts(status.counts)}")


class Live(Display):
    """A bar for the run and a row for each job there is room for."""

    def __init__(self, out: Output) -> None:
        from rich.live import Live as Redraw

        self._console = out.talk_console
        self._lock = threading.Lock()
        self._jobs: dict[str, JobStatus] = {}
        self._status: RunStatus | None = None
        self._redraw = Redraw(
            console=self._console, get_renderable=self._drawn, refresh_per_second=REFRESH_PER_S, redirect_stdout=False
        )

    def __enter__(self) -> Live:
        self._redraw.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._redraw.stop()

    def update(self, status: RunStatus) -> None:
        with self._lock:
            self._jobs.update((job.job_id, job) for job in status.jobs)
            self._status = status

    def _drawn(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        from titan_sdk.cli.tables import drawn

        with self._lock:
            status, jobs = self._status, dict(self._jobs)
        if status is None:
            return Group()
        shown = most_telling(jobs.values(), max(3, self._console.height - 5))
        parts: list[Any] = [_heading(status), drawn(shown, rows.filled(shown, rows.JOBS), self._console.width)]
        if len(shown) < len(jobs):
            parts.append(Text(f"and {plural(len(jobs) - len(shown), 'job')} more", "dim"))
        return Group(*parts)


def _heading(status: RunStatus) -> Any:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    from titan_sdk.cli.states import STATE_STYLES

    done, total = finished(status)
    line = Table.grid(padding=(0, 1))
    line.add_row(
        Text(clean(status.run_id), "bold"),
        Text(status.state, STATE_STYLES.get(status.state, "")),
        ProgressBar(total or 1, done, width=24),
        Text(f"{done}/{total}  {span(status.submitted_wall, status.finished_wall)}"),
    )
    return line


def change_line(job: JobStatus) -> str:
    """`12:01:03  extract  COMPLETED  1.2s  worker-host:8081`."""
    took = span(job.started_wall, job.finished_wall) if job.final else ""
    worker = f"on {job.worker}" if job.worker and job.state == "RUNNING" else ""
    parts = (clock(_changed_wall(job)), job.job_id, job.state, took, worker, rows.reason(job))
    return "  ".join(part for part in parts if part)


def _changed_wall(job: JobStatus) -> float:
    """When it came into its state, where that is known; else now."""
    if job.final:
        return job.finished_wall or time.time()
    return (job.state == "RUNNING" and job.started_wall) or time.time()


def finished(status: RunStatus) -> tuple[int, int]:
    """(jobs that are over, all jobs) of a run."""
    over = sum(item.count for item in status.counts if item.state in ("COMPLETED", "DEAD", "CANCELLED"))
    return over, sum(item.count for item in status.counts)


def most_telling(jobs: Iterable[JobStatus], room: int) -> list[JobStatus]:
    """At most `room` of the jobs, in the order in which they came."""
    numbered = list(enumerate(jobs))
    if len(numbered) > room:
        numbered = heapq.nsmallest(room, numbered, key=lambda pair: (*_rank(pair[1]), pair[0]))
    return [job for _, job in sorted(numbered, key=lambda pair: pair[0])]


def _rank(job: JobStatus) -> tuple[int, float]:
    return _RANK.get(job.state, len(_RANK)), -job.finished_wall
