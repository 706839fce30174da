"""Jobs of all runs by their state: where the numbers of other pages lead."""

from __future__ import annotations

from flask import request
from flask.typing import ResponseReturnValue

from dashboard.api import number
from dashboard.page import Page, render
from dashboard.parts import parts
from titan_sdk.cli.states import JOB_STATES

page = Page("jobs")

LIMIT = 200


@page.get("/jobs")
def listing() -> ResponseReturnValue:
    state, limit = request.args.get("state", ""), number("limit", LIMIT)
    client = parts().client
    found = client.dead_jobs(limit) if state == "DEAD" else client.jobs(state, limit=limit)
    return render("jobs.html", state=state, states=JOB_STATES, found=found)
