"""The first page: what needs a person, then the workers, the queue, and the newest runs."""

from __future__ import annotations

from flask.typing import ResponseReturnValue

from dashboard.attention import concerns
from dashboard.page import Page, render
from dashboard.parts import parts
from titan_sdk.cli.states import RUN_STATES

page = Page("home", nav="Home", nav_path="/")

RUNS = 10


@page.get("/")
def home() -> ResponseReturnValue:
    snapshot = parts().cluster.look()
    return render("home.html", concerns=concerns(snapshot), runs=snapshot.runs[:RUNS], run_states=RUN_STATES)
