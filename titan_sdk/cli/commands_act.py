"""The commands that change what runs: cancel, retry, drain, shutdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from titan_sdk.cli.exits import Exit
from titan_sdk.cli.rows import some
from titan_sdk.cli.text import plural

if TYPE_CHECKING:
    from titan_core.protocol.messages import Ack, WorkerStatus
    from titan_sdk.cli.context import Context


def cancel(context: Context) -> int:
    """Cancel a job or a run; prints what is cancelled because of it."""
    out = context.out
    answer = context.client.cancel(context.options.key, reason=context.options.reason)
    out.done(answer.text, answer.keys, answer)
    if not (out.json or out.quiet) and len(answer.keys) > 1:
        for key in answer.keys:
            out.say(f"  {key}")
    return Exit.OK


def retry(context: Context) -> int:
    """Run a job, those of a run, or every DEAD one again; prints which."""
    from titan_sdk.errors import ConfigError

    key, all_dead = context.options.key, context.options.all_dead
    if bool(key) == all_dead:
        raise ConfigError("name a job or a run to retry, or say --all-dead for every DEAD job there is")
    return done(context, context.client.retry_dead() if all_dead else context.client.retry(key))


def shutdown(context: Context) -> int:
    """Stop a worker, named as HOST PORT, HOST:PORT, or by its port alone."""
    options = context.options
    worker = f"{options.host}:{options.port}" if options.port else options.host
    return done(context, context.client.shutdown_worker(worker, force=options.force, now=options.now))


def drain(context: Context) -> int:
    """Give a worker no more jobs, or jobs again; with --wait, show what still runs there until nothing does."""
    options = context.options
    answer = context.client.drain_worker(options.worker, undo=options.undo)
    if not options.wait or options.undo:
        return done(context, answer)
    context.out.say(answer.text)
    (worker_id,) = answer.keys
    try:
        last = _watch_drain(context, worker_id)
    except KeyboardInterrupt:
        context.connection.close()
        context.out.warn(f"{worker_id} stays drained; give it jobs again with: titan drain {worker_id} --undo")
        return Exit.INTERRUPTED
    context.out.done(_idle_sentence(worker_id, last), [worker_id])
    return Exit.OK


def _watch_drain(context: Context, worker_id: str) -> WorkerStatus | None:
    """The last that was seen of the worker; None when it was gone already."""
    last = None
    for last in context.client.watch_worker(worker_id, context.options.timeout):
        if last.jobs:
            context.out.say(f"{plural(len(last.jobs), 'job')} still running there: {some(last.jobs)}")
    return last


def _idle_sentence(worker_id: str, last: WorkerStatus | None) -> str:
    if last is None or last.used:
        return f"worker {worker_id} is gone"
    services = f"; {plural(len(last.services), 'service')} still up: {some(last.services)}" if last.services else ""
    return f"no job runs on worker {worker_id}{services}"


def done(context: Context, answer: Ack) -> int:
    """Tell what the master answered, and what it concerned."""
    context.out.done(answer.text, answer.keys, {"message": answer.text, "keys": answer.keys})
    return Exit.OK
