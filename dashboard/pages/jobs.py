"""Jobs of all runs by their state: where the numbers of other pages lead."""

from __future__ import annotations

from flask import request
from flask.typing import ResponseReturnValue

from dashboard import links
from dashboard.api import MAX_LIMIT, number
from dashboard.page import Page, render
from dashboard.parts import parts
from titan_sdk.cli.states import JOB_STATES

page = Page("jobs")

LIMIT = 200
SEARCHED = 2000
"""Jobs that are looked through for those of one capability."""


@page.get("/jobs")
def listing() -> ResponseReturnValue:
    """`requirement`: only those that need this capability."""
    state, requirement = request.args.get("state", ""), request.args.get("requirement", "")
    limit = number("limit", LIMIT)
    client, read = parts().client, max(limit, SEARCHED) if requirement else limit
    found = client.dead_jobs(read) if state == "DEAD" else client.jobs(state, limit=read)
    shown = [job for job in found.jobs if requirement in ("", job.requirement)][:limit]
    more = limit < MAX_LIMIT and (len(found.jobs) < found.total or len(found.jobs) > len(shown) == limit)
    return render(
        "jobs.html",
        state=state,
        requirement=requirement,
        states=JOB_STATES,
        jobs=shown,
        read=len(found.jobs),
        total=found.total,
        more=links.jobs(state, requirement, min(limit * 2, MAX_LIMIT)) if more else "",
    )
