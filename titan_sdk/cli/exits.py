"""Exit codes: the fixed set, and which one an error or a finished job stands for.

Knows no commands and prints nothing. Error classes are imported on first use: a command that
succeeds never needs them.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from titan_core.protocol.messages import JobStatus, RunStatus


class Exit(IntEnum):
    OK = 0
    ERROR = 1
    USAGE = 2
    REJECTED = 3
    """Refused, or it can not be placed."""
    NOT_FOUND = 4
    NOT_AUTHORISED = 5
    TIMED_OUT = 6
    """The waiting timed out; the job goes on."""
    CANCELLED = 7
    INTERRUPTED = 130
    """Ctrl-C: 128 + SIGINT."""
    OUTPUT_CLOSED = 141
    """Nobody reads the output any more: 128 + SIGPIPE."""


def code_for_error(error: BaseException) -> int:
    """The exit code of an exception that ended a command."""
    if isinstance(error, KeyboardInterrupt):
        return Exit.INTERRUPTED
    return next((code for kind, code in _table() if isinstance(error, kind)), Exit.ERROR)


def code_for_run(status: RunStatus) -> int:
    """The exit code of a run that is over."""
    return {"COMPLETED": Exit.OK, "CANCELLED": Exit.CANCELLED}.get(status.state, Exit.ERROR)


def code_for_job(status: JobStatus) -> int:
    """The exit code of a job that is over, or of a service that is up."""
    if status.service and not status.final:
        return Exit.OK
    return {"COMPLETED": Exit.OK, "CANCELLED": Exit.CANCELLED}.get(status.state, Exit.ERROR)


def own_code(status: JobStatus) -> int:
    """The job's own exit code (128 + signal when a signal ended it), where it has one."""
    if status.state == "DEAD" and status.exit_code > 0:
        return status.exit_code
    return code_for_job(status)


def _table() -> list[tuple[type[BaseException], Exit]]:
    """First match wins, so that a class stands before its parent."""
    from titan_sdk import errors

    return [
        (errors.NotAuthorised, Exit.NOT_AUTHORISED),
        (errors.WaitTimedOut, Exit.TIMED_OUT),
        (errors.NotFound, Exit.NOT_FOUND),
        (FileNotFoundError, Exit.NOT_FOUND),
        (errors.InternalError, Exit.ERROR),
        (errors.RequestRefused, Exit.REJECTED),
        (errors.PipelineError, Exit.REJECTED),
        (errors.ArchiveRefused, Exit.REJECTED),
        (errors.ConfigError, Exit.USAGE),
    ]
