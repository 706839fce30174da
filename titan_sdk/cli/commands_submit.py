"""The commands that start things: apply, run, deploy, dag, submit.

The key of what was accepted goes to stdout, so that a script can keep it; everything else is talk.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from titan_core.protocol.payloads import WORKER_JAR, WORKER_PORT
from titan_sdk.cli.exits import Exit

if TYPE_CHECKING:
    from titan_sdk.cli.context import Context
    from titan_sdk.handles import JobHandle, RunHandle
    from titan_sdk.jobs import TitanJob
    from titan_sdk.pipeline import Pipeline

STDIN = "-"
PIPELINE_SUFFIXES = (".yaml", ".yml")
WORKERS = ("worker", WORKER_JAR)
"""What `deploy` takes for a worker, unless it is a file here."""


def apply(context: Context) -> int:
    """Submit a pipeline, and follow it to its end with `--wait`; or make its schedule."""
    options = context.options
    return _apply(context, options.path, wait=options.wait, update=not options.no_update)


def run(context: Context) -> int:
    """Run one file; `--wait` shows its log and exits with its code."""
    _refuse_pipeline(context.options.file)
    handle = context.client.submit_job(run_job(context))
    if context.options.wait:
        from titan_sdk.cli.commands_wait import follow_job

        return follow_job(context, handle.key)
    return _accepted_job(context, handle)


def deploy(context: Context) -> int:
    """Keep a file running as a service; apply a pipeline; start one more worker."""
    options = context.options
    if options.file in WORKERS and not Path(options.file).exists():
        return _deploy_worker(context)
    if is_pipeline(options.file):
        return _apply(context, options.file, wait=options.wait, timeout_s=options.patience)
    job = service_job(context, options.name, options.port, options.delay, options.instances)
    handle = context.client.submit_job(job)
    if not options.wait:
        return _accepted_job(context, handle)
    from titan_sdk.cli.commands_services import wait_until_ready

    return wait_until_ready(context, {handle.key: 0}, f"accepted as {handle.key}")


def _deploy_worker(context: Context) -> int:
    """As the Java system did: `deploy Worker.jar` is one more worker."""
    from titan_sdk.cli.commands_act import done
    from titan_sdk.errors import ConfigError

    options = context.options
    if options.port == "auto" or options.wait:
        raise ConfigError(
            "a worker is started at a port that you choose, and is not waited for: titan deploy worker 8085"
        )
    return done(context, context.client.start_worker(options.port or WORKER_PORT, _requirement(context) or ""))


def dag(context: Context) -> int:
    """A graph in the text form: job definitions joined by `;`."""
    from titan_core.protocol.text import parse_dag

    handle = context.client.submit_parsed("dag", parse_dag(" ".join(context.options.words)))
    return _accepted_run(context, handle)


def submit(context: Context) -> int:
    """One job in the text form; or simply a file, which is what `run FILE` does."""
    from titan_core.protocol.checks import MAX_NAME
    from titan_core.protocol.text import parse_job

    text = " ".join(context.options.words)
    if "|" not in text:
        _refuse_pipeline(text)
        return _accepted_job(context, context.client.submit_job(filename=text))
    parsed = parse_job(text)
    handle = context.client.submit_parsed(parsed.jobs[0].job_id[:MAX_NAME], parsed)
    return _accepted_run(context, handle)


def _apply(context: Context, path: str, wait: bool, timeout_s: float | None = None, update: bool = True) -> int:
    from titan_core.protocol.messages import SchedulePut
    from titan_sdk.pipeline import load

    pipeline = load(path)
    _check_asked(pipeline, wait, update)
    handle = context.client.apply(pipeline, update)
    if isinstance(handle, SchedulePut):
        from titan_sdk.cli.commands_schedule import told

        return told(context, handle)
    if not wait:
        return _accepted_run(context, handle)
    from titan_sdk.cli.commands_wait import follow_run

    if not context.out.json:
        context.out.line(handle.run_id)
        context.out.stdout.flush()
    return follow_run(context, handle.run_id, timeout_s)


def _check_asked(pipeline: Pipeline, wait: bool, update: bool) -> None:
    """What makes no sense with a schedule, and what only makes sense with one."""
    from titan_sdk.errors import ConfigError

    if pipeline.schedule is not None and wait:
        raise ConfigError(
            f"{pipeline.source} has a schedule, which starts no run now: leave out --wait, "
            f"or fire it with: titan schedule trigger {pipeline.name} --wait"
        )
    if pipeline.schedule is None and not update:
        raise ConfigError(f"--no-update is for a pipeline with 'schedule:', which {pipeline.source} does not have")


def _accepted_run(context: Context, handle: RunHandle) -> int:
    context.out.done(handle.run_id, [handle.run_id], {"run_id": handle.run_id})
    context.out.say(f"accepted; follow it with: titan wait {handle.run_id}")
    return Exit.OK


def _accepted_job(context: Context, handle: JobHandle) -> int:
    record = {"run_id": handle.run_id, "job_id": handle.job_id, "key": handle.key}
    context.out.done(handle.key, [handle.key], record)
    context.out.say(f"accepted; follow it with: titan logs -f {handle.key}")
    return Exit.OK


def run_job(context: Context) -> TitanJob:
    """The job that the options of `run` and `schedule add` describe."""
    options = context.options
    return _job(context, job_id=options.name, delay=f"{options.delay:f}s")


def service_job(
    context: Context, name: str | None, port: int | str | None, delay_s: float = 0.0, instances: int = 1
) -> TitanJob:
    """The service that the options of `deploy` and `update` describe."""
    options = context.options
    health = {"http": options.health_http, "command": options.health_command}
    return _job(
        context,
        type="service",
        job_id=name,
        delay=f"{delay_s:f}s",
        instances=instances,
        port=port,
        health=health,
        restart=options.restart,
        min_uptime=options.min_uptime,
        max_memory=options.max_memory,
        unhealthy_after=options.unhealthy_after,
        ready_timeout=options.ready_timeout,
    )


def _job(context: Context, **fields: Any) -> TitanJob:
    """A job of these fields, and of those that the options of every job give."""
    from titan_sdk.fields import read_field
    from titan_sdk.jobs import TitanJob

    options = context.options
    return TitanJob(
        filename=options.file,
        is_archive=".zip/" in options.file,
        requirement=_requirement(context),
        priority=options.priority,
        args=[*read_field("args", options.args), *options.program_args],
        env=dict(options.env),
        timeout=options.timeout,
        retries=options.retries,
        retry_backoff=options.retry_backoff,
        max_attempts=options.max_attempts,
        stop_grace=options.stop_grace,
        **fields,
    )


def _requirement(context: Context) -> str | None:
    """The capability, which can be said in two ways."""
    from titan_sdk.errors import InvalidRequest

    word: str | None = getattr(context.options, "capability", None)  # update has only the flag
    flag: str | None = context.options.requirement
    if word and flag not in (None, word):
        raise InvalidRequest(f"the requirement is given twice: {word} and --requirement {flag}", field="requirement")
    return word or flag


def is_pipeline(path: str) -> bool:
    return path == STDIN or path.endswith(PIPELINE_SUFFIXES) or Path(path).is_dir()


def _refuse_pipeline(path: str) -> None:
    if is_pipeline(path):
        from titan_sdk.errors import InvalidRequest

        what = "a directory" if Path(path).is_dir() else "a pipeline"
        raise InvalidRequest(f"{path} is {what}, run takes one file; try: titan apply {path}", field="file")
