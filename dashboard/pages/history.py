"""The history: a lane for each worker, with what ran there and when. Drawn on the server."""

from __future__ import annotations

import time
from collections import defaultdict

from flask import request
from flask.typing import ResponseReturnValue

from dashboard.api import LAST_WALL, number
from dashboard.cluster import Snapshot
from dashboard.drawings import Lane, lane, ticks
from dashboard.executions import Execution, of_workers
from dashboard.page import Page, render
from dashboard.parts import parts
from titan_core.protocol.messages import RunStatus

page = Page("history", nav="History")

SPANS = ((300, "5 minutes"), (900, "15 minutes"), (3600, "1 hour"), (6 * 3600, "6 hours"), (24 * 3600, "24 hours"))
DEFAULT_S = 900
MAX_RUNS = 200
"""Newest runs that are looked at."""
MAX_READ = 100
"""Runs whose attempts are looked at for one picture."""
MAX_DRAWN = 1000


@page.get("/history")
def history() -> ResponseReturnValue:
    """The `span` seconds before `until`, a wall instant; without it, before now."""
    span_s, asked_wall = number("span", DEFAULT_S, SPANS[-1][0], 10), number("until", 0, LAST_WALL, 0)
    until_wall = float(asked_wall) or time.time()
    from_wall = until_wall - span_s
    snapshot = parts().cluster.look()
    found, left_out = _executions(snapshot, from_wall, until_wall)
    return render(
        "history.html",
        lanes=_lanes(snapshot, found, from_wall, until_wall),
        ticks=ticks(from_wall, until_wall, 6),
        shown=len(found),
        left_out=left_out,
        spans=SPANS,
        span_s=span_s,
        from_wall=from_wall,
        until_wall=until_wall,
        until=asked_wall,
        earlier=max(1, int(until_wall - span_s / 2)),
        later=int(until_wall + span_s / 2) if asked_wall and until_wall + span_s / 2 < time.time() else 0,
        worker=request.args.get("worker", ""),
    )


def _executions(snapshot: Snapshot, from_wall: float, until_wall: float) -> tuple[list[Execution], str]:
    """Those between the instants, the newest so many; and what was left out, in a sentence."""
    listed = parts().client.runs(MAX_RUNS)
    runs = [run for run in listed if _goes_on_in(run, from_wall, until_wall)]
    found = {}
    for run in runs[:MAX_READ]:
        for one in parts().executions.of_run(parts().client, run):
            if one.worker and one.overlaps(from_wall, until_wall):
                found[one.key, one.attempt, one.started_wall] = one
    known = {one.key for one in found.values() if not one.finished_wall}
    running = of_workers(snapshot.cluster.workers, snapshot.as_of)
    more = [one for one in running if one.key not in known and one.overlaps(from_wall, until_wall)]
    everything = sorted([*found.values(), *more], key=lambda one: one.started_wall)
    return everything[-MAX_DRAWN:], _left_out(listed, runs, len(everything), from_wall)


def _left_out(listed: tuple[RunStatus, ...], runs: list[RunStatus], count: int, from_wall: float) -> str:
    if count > MAX_DRAWN:
        return f"The newest {MAX_DRAWN} of {count} attempts are shown; choose a shorter time to see all of them."
    if len(runs) > MAX_READ:
        return f"Only the newest {MAX_READ} of {len(runs)} runs are shown; choose a shorter time to see all of them."
    if len(listed) == MAX_RUNS and listed[-1].submitted_wall > from_wall:
        return f"Only the newest {MAX_RUNS} runs are looked at: what ran before is not shown."
    return ""


def _goes_on_in(run: RunStatus, from_wall: float, until_wall: float) -> bool:
    return run.submitted_wall < until_wall and (not run.finished_wall or run.finished_wall >= from_wall)


def _lanes(snapshot: Snapshot, found: list[Execution], from_wall: float, until_wall: float) -> list[Lane]:
    """Of each worker there is, and of those that are gone but ran something."""
    by_worker: dict[str, list[Execution]] = defaultdict(list)
    for one in found:
        by_worker[one.worker].append(one)
    here = [worker.worker_id for worker in snapshot.cluster.workers]
    gone = sorted(by_worker.keys() - set(here))
    only = request.args.get("worker", "")
    names = [name for name in (*here, *gone) if only in ("", name)]
    return [lane(name, by_worker[name], from_wall, until_wall) for name in names]
