"""The facts of the pages as JSON, under `/api/`. Messages look as in `titan … --json`.

Lists and the cluster come from the snapshot, or with a filter from the master; details from the master. An error is
`{"error": sentence, "code": word}` with a fitting status. Only GET: actions are those of the pages. Any thread.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from typing import Any

from flask import Blueprint, Response, current_app, request

from dashboard.attention import concerns
from dashboard.changes import changes
from dashboard.cluster import Snapshot
from dashboard.parts import parts
from titan_sdk.cli import schedule_rows
from titan_sdk.cli.records import plain, to_json
from titan_sdk.errors import InvalidRequest, NotFound

api = Blueprint("api", __name__, url_prefix="/api")

MAX_LIMIT = 10_000


LAST_WALL = 253_402_000_000
"""The latest instant that may be asked for: in the year 9999, beyond which no date can be written."""


def is_number(text: str) -> bool:
    """Whether `int` reads it as it is written, and at once."""
    return text.isascii() and text.isdigit() and len(text) <= 20


def number(name: str, default: int, most: int = MAX_LIMIT, least: int = 1) -> int:
    """A number of the query. Raises InvalidRequest."""
    text = request.args.get(name, "")
    if not text:
        return default
    if not (is_number(text) and least <= int(text) <= most):
        raise InvalidRequest(f"{name} is {text[:40]!r}; use a number from {least} to {most}", field=name)
    return int(text)


def answer(value: Any) -> Response:
    return current_app.response_class(to_json(value), mimetype="application/json")


def _listed(name: str, items: Iterable[object], snapshot: Snapshot | None = None, **more: object) -> Response:
    return answer({name: list(items), **more, **(_age(snapshot) if snapshot else {})})


def _age(snapshot: Snapshot) -> dict[str, object]:
    return {"as_of": snapshot.as_of or None, "trouble": snapshot.trouble, "version": snapshot.version}


# ── of the snapshot ───────────────────────────────────────────────────────────────────────────────


@api.get("/cluster")
def cluster() -> Response:
    snapshot = parts().cluster.look()
    return answer({"cluster": plain(snapshot.cluster), **_age(snapshot)})


@api.get("/attention")
def attention() -> Response:
    """What needs a person."""
    snapshot = parts().cluster.look()
    found = [
        {
            "kind": one.kind,
            "title": one.title,
            "count": one.count,
            "items": [{"name": item.name, "state": item.state, "why": item.why} for item in one.items],
        }
        for one in concerns(snapshot)
    ]
    return _listed("attention", found, snapshot)


@api.get("/workers")
def workers() -> Response:
    snapshot = parts().cluster.look()
    return _listed("workers", snapshot.cluster.workers, snapshot, lost=snapshot.cluster.lost)


@api.get("/workers/<worker_id>")
def worker(worker_id: str) -> Response:
    snapshot = parts().cluster.look()
    found = snapshot.worker(worker_id)
    if found is None:
        raise NotFound(f"there is no worker {worker_id!r}")
    return answer({"worker": plain(found), **_age(snapshot)})


@api.get("/pools")
def pools() -> Response:
    snapshot = parts().cluster.look()
    return _listed("pools", snapshot.cluster.pools, snapshot)


@api.get("/dead")
def dead() -> Response:
    """The newest dead jobs, with their attempts."""
    snapshot = parts().cluster.look()
    return _listed("jobs", snapshot.dead.jobs, snapshot, total=snapshot.dead.total)


@api.get("/services")
def services() -> Response:
    snapshot = parts().cluster.look()
    return _listed("services", snapshot.services, snapshot)


@api.get("/schedules")
def schedules() -> Response:
    snapshot = parts().cluster.look()
    return _listed("schedules", snapshot.schedules, snapshot)


@api.get("/fires")
def fires() -> Response:
    """The fires of the last day that came to nothing."""
    snapshot = parts().cluster.look()
    return _listed("fires", snapshot.fires, snapshot)


# ── of the master ─────────────────────────────────────────────────────────────────────────────────


@api.get("/runs")
def runs() -> Response:
    """The newest; `state`, `name` and `limit` as in `titan ls`."""
    state, name = request.args.get("state", ""), request.args.get("name", "")
    return _listed("runs", parts().client.runs(number("limit", 50), state, name))


@api.get("/runs/<run_id>")
def run(run_id: str) -> Response:
    """With `since`, a version, only the jobs that changed after it, the events of that, and what to ask with next."""
    if "since" not in request.args:
        return answer({"run": parts().client.run(run_id)})
    since = number("since", 0, 1 << 31, least=0)
    found = changes(parts().client, parts().cluster.look(), run_id, since)
    return answer(
        {
            "run": found.run,
            "events": found.events,
            "version": found.version,
            "has_events": found.has_events,
            "now_wall": time.time(),
        }
    )


@api.get("/runs/<run_id>/events")
def events(run_id: str) -> Response:
    """Oldest first; those beyond the number `after`."""
    found = parts().client.events(run_id, after=number("after", 0, 1 << 31, least=0))
    return _listed("events", itertools.islice(found, number("limit", 1000)))


@api.get("/jobs")
def jobs() -> Response:
    """Jobs of all runs in a `state`; without one, all that are not final."""
    found = parts().client.jobs(request.args.get("state", ""), limit=number("limit", 200))
    return _listed("jobs", found.jobs, total=found.total)


@api.get("/runs/<run_id>/jobs/<job_id>")
def job(run_id: str, job_id: str) -> Response:
    return answer({"job": parts().client.job(f"{run_id}/{job_id}")})


@api.get("/runs/<run_id>/jobs/<job_id>/explain")
def explain(run_id: str, job_id: str) -> Response:
    return answer({"explanation": parts().client.explain(f"{run_id}/{job_id}")})


@api.get("/services/<run_id>/<job_id>")
def service(run_id: str, job_id: str) -> Response:
    return answer({"service": parts().client.service(f"{run_id}/{job_id}")})


@api.get("/schedules/<name>")
def schedule(name: str) -> Response:
    return answer({"schedule": parts().client.get_schedule(name)})


@api.get("/schedules/<name>/fires")
def schedule_fires(name: str) -> Response:
    """The ledger, newest first; `outcome` and `limit` as in `titan schedule history`; slots `before` an instant."""
    limit, before_wall = number("limit", 50), number("before", 0, LAST_WALL, least=0)
    outcome = request.args.get("outcome", "")
    return _listed("fires", parts().client.schedule_history(name, limit, before_wall or None, outcome))


@api.get("/schedules/<name>/next")
def schedule_next(name: str) -> Response:
    """When it is due next, as in `titan schedule next`; `limit`: so many slots."""
    found = parts().client.next_fires(name, number("limit", 10, 1000))
    return _listed("next", map(schedule_rows.record, found))


@api.get("/assets")
def assets() -> Response:
    return _listed("assets", parts().client.assets())
