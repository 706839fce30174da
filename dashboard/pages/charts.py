"""Charts of the last hours: load, queue, throughput; drawn by the browser, with the newest figures as a table."""

from __future__ import annotations

import time

from flask import Response
from flask.typing import ResponseReturnValue

from dashboard.api import answer, number
from dashboard.page import Page, render
from dashboard.parts import parts

page = Page("charts", nav="Charts")

SPANS = ((900, "15 minutes"), (3600, "1 hour"), (6 * 3600, "6 hours"), (24 * 3600, "24 hours"))
DEFAULT_S = 3600


@page.get("/charts")
def charts() -> ResponseReturnValue:
    span_s = number("span", DEFAULT_S, SPANS[-1][0], 60)
    _, found = parts().samples.last(span_s, time.time())
    known = [sample for sample in found if sample is not None]
    return render("charts.html", spans=SPANS, span_s=span_s, latest=known[-1] if known else None, known=known)


@page.get("/api/samples")
def samples() -> Response:
    """`span` seconds up to now: `columns` names what each of `samples` holds; null where the master was away."""
    span_s = number("span", DEFAULT_S, SPANS[-1][0], 60)
    resolution, found = parts().samples.last(span_s, time.time())
    columns = ("wall", "used", "slots", "queued", "finished_per_minute")
    return answer({"step_s": resolution.step_s, "span_s": span_s, "columns": columns, "samples": found})
