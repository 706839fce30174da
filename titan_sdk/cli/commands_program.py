"""The commands about the program itself: help, version, exit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from titan_sdk.cli.command_table import COMMANDS, FAMILIES
from titan_sdk.cli.exits import Exit

if TYPE_CHECKING:
    from titan_sdk.cli.context import Context

DISTRIBUTION = "titan-orchestrator"


class LeavePrompt(SystemExit):
    """Raised by `exit` and `quit`: ends the prompt; from a shell there is nothing more to leave than the program."""


def show_help(context: Context) -> int:
    from titan_sdk.cli.parsing import Family, command_parser, overview, unknown

    topic = " ".join(context.options.topic)
    if not topic:
        context.out.line(overview())
        return Exit.OK
    if topic not in COMMANDS and topic not in FAMILIES:
        context.out.warn(f"titan: {unknown(topic)}")
        return Exit.NOT_FOUND
    explained = Family(topic) if topic in FAMILIES else command_parser(COMMANDS[topic])
    for line in explained.format_help().splitlines():
        context.out.line(line)
    return Exit.OK


def version(context: Context) -> int:
    text = version_text()
    context.out.done(f"titan {text}", [text], {"version": text})
    return Exit.OK


def leave(context: Context) -> int:
    raise LeavePrompt(Exit.OK)


def version_text() -> str:
    """The version of the installed package, or of the checkout this runs from."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed(DISTRIBUTION)
    except PackageNotFoundError:
        return _checkout_version()


def _checkout_version() -> str:
    from configparser import ConfigParser
    from pathlib import Path

    setup = ConfigParser()
    setup.read(Path(__file__).resolve().parents[2] / "setup.cfg")
    return setup.get("metadata", "version", fallback="unknown")
