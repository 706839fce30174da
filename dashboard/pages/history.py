"""The history: a lane for each worker, with what ran there and when. Drawn on the server."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from datetime import datetime, timedelta
from urllib.parse import urlencode

from flask import redirect, request
from flask.typing import ResponseReturnValue

from dashboard.api import LAST_WALL, number
from dashboard.cluster import Snapshot
from dashboard.drawings import Lane, lane, ticks
from dashboard.executions import Execution, of_workers
from dashboard.page import Page, render
from dashboard.parts import parts
from titan_core.protocol.messages import RunStatus
from titan_sdk.errors import InvalidRequest

page = Page("history", nav="History")

SPANS = (
    (300, "5 minutes"),
    (900, "15 minutes"),
    (3600, "1 hour"),
    (6 * 3600, "6 hours"),
    (24 * 3600, "24 hours"),
    (7 * 86400, "7 days"),
)
DEFAULT_S, DAY_S = 900, 86_400
MAX_RUNS = 100
"""Runs whose attempts are looked at for one picture."""
MAX_DRAWN = 1000


@page.get("/history")
def history() -> ResponseReturnValue:
    """The `span` seconds before `until`, a wall instant; without it, before now. `day`, as `YYYY-MM-DD`, stands for
    both. `worker`: only its lane."""
    if request.args.get("day"):
        return redirect(
            _address(DAY_S, int(_midnight_after(request.args["day"])), request.args.get("worker", "")), 303
        )
    span_s, asked_wall = number("span", DEFAULT_S, SPANS[-1][0], 10), number("until", 0, LAST_WALL, 0)
    until_wall = float(asked_wall) or time.time()
    from_wall, worker = until_wall - span_s, request.args.get("worker", "")
    snapshot = parts().cluster.look()
    found, left_out = _executions(snapshot, from_wall, until_wall, worker)
    later = int(until_wall + span_s / 2)
    return render(
        "history.html",
        lanes=_lanes(snapshot, found, from_wall, until_wall, worker),
        ticks=ticks(from_wall, until_wall, 6),
        shown=len(found),
        left_out=left_out,
        spans=SPANS,
        span_s=span_s,
        from_wall=from_wall,
        until_wall=until_wall,
        until=asked_wall,
        now=_address(span_s, 0, worker),
        earlier=_address(span_s, max(1, int(until_wall - span_s / 2)), worker),
        later=_address(span_s, later, worker) if asked_wall and later < time.time() else "",
        before=_before(from_wall) if not found else None,
        last=lambda run: _address(span_s, math.ceil(run.finished_wall or run.submitted_wall) + 1, worker),
        worker=worker,
        workers=sorted({worker, *(one.worker_id for one in snapshot.cluster.workers)} - {""}),
    )


def _address(span_s: int, until: int, worker: str) -> str:
    """Of another picture like this one; `until` 0: up to now."""
    asked = {"span": span_s, "until": until, "worker": worker}
    return f"/history?{urlencode({name: value for name, value in asked.items() if value})}"


def _midnight_after(day: str) -> float:
    """The end of this day, where the dashboard is. Raises InvalidRequest."""
    try:
        begin = datetime.strptime(day, "%Y-%m-%d")
        return (begin + timedelta(days=1)).timestamp()
    except (ValueError, OverflowError, OSError):
        raise InvalidRequest(f"day is {day[:40]!r}; write it as 2026-01-31", field="day") from None


def _before(from_wall: float) -> RunStatus | None:
    """The newest run of before this time: where there is something to be seen again."""
    return next(iter(parts().client.runs(1, until_wall=from_wall)), None)


def _executions(snapshot: Snapshot, from_wall: float, until_wall: float, worker: str) -> tuple[list[Execution], str]:
    """Those between the instants, the newest so many; and what was left out, in a sentence."""
    runs = parts().client.runs(MAX_RUNS + 1, from_wall=from_wall, until_wall=until_wall)
    found = {}
    for run in runs[:MAX_RUNS]:
        for one in parts().executions.of_run(parts().client, run):
            if one.worker and worker in ("", one.worker) and one.overlaps(from_wall, until_wall):
                found[one.key, one.attempt, one.started_wall] = one
    known = {one.key for one in found.values() if not one.finished_wall}
    running = (one for one in of_workers(snapshot.cluster.workers, snapshot.as_of) if worker in ("", one.worker))
    more = [one for one in running if one.key not in known and one.overlaps(from_wall, until_wall)]
    everything = sorted([*found.values(), *more], key=lambda one: one.started_wall)
    return everything[-MAX_DRAWN:], _left_out(runs, len(everything))


def _left_out(runs: tuple[RunStatus, ...], count: int) -> str:
    if count > MAX_DRAWN:
        return f"The newest {MAX_DRAWN} of {count} attempts are shown; choose a shorter time to see all of them."
    if len(runs) > MAX_RUNS:
        return f"Only the newest {MAX_RUNS} runs of this time are shown; choose a shorter one to see all of them."
    return ""


def _lanes(
    snapshot: Snapshot, found: list[Execution], from_wall: float, until_wall: float, worker: str
) -> list[Lane]:
    """Of each worker there is, and of those that are gone but ran something."""
    by_worker: dict[str, list[Execution]] = defaultdict(list)
    for one in found:
        by_worker[one.worker].append(one)
    here = [one.worker_id for one in snapshot.cluster.workers]
    gone = sorted(by_worker.keys() - set(here))
    names = [name for name in (*here, *gone) if worker in ("", name)]
    return [lane(name, by_worker[name], from_wall, until_wall) for name in names]
