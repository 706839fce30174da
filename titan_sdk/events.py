"""What happened to a run or a job, with reasons: page by page as the master keeps it, and on as it happens."""

from __future__ import annotations

from collections.abc import Iterator

from titan_core.errors import NotFound
from titan_core.protocol.messages import EventList, GetJob, GetRun, JobEvent, JobStatus, ListEvents, RunStatus
from titan_sdk.patience import ask_patiently
from titan_sdk.polling import LONG_POLL_S
from titan_sdk.transport import Transport

_PAGE = 1000
"""Events of one answer."""


def events(transport: Transport, key: str, after: int = 0, follow: bool = False) -> Iterator[JobEvent]:
    """The events with a number beyond `after`, oldest first, of the run `key`, or if there is none, of the job.

    With `follow`, goes on until that is over. Raises NotFound.
    """
    run, job_id = _meant(transport, key)
    key = f"{run.run_id}/{job_id}" if job_id else run.run_id  # from now on this one, whatever `last` may become
    while True:
        over = not follow or _is_over(transport, run, job_id)
        for event in _recorded(transport, key, after):
            after = event.number
            yield event
        if over:
            return
        question = GetRun(run.run_id, LONG_POLL_S, since=run.version, jobs=False)
        run = ask_patiently(transport, question, RunStatus, LONG_POLL_S)


def _meant(transport: Transport, key: str) -> tuple[RunStatus, str]:
    """The run, and the id of the job in it; empty: the whole run is meant."""
    try:
        return transport.ask(GetRun(key, jobs=False), RunStatus), ""
    except NotFound:
        job = transport.ask(GetJob(key), JobStatus)
    return transport.ask(GetRun(job.run_id, jobs=False), RunStatus), job.job_id


def _is_over(transport: Transport, run: RunStatus, job_id: str) -> bool:
    """Asked for before the events, so that what ended it is among them."""
    if run.final or not job_id:
        return run.final
    return ask_patiently(transport, GetJob(f"{run.run_id}/{job_id}"), JobStatus).final


def _recorded(transport: Transport, key: str, after: int) -> Iterator[JobEvent]:
    while True:
        page = ask_patiently(transport, ListEvents(key, after, _PAGE), EventList)
        yield from page.events
        if not (page.more and page.events):
            return
        after = page.events[-1].number
