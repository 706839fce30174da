"""Where things have their pages. A path that no page serves becomes plain text, so pages can be added one by one.

Knows paths only; any thread.
"""

from __future__ import annotations

from urllib.parse import quote, unquote, urlencode

from flask import current_app
from markupsafe import Markup, escape
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from dashboard.present import finalized


def runs(state: str = "", **filters: str) -> str:
    return _filtered("/runs", state=state, **filters)


def run(run_id: str) -> str:
    return f"/runs/{_part(run_id)}"


def jobs(state: str = "", requirement: str = "", limit: int = 0) -> str:
    """Jobs of all runs."""
    return _filtered("/jobs", state=state, requirement=requirement, limit=str(limit or ""))


def job(key: str) -> str:
    """`key`: `<run id>/<job id>`."""
    run_id, _, job_id = key.partition("/")
    return f"/runs/{_part(run_id)}/jobs/{_part(job_id)}"


def log(key: str, attempt: int = 0) -> str:
    """`key`: `<run id>/<job id>`; without an attempt, of the latest."""
    return _filtered(f"{job(key)}/log", attempt=str(attempt or ""))


def services(state: str = "") -> str:
    return _filtered("/services", state=state)


def service(key: str) -> str:
    """`key`: `<run id>/<job id>`."""
    run_id, _, job_id = key.partition("/")
    return f"/services/{_part(run_id)}/{_part(job_id)}"


def schedules(state: str = "") -> str:
    return _filtered("/schedules", state=state)


def schedule(name: str) -> str:
    return f"/schedules/{_part(name)}"


def missed() -> str:
    """The fires of the last day that came to nothing, of all schedules."""
    return "/schedules#missed"


def fires(name: str, outcome: str = "", before: int = 0) -> str:
    """What became of those of a schedule."""
    return _filtered(schedule(name), outcome=outcome, before=str(before or ""))


def asset(name: str) -> str:
    """Its content."""
    return f"/assets/file/{quote(name, safe='/')}"


def workers(**filters: str) -> str:
    """Filters: `state`, `capability`."""
    return _filtered("/workers", **filters)


def history(worker: str = "") -> str:
    """What ran, on this worker or on all of them."""
    return _filtered("/history", worker=worker)


def worker(worker_id: str) -> str:
    return f"/workers/{_part(worker_id)}"


def served(path: str) -> bool:
    """Whether a page answers there."""
    adapter = current_app.url_map.bind("localhost")
    try:
        adapter.match(unquote(path.partition("#")[0].partition("?")[0]), "GET")
    except RequestRedirect:
        return True
    except HTTPException:
        return False
    return True


def link(path: str, text: object, css: str = "") -> Markup:
    """`text`, which leads to `path` if anything is there."""
    if not path or not served(path):
        return escape(finalized(text))
    return Markup('<a href="{}"{}>{}</a>').format(
        path, Markup(' class="{}"').format(css) if css else "", finalized(text)
    )


def local(path: str) -> str:
    """`path` if it stays on this site, else the first page: for addresses that come with a request."""
    inside = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if inside else "/"


def _part(name: str) -> str:
    return quote(name, safe=":@")


def _filtered(path: str, **filters: str) -> str:
    given = {name: value for name, value in filters.items() if value}
    return f"{path}?{urlencode(given)}" if given else path
