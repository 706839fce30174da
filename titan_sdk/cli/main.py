"""From a command line to an exit code: parse it, carry it out, and say in one sentence what went wrong.

The last line of defence: no exception passes `execute`, so that no user meets a traceback.
TITAN_DEBUG=1 prints it all the same.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from titan_sdk.cli.command_table import COMMANDS, handler
from titan_sdk.cli.context import Connection, Context, output_for
from titan_sdk.cli.exits import Exit, code_for_error
from titan_sdk.cli.parsing import parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `titan` with these arguments (default: the program's own); its exit code."""
    _prepare_streams()
    try:
        options = parser().parse_args(argv)
        connection = Connection(options)
        try:
            return execute(Context(options, output_for(options), connection))
        finally:
            connection.close()
    except BrokenPipeError:
        return _output_closed()
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def execute(context: Context) -> int:
    """Carry out one parsed command, or the prompt; errors are told on stderr and become the exit code."""
    context.connection.out = context.out
    try:
        code = _function(context.options.command)(context)
        context.out.stdout.flush()
        return code
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        context.connection.close()
        context.out.warn("interrupted")
        return Exit.INTERRUPTED
    except Exception as error:
        _debug()
        context.out.error(error, explain(error))
        return code_for_error(error)


def explain(error: Exception) -> str:
    """What an exception says to a user, in one sentence."""
    from titan_sdk.cli.text import shortened
    from titan_sdk.errors import TitanError

    if isinstance(error, TitanError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{shortened(str(error.filename))}: {error.strerror}" if error.filename else error.strerror
    return f"a defect in titan: {type(error).__name__}: {error} (TITAN_DEBUG=1 shows where)"


def _function(command: str | None) -> Callable[[Context], int]:
    if command:
        return handler(COMMANDS[command])
    from titan_sdk.cli.prompt import open_prompt

    return open_prompt


def _prepare_streams() -> None:
    """Show what an encoding lacks as an escape; a stream that was closed is empty, or swallows its words."""
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _output_closed() -> int:
    """The reader of stdout left; the interpreter's last flush must not find that out once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    return Exit.OUTPUT_CLOSED


def _debug() -> None:
    if os.environ.get("TITAN_DEBUG"):
        import traceback

        traceback.print_exc()
