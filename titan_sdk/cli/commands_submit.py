"""The commands that start things: apply, run, deploy, dag, submit.

The key of what was accepted goes to stdout, so that a script can keep it; everything else is talk.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from titan_sdk.cli.exits import Exit

if TYPE_CHECKING:
    from titan_sdk.cli.context import Context
    from titan_sdk.handles import JobHandle, RunHandle
    from titan_sdk.jobs import TitanJob

PIPELINE_SUFFIXES = (".yaml", ".yml")


def apply(context: Context) -> int:
    """Submit a pipeline, and follow it to its end with `--wait`."""
    return _apply(context, context.options.path, wait=context.options.wait)


def run(context: Context) -> int:
    """Run one file; `--wait` shows its log and exits with its code."""
    _refuse_pipeline(context.options.file)
    handle = context.client.submit_job(_job(context, "run"))
    if context.options.wait:
        from titan_sdk.cli.commands_wait import follow_job

        return follow_job(context, handle.key)
    return _accepted_job(context, handle)


def deploy(context: Context) -> int:
    """Keep a file running as a service; apply a pipeline."""
    options = context.options
    if _is_pipeline(options.file):
        return _apply(context, options.file, wait=False)
    return _accepted_job(context, context.client.submit_job(_job(context, "service", port=options.port)))


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


def _apply(context: Context, path: str, wait: bool) -> int:
    handle = context.client.apply(path)
    if not wait:
        return _accepted_run(context, handle)
    from titan_sdk.cli.commands_wait import follow_run

    if not context.out.json:
        context.out.line(handle.run_id)
        context.out.stdout.flush()
    return follow_run(context, handle.run_id)


def _accepted_run(context: Context, handle: RunHandle) -> int:
    context.out.done(handle.run_id, [handle.run_id], {"run_id": handle.run_id})
    context.out.say(f"accepted; follow it with: titan wait {handle.run_id}")
    return Exit.OK


def _accepted_job(context: Context, handle: JobHandle) -> int:
    record = {"run_id": handle.run_id, "job_id": handle.job_id, "key": handle.key}
    context.out.done(handle.key, [handle.key], record)
    context.out.say(f"accepted; follow it with: titan logs -f {handle.key}")
    return Exit.OK


def _job(context: Context, kind: str, port: int | None = None) -> TitanJob:
    from titan_sdk.errors import InvalidRequest
    from titan_sdk.fields import read_field
    from titan_sdk.jobs import TitanJob

    options = context.options
    if options.capability and options.requirement not in (None, options.capability):
        raise InvalidRequest(
            f"the requirement is given twice: {options.capability} and --requirement {options.requirement}",
            field="requirement",
        )
    return TitanJob(
        job_id=options.name,
        filename=options.file,
        is_archive=".zip/" in options.file,
        type=kind,
        port=port,
        requirement=options.capability or options.requirement,
        priority=options.priority,
        delay=f"{options.delay:f}s",
        args=[*read_field("args", options.args), *options.program_args],
        env=dict(options.env),
        timeout=options.timeout,
        retries=options.retries,
        retry_backoff=options.retry_backoff,
        max_attempts=options.max_attempts,
        stop_grace=options.stop_grace,
    )


def _is_pipeline(path: str) -> bool:
    return path.endswith(PIPELINE_SUFFIXES) or Path(path).is_dir()


def _refuse_pipeline(path: str) -> None:
    if _is_pipeline(path):
        from titan_sdk.errors import InvalidRequest

        what = "a directory" if Path(path).is_dir() else "a pipeline"
        raise InvalidRequest(f"{path} is {what}, run takes one file; try: titan apply {path}", field="file")
