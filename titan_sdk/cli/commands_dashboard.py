"""The command for the dashboard: the program `python -m dashboard`, with what this command line says.

The SDK knows nothing of it but its flags; it is imported when it is called, as it needs more than a client does.
"""

from __future__ import annotations

import importlib
import signal
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from titan_sdk.errors import ConfigError

if TYPE_CHECKING:
    from titan_sdk.cli.context import Context

_VALUES = ("host", "port", "udp_port", "threads", "master", "token_file", "home")
"""Options that are passed on as they are; what is not given has the program's own default."""


def dashboard(context: Context) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    try:
        program = importlib.import_module("dashboard.__main__")
    except ImportError as error:
        raise ConfigError(
            f"the dashboard can not be loaded: {error}; install Titan again: pip install -e ."
        ) from None
    with _signals_given_back():
        code: int = program.main(_words(context.options))
    return code


@contextmanager
def _signals_given_back() -> Iterator[None]:
    """The program takes Ctrl-C over for the rest of its process, but the prompt goes on after it."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)


def _words(options: Namespace) -> list[str]:
    """The command line of the program."""
    given = {name: getattr(options, name) for name in _VALUES}
    words = [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value is not None]
    words += [f"--allow-host={name}" for name in options.allow_host]
    return [*words, "--read-only"] if options.read_only else words
