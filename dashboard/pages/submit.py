"""Submitting a pipeline: its text is looked at, shown as a graph with what is wrong with it, and then submitted."""

from __future__ import annotations

import json
import threading

from flask import redirect, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import TooManyRequests

from dashboard import links
from dashboard.access import session, takes_up_to
from dashboard.drafts import SOURCE, Draft, problem_of, read, submit
from dashboard.page import Page, render
from dashboard.parts import parts
from dashboard.present import SYMBOLS, TONES
from dashboard.sessions import Notice
from titan_core.protocol.messages import SchedulePut
from titan_core.protocol.wire import KIB
from titan_sdk.errors import PipelineError, TitanError
from titan_sdk.pipeline_file import MAX_BYTES

page = Page("submit", nav="Submit")

MAX_DRAWN = 1500
MAX_SHOWN = 256 * KIB
"""Bytes of a text that is shown again; a larger one has to be chosen again."""
_reading = threading.Semaphore(1)
"""A large text takes seconds, and memory: one at a time."""


@page.get("/submit")
def form() -> ResponseReturnValue:
    return _shown("", None)


@page.post("/submit")
@takes_up_to(MAX_BYTES + 256 * KIB)
def take() -> ResponseReturnValue:
    """`do`: `preview` or `submit`. The text is a file, `file`, or else a field, `text`."""
    raw = _text()
    draft = _read(raw)
    text = raw.decode(errors="replace") if len(raw) <= MAX_SHOWN else ""
    if request.form.get("do") != "submit" or not draft.usable:
        return _shown(text, draft), 200 if draft.usable else 400
    try:
        done = submit(parts().client, draft, "update" in request.form)
    except PipelineError as error:
        return _shown(text, Draft((problem_of(error),), draft.pipeline)), 400
    except TitanError as error:
        return _shown(text, Draft((problem_of(error),), draft.pipeline)), 409
    if isinstance(done, SchedulePut):
        return _told(f"schedule {done.schedule.name} is {done.outcome}", links.schedule(done.schedule.name))
    return _told(f"submitted as {done.run_id}", links.run(done.run_id))


def _text() -> bytes:
    """One byte more than may be is enough to refuse it."""
    file = request.files.get("file")
    sent = file.read(MAX_BYTES + 1) if file is not None else b""
    return sent or request.form.get("text", "").replace("\r\n", "\n").encode(errors="replace")


def _read(raw: bytes) -> Draft:
    if not _reading.acquire(timeout=5):
        raise TooManyRequests("another large pipeline is being read at this moment; try again in a few seconds")
    try:
        return read(raw, [asset.name for asset in parts().client.assets()])
    finally:
        _reading.release()


def _told(sentence: str, then: str) -> ResponseReturnValue:
    known = session()
    if known is not None:
        known.notices.append(Notice(sentence))
    return redirect(then if links.served(then) else "/", 303)


def _shown(text: str, draft: Draft | None) -> str:
    pipeline = draft.pipeline if draft else None
    return render(
        "submit.html",
        text=text,
        draft=draft,
        pipeline=pipeline,
        source=SOURCE,
        lines=_at_fault(text, draft),
        drawn=pipeline is not None and len(pipeline.jobs) <= MAX_DRAWN,
        most=MAX_DRAWN,
        tones=json.dumps(TONES),
        symbols=json.dumps(SYMBOLS),
    )


def _at_fault(text: str, draft: Draft | None) -> dict[int, str]:
    """The lines that problems are about, by their numbers."""
    lines = text.split("\n")
    problems = draft.problems if draft else ()
    return {one.line: lines[one.line - 1][:200] for one in problems if 0 < one.line <= len(lines)}
