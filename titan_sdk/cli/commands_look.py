"""The commands that look and change nothing: ls, status, explain, dlq, workers, stats, json."""

from __future__ import annotations

from typing import TYPE_CHECKING

from titan_sdk.cli import rows
from titan_sdk.cli.exits import Exit
from titan_sdk.cli.states import RUN_STATES
from titan_sdk.cli.text import clean, clock, plural, span

if TYPE_CHECKING:
    from titan_core.protocol.messages import ClusterStatus, JobStatus, PoolStatus, RunStatus
    from titan_sdk.cli.context import Context
    from titan_sdk.cli.tables import Column

DEFAULT_RUNS = 20


def ls(context: Context) -> int:
    """Runs; or the jobs of a run; or jobs of all runs."""
    options = context.options
    if options.run:
        return _ls_run(context)
    if options.jobs or (options.state and options.state not in RUN_STATES):
        return _ls_jobs(context)
    runs = context.client.runs(limit=options.limit or DEFAULT_RUNS, state=options.state, name=options.name)
    context.out.listing(runs, lambda run: run.run_id, rows.RUNS, "runs")
    return Exit.OK


def _ls_run(context: Context) -> int:
    options = context.options
    jobs = [
        job
        for job in context.client.run(options.run).jobs
        if options.state in ("", job.state) and job.job_id.startswith(options.name)
    ]
    _list_jobs(context, jobs[: options.limit], len(jobs), rows.JOBS)
    return Exit.OK


def _ls_jobs(context: Context) -> int:
    options = context.options
    found = context.client.jobs(state=options.state, limit=options.limit or 200)
    jobs = [job for job in found.jobs if job.job_id.startswith(options.name)]
    total = len(jobs) if options.name else found.total
    _list_jobs(context, jobs, total, rows.KEYED_JOBS)
    return Exit.OK


def _list_jobs(context: Context, jobs: list[JobStatus], total: int, columns: tuple[Column[JobStatus], ...]) -> None:
    context.out.listing(jobs, rows.key, rows.filled(jobs, columns), "such jobs")
    if total > len(jobs):
        context.out.say(f"{len(jobs)} of {total} jobs; -n shows more")


def status(context: Context) -> int:
    """A run with its jobs, a job with its attempts, or the cluster in a few lines."""
    from titan_sdk.errors import NotFound

    key = context.options.key
    if not key:
        return _cluster(context, context.client.cluster())
    try:
        run = context.client.run(key)
    except NotFound:
        return _job(context, context.client.job(key))
    return _run(context, run)


def _run(context: Context, run: RunStatus) -> int:
    out = context.out
    if out.json or out.quiet:
        out.done("", [run.run_id], run)
        return Exit.OK
    took = span(run.submitted_wall, run.finished_wall)
    out.line(f"{clean(run.run_id)}  {run.state}  submitted {clock(run.submitted_wall)}, {took}")
    if run.schedule:
        due = f", due {clock(run.scheduled_wall)}" if run.scheduled_wall else ""
        out.line(f"schedule {clean(run.schedule)}{due}")
    out.line(rows.counts(run.counts))
    out.line()
    out.listing(run.jobs, rows.key, rows.filled(run.jobs, rows.JOBS), "jobs")
    return Exit.OK


def _job(context: Context, job: JobStatus) -> int:
    out = context.out
    if out.json or out.quiet:
        out.done("", [rows.key(job)], job)
        return Exit.OK
    for name, value in _facts(job):
        if value:
            out.line(f"{name:<12} {clean(value)}")
    if job.attempts:
        out.line()
        out.listing(
            job.attempts, lambda attempt: str(attempt.number), rows.filled(job.attempts, rows.ATTEMPTS), "attempts"
        )
    return Exit.OK


def _facts(job: JobStatus) -> list[tuple[str, str]]:
    """What there is to say of a job, by its name; empty where there is nothing."""
    return [
        ("job", rows.key(job)),
        ("state", job.state + (f" ({job.reason})" if job.reason else "")),
        ("file", job.asset),
        ("requirement", job.requirement),
        ("priority", str(job.priority)),
        ("port", str(job.port or "")),
        ("after", ", ".join(job.parents)),
        ("worker", job.worker),
        ("exit code", rows.exit_code(job.exit_code)),
        ("submitted", clock(job.submitted_wall)),
        ("due", "" if job.final or job.started_wall else clock(job.due_wall)),
        ("started", clock(job.started_wall)),
        ("finished", clock(job.finished_wall)),
        ("took" if job.finished_wall else "running for", span(job.started_wall, job.finished_wall)),
    ]


def _cluster(context: Context, cluster: ClusterStatus) -> int:
    out = context.out
    workers = cluster.workers
    if out.json or out.quiet:
        out.done("", [worker.worker_id for worker in workers], cluster)
        return Exit.OK
    slots, used = sum(worker.slots for worker in workers), sum(worker.used for worker in workers)
    services = sum(len(worker.services) for worker in workers)
    out.line(
        f"{plural(len(workers), 'worker')}, {used} of {plural(slots, 'slot')} busy, {plural(services, 'service')}"
    )
    out.line(f"jobs: {rows.counts(cluster.counts) or 'none'}")
    if cluster.trouble:
        out.line(f"trouble: {clean(cluster.trouble)}")
    for pool in cluster.pools:
        if told := _pool(pool):
            out.line(f"pool {clean(pool.capability)}: {clean(told)}")
    for lost in cluster.lost:
        held = f"; it held {plural(lost.attempts, 'attempt')}" if lost.attempts else ""
        out.line(f"lost {clock(lost.lost_wall)}: {clean(lost.reason)}{held}")
    return Exit.OK


def _pool(pool: PoolStatus) -> str:
    """What there is to say of a pool; empty: nothing waits and nothing starts."""
    parts = [
        f"{plural(pool.waiting, 'job')} waiting" if pool.waiting else "",
        f"{plural(pool.starting, 'worker')} starting" if pool.starting else "",
        pool.trouble,
    ]
    return ", ".join(part for part in parts if part)


def explain(context: Context) -> int:
    """Sentences: why the job is where it is."""
    out, answer = context.out, context.client.explain(context.options.key)
    key = f"{answer.run_id}/{answer.job_id}"
    if out.json or out.quiet:
        out.done("", [key], answer)
        return Exit.OK
    out.line(f"{clean(key)} is {clean(answer.state)}")
    for reason in answer.reasons:
        out.line(f"  {clean(reason)}")
    return Exit.OK


def dlq(context: Context) -> int:
    """The dead letters, those that died last first."""
    found = context.client.dead_jobs(limit=context.options.limit)
    context.out.listing(found.jobs, rows.key, rows.filled(found.jobs, rows.DEAD_JOBS), "job is DEAD")
    if found.total > len(found.jobs):
        context.out.say(f"{len(found.jobs)} of {found.total} dead jobs; -n shows more")
    if found.jobs:
        context.out.say("titan retry JOB runs one again, titan retry --all-dead all of them")
    return Exit.OK


def workers(context: Context) -> int:
    found = context.client.workers()
    context.out.listing(
        found, lambda worker: worker.worker_id, rows.filled(found, rows.WORKERS), "workers are connected"
    )
    return Exit.OK


def stats(context: Context) -> int:
    """The monitor text, as the master writes it."""
    out = context.out
    if out.json:
        out.record(context.client.stats())
        return Exit.OK
    for line in context.client.stats_text().splitlines():
        out.line(clean(line))
    return Exit.OK


def cluster_json(context: Context) -> int:
    """What `stats --json` prints."""
    context.out.record(context.client.stats())
    return Exit.OK
