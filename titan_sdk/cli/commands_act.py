"""The commands that change what runs: cancel, retry, stop, shutdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from titan_sdk.cli.exits import Exit

if TYPE_CHECKING:
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
    key = context.options.key
    context.out.done(context.client.retry(key), [key])
    return Exit.OK


def stop(context: Context) -> int:
    key = context.options.key
    context.out.done(context.client.stop_service(key), [key])
    return Exit.OK


def shutdown(context: Context) -> int:
    """Stop a worker, named as HOST PORT, HOST:PORT, or by its port alone."""
    options = context.options
    worker = f"{options.host}:{options.port}" if options.port else options.host
    context.out.done(context.client.shutdown_worker(worker, force=options.force), [worker])
    return Exit.OK
