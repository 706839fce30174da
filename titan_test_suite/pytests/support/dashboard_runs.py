"""One run with two jobs, as a scripted client tells it: for tests of the pages of runs."""

from __future__ import annotations

import time
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

from titan_core.protocol.messages import (
    Ack,
    AssetInfo,
    AttemptStatus,
    Cancelled,
    Explanation,
    JobEvent,
    JobStatus,
    LogChunk,
    RunStatus,
    StateCount,
)
from titan_test_suite.pytests.support.dashboards import FakeClient

RUN_ID = "sales-1"


def job(job_id: str = "load", state: str = "RUNNING", **fields: Any) -> JobStatus:
    return JobStatus(RUN_ID, job_id, state, worker="box:8081", submitted_wall=100.0, started_wall=101.0, **fields)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))


def tags(page: str) -> list[tuple[str, dict[str, str]]]:
    reader = _Tags()
    reader.feed(page)
    return reader.found


def run(*jobs: JobStatus, **fields: Any) -> RunStatus:
    counts: dict[str, int] = {}
    for one in jobs:
        counts[one.state] = counts.get(one.state, 0) + 1
    return RunStatus(
        RUN_ID, "sales", "RUNNING", fields.pop("version", 5),
        tuple(StateCount(state, count) for state, count in counts.items()), time.time() - 60, jobs=jobs, **fields,
    )  # fmt: skip


def event(number: int, wall: float, before: str, after: str, **fields: Any) -> JobEvent:
    return JobEvent(number, wall, fields.pop("job_id", "load"), before, after, **fields)


def client(**answers: Any) -> FakeClient:
    """One run with two jobs."""
    load = job(parents=("extract",), attempts=(AttemptStatus(1, "box:8081", "RUNNING", started_wall=101.0),))
    status = run(job("extract", "COMPLETED", finished_wall=102.0), load)
    return FakeClient(**{
        "runs": (replace(status, jobs=()),),
        "run": status,
        "job": load,
        "explain": Explanation(RUN_ID, "load", "RUNNING", ("attempt 1 runs on box:8081",)),
        "log_chunks": (LogChunk(RUN_ID, "load", 1, 0, b"one\ntwo\n"),),
        "events": (event(1, 101.0, "QUEUED", "RUNNING", attempt=1, worker="box:8081"),),
        "assets": (AssetInfo("etl.py", "0" * 64, 10),),
        "cancel": Cancelled((), "2 jobs are cancelled"),
        "retry": Ack("1 job is run again"),
        **answers,
    })  # fmt: skip
