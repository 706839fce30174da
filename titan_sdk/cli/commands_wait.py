"""The commands that stay until something has happened: wait, logs -f, events -f, and the `--wait` of run and apply.

Ctrl-C ends the waiting only. What runs goes on, and the user is told how to follow or cancel it.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from titan_sdk.cli import exits, rows
from titan_sdk.cli.exits import Exit
from titan_sdk.cli.text import clean, clock, span

if TYPE_CHECKING:
    from titan_core.protocol.messages import JobEvent, JobStatus, RunStatus
    from titan_sdk.cli.context import Context

HINTS = 3
"""Of at most so many dead jobs the way to the log is pointed out."""


def wait(context: Context) -> int:
    """Wait for a run, or a job; the exit code says how it ended."""
    from titan_sdk.errors import NotFound

    key, timeout_s = context.options.key, context.options.timeout
    try:
        return follow_run(context, key, timeout_s)
    except NotFound:
        return _wait_for_job(context, key, timeout_s)


def follow_run(context: Context, key: str, timeout_s: float | None = None) -> int:
    """Show the progress of a run until it is over."""
    from titan_sdk.cli.progress import show

    try:
        statuses = context.client.watch(key, timeout_s)
        first = next(statuses)  # before anything is drawn: a run that does not exist is refused here
        key = first.run_id  # from now on this run, whatever `last` may become
        status = show(context.out, itertools.chain([first], statuses))
    except KeyboardInterrupt:
        return _left(context, key, "wait")
    if not context.out.json:
        context.out.done(f"{status.run_id} {status.state}", [status.run_id])
        _say_how_it_went(context, status)
    return exits.code_for_run(status)


def follow_job(context: Context, key: str) -> int:
    """Show where the job is until it runs, then its log until it is over; its own exit code."""
    from titan_sdk.cli.log_output import write_log

    context.out.say(f"accepted as {key}")
    try:
        _say_until_begun(context, key)
        write_log(context.out, context.client.log_chunks(key, follow=True))
        status = context.client.wait_for_job(key)
    except KeyboardInterrupt:
        return _left(context, key, "logs -f")
    _end_job(context, status)
    return exits.own_code(status)


def logs(context: Context) -> int:
    """What a job has written; with -f, until it is over."""
    from titan_sdk.cli.log_output import last_lines, write_log

    options, client = context.options, context.client
    job = client.job(options.key)
    key = rows.key(job)
    _say_if_not_begun(context, job)
    if options.lines is None:
        chunks = client.log_chunks(key, options.attempt, options.follow)
    else:
        chunks = last_lines(client, key, options.attempt, options.follow, options.lines)
    try:
        write_log(context.out, chunks)
    except KeyboardInterrupt:
        if not options.follow:
            raise
        return _left(context, key, "logs -f")
    return Exit.OK


def events(context: Context) -> int:
    """What happened to a run or a job, oldest first; with -f, until it is over. One JSON object each with --json."""
    options, out = context.options, context.out
    try:
        for event in context.client.events(options.key, follow=options.follow):
            if out.json:
                out.record(event)
            else:
                out.line(clean(event.job_id if out.quiet else _event_line(event)))
                out.stdout.flush()
    except KeyboardInterrupt:
        if not options.follow:
            raise
        return _left(context, options.key, "events -f")
    return Exit.OK


def _event_line(event: JobEvent) -> str:
    """`12:01:03  extract  RUNNING → FAILED  attempt 1  worker-host:8081  exit code 3`."""
    change = event.after if event.before == event.after else f"{event.before} → {event.after}"
    attempt = f"attempt {event.attempt}" if event.attempt else ""
    parts = (clock(event.wall), event.job_id, change, attempt, event.worker, event.reason)
    return "  ".join(part for part in parts if part)


def _wait_for_job(context: Context, key: str, timeout_s: float | None) -> int:
    job = context.client.job(key)
    key = rows.key(job)
    if not job.final:
        context.out.say(f"waiting for {key}: {job.state}" + (f", {job.reason}" if job.reason else ""))
    try:
        job = context.client.wait_for_job(key, timeout_s)
    except KeyboardInterrupt:
        return _left(context, key, "wait")
    _end_job(context, job)
    if not context.out.json:
        context.out.done(f"{key} {job.state}", [key])
    return exits.code_for_job(job)


def _say_until_begun(context: Context, key: str) -> None:
    """Tell each state of a job up to its first attempt."""
    from titan_sdk.cli.progress import change_line

    told = ""
    statuses = context.client.watch(key.partition("/")[0])
    for job in (job for status in statuses for job in status.jobs if rows.key(job) == key):
        if job.started_wall or job.final:
            return
        if job.state != told:
            context.out.say(change_line(job))
        told = job.state


def _say_if_not_begun(context: Context, job: JobStatus) -> None:
    if not (job.started_wall or job.final):
        context.out.say(f"{rows.key(job)} has written nothing yet: {job.state}, {job.reason}")


def _end_job(context: Context, job: JobStatus) -> None:
    """What became of a job: its record with `--json`, a line of talk otherwise."""
    if context.out.json:
        context.out.record(job)
        return
    took = f" in {span(job.started_wall, job.finished_wall)}" if job.started_wall and job.finished_wall else ""
    reason = f": {job.reason}" if job.reason and job.state != "COMPLETED" else ""
    context.out.say(f"{rows.key(job)} {job.state}{took}{reason}")


def _say_how_it_went(context: Context, run: RunStatus) -> None:
    context.out.say(f"{rows.counts(run.counts)}, in {span(run.submitted_wall, run.finished_wall)}")
    if run.state == "FAILED":
        dead = [job for job in context.client.run(run.run_id).jobs if job.state == "DEAD"]
        for job in dead[:HINTS]:
            context.out.say(f"{job.job_id} died ({job.reason}); its log: titan logs {rows.key(job)}")


def _left(context: Context, key: str, follow: str) -> int:
    """Ctrl-C: only the waiting ends."""
    context.connection.close()
    context.out.warn(f"{key} goes on; follow it with: titan {follow} {key}; cancel it with: titan cancel {key}")
    return Exit.INTERRUPTED
