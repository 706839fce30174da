"""Runs: the list with its filters, one of them with its graph and time line, and what a person may do to it."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any
from urllib.parse import urlencode

from flask import redirect, request
from flask.typing import ResponseReturnValue

from dashboard import job_card, links
from dashboard.api import number
from dashboard.changes import without_jobs
from dashboard.drawings import stacked
from dashboard.page import Page, act, confirm, render
from dashboard.parts import parts
from dashboard.present import SYMBOLS, TONES
from titan_core.protocol.messages import JobStatus, RunStatus
from titan_sdk.cli.states import JOB_STATES, RUN_STATES
from titan_sdk.errors import InvalidRequest, NotFound

page = Page("runs", nav="Runs")

LIMIT = 50
MAX_RUNS = 1000
MAX_DRAWN = 1500
"""Jobs of a run that is drawn; of a larger one nobody could read the picture."""
MAX_LISTED = 200
"""Jobs in one state that a larger run lists at first."""
MAX_OF_STATE = 2000


# ── the list ──────────────────────────────────────────────────────────────────────────────────────


@page.get("/runs")
def listing() -> ResponseReturnValue:
    asked = {name: request.args.get(name, "") for name in ("name", "state", "schedule")}
    limit = number("limit", LIMIT, MAX_RUNS)
    runs = _found(asked["name"], asked["state"], asked["schedule"], limit + 1)
    more = f"/runs?{urlencode({**_given(asked), 'limit': min(limit * 2, MAX_RUNS)})}"
    return render(
        "runs.html",
        runs=runs[:limit],
        more=more if len(runs) > limit and limit < MAX_RUNS else "",
        cut=len(runs) > limit >= MAX_RUNS,
        asked=asked,
        filtered=bool(_given(asked)),
        states=RUN_STATES,
        schedules=sorted(
            {one.name for one in parts().cluster.look().schedules} | set(filter(None, [asked["schedule"]]))
        ),
        stacked=stacked,
    )


def _found(name: str, state: str, schedule: str, limit: int) -> list[RunStatus]:
    """Newest first. The runs of a schedule have its name, so the master finds most of what is wanted."""
    if state and state not in RUN_STATES:
        raise InvalidRequest(f"state is {state[:40]!r}; use one of {', '.join(RUN_STATES)}", field="state")
    if not schedule:
        return list(parts().client.runs(limit, state, name))
    asked = schedule if schedule.startswith(name) else name
    found = parts().client.runs(MAX_RUNS, state, asked)
    return [run for run in found if run.schedule == schedule and run.name.startswith(name)][:limit]


def _given(asked: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in asked.items() if value}


# ── one run ───────────────────────────────────────────────────────────────────────────────────────


@page.get("/runs/<run_id>")
def one(run_id: str) -> ResponseReturnValue:
    """`job`: which one the panel is about; without it the one that died first, so that a run which failed says why at
    once, and empty: none. `state`: which jobs are listed, of a run that is too large to be drawn."""
    client, changed_only = parts().client, bool(request.headers.get("X-Fragment"))
    run = without_jobs(client, parts().cluster.look(), run_id) if changed_only else client.run(run_id)
    if run.run_id != run_id:  # `last`, or the beginning of an id
        return redirect(links.run(run.run_id), 303)
    if not changed_only and not request.args and (died := _died_first(run.jobs)):
        return redirect(_of_job(run_id, died), 303)
    total = sum(item.count for item in run.counts)
    return render(
        "run.html",
        run=run,
        total=total,
        most=MAX_DRAWN,
        drawn=total <= MAX_DRAWN,
        groups=_groups(run.jobs, request.args.get("state", "")) if total > MAX_DRAWN else [],
        stacked=stacked,
        tones=json.dumps(TONES),
        symbols=json.dumps(SYMBOLS),
        **_panel(run_id, request.args.get("job", "")),
    )


@page.get("/runs/<run_id>/jobs/<job_id>")
def job(run_id: str, job_id: str) -> ResponseReturnValue:
    return redirect(_of_job(run_id, job_id), 303)


def _died_first(jobs: tuple[JobStatus, ...]) -> str:
    dead = [job for job in jobs if job.state == "DEAD"]
    return min(dead, key=lambda job: job.finished_wall).job_id if dead else ""


def _panel(run_id: str, job_id: str) -> dict[str, Any]:
    """What the template needs to show the job that is looked at."""
    shown: dict[str, Any] = {"job_id": job_id, "card": None, "trouble": "", "exit_words": job_card.exit_words}
    if job_id:
        try:
            shown["card"] = job_card.card(parts().client, f"{run_id}/{job_id}")
        except (NotFound, InvalidRequest) as error:
            shown["trouble"] = str(error)
    return shown


def _groups(jobs: tuple[JobStatus, ...], state: str) -> list[tuple[str, list[JobStatus], int]]:
    """Jobs by state, what went wrong first: (state, as many as are listed, how many there are)."""
    by_state: dict[str, list[JobStatus]] = defaultdict(list)
    for one in jobs:
        by_state[one.state].append(one)
    order = [word for word in reversed(JOB_STATES) if word in by_state] + sorted(by_state.keys() - set(JOB_STATES))
    most = MAX_OF_STATE if state else MAX_LISTED
    return [(word, by_state[word][:most], len(by_state[word])) for word in order if state in ("", word)]


def _of_job(run_id: str, job_id: str) -> str:
    return f"{links.run(run_id)}?{urlencode({'job': job_id})}"


# ── actions ───────────────────────────────────────────────────────────────────────────────────────


@page.get("/runs/<run_id>/cancel")
def ask_cancel(run_id: str) -> ResponseReturnValue:
    counts = {item.state: item.count for item in parts().client.run(run_id).counts}
    over = sum(counts.get(state, 0) for state in ("COMPLETED", "DEAD", "CANCELLED"))
    sentence = f"{sum(counts.values()) - over} of its jobs are not over: they are stopped, or will not run."
    return confirm(f"Cancel {run_id}?", sentence, "Cancel the run", links.run(run_id))


@page.post("/runs/<run_id>/cancel")
def cancel(run_id: str) -> ResponseReturnValue:
    return act(lambda: parts().client.cancel(run_id).text or f"{run_id} is cancelled", links.run(run_id))


@page.get("/runs/<run_id>/retry")
def ask_retry(run_id: str) -> ResponseReturnValue:
    sentence = "Each of its jobs that is DEAD or CANCELLED is run again, and what depends on it."
    return confirm(f"Retry {run_id}?", sentence, "Retry the run", links.run(run_id))


@page.post("/runs/<run_id>/retry")
def retry(run_id: str) -> ResponseReturnValue:
    return act(lambda: parts().client.retry(run_id), links.run(run_id))


@page.get("/runs/<run_id>/jobs/<job_id>/cancel")
def ask_cancel_job(run_id: str, job_id: str) -> ResponseReturnValue:
    sentence = "It is stopped, or will not run; nor will the jobs that depend on it."
    return confirm(f"Cancel {job_id} of {run_id}?", sentence, "Cancel the job", _of_job(run_id, job_id))


@page.post("/runs/<run_id>/jobs/<job_id>/cancel")
def cancel_job(run_id: str, job_id: str) -> ResponseReturnValue:
    key = f"{run_id}/{job_id}"
    return act(lambda: parts().client.cancel(key).text or f"{key} is cancelled", _of_job(run_id, job_id))


@page.get("/runs/<run_id>/jobs/<job_id>/retry")
def ask_retry_job(run_id: str, job_id: str) -> ResponseReturnValue:
    sentence = "It is run again, from its first attempt on."
    return confirm(f"Retry {job_id} of {run_id}?", sentence, "Retry the job", _of_job(run_id, job_id))


@page.post("/runs/<run_id>/jobs/<job_id>/retry")
def retry_job(run_id: str, job_id: str) -> ResponseReturnValue:
    return act(lambda: parts().client.retry(f"{run_id}/{job_id}"), _of_job(run_id, job_id))
