"""A command line, read by the command table.

Flags that hold everywhere may stand before or after the command; a command's words and options may
mix; what follows `--` is for the program that a command starts. Mistakes exit with code 2 and say
what to type for help.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from titan_sdk.cli import arguments
from titan_sdk.cli.command import Command
from titan_sdk.cli.command_table import COMMANDS, FAMILIES, GROUPS, next_words
from titan_sdk.cli.exits import Exit

WIDTH = 100
"""Columns of help texts."""


def parser() -> CommandLine:
    """The parser of whole command lines: `parser().parse_args(["ls", "--json"])`."""
    return CommandLine()


def command_parser(command: Command) -> CommandParser:
    """The parser of what follows the command's name."""
    words = CommandParser(
        prog=f"titan {command.name}",
        description=f"{command.summary[0].upper()}{command.summary[1:]}.",
        epilog=f"example: {command.example}",
    )
    command.arguments(words)
    words.usage = f"{words.prog} [FLAGS] {words.positionals()}".rstrip()
    if command.program_args:
        words.usage += " [-- ARGS …]"
    arguments.everywhere(words, argparse.SUPPRESS)
    return words


class CommandParser(argparse.ArgumentParser):
    """One command's words and flags."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_formatter, **options)

    def positionals(self) -> str:
        """`FILE [CAPABILITY]`."""
        shown = {None: "{}", "?": "[{}]", "+": "{} …", "*": "[{} …]"}
        return " ".join(shown[action.nargs].format(action.metavar) for action in self._get_positional_actions())  # type: ignore[index]

    def flags(self) -> list[str]:
        """`--wait`, `-q`, …"""
        return list(self._option_string_actions)

    def error(self, message: str) -> NoReturn:
        self.exit(Exit.USAGE, f"{self.prog}: {message}\n{self.format_usage()}try: {self._help_command()}\n")

    def _help_command(self) -> str:
        program, _, command = self.prog.partition(" ")
        return f"{program} help {command}".rstrip()


class CommandLine(CommandParser):
    """Reads the flags before the command itself, and leaves the rest to the command's own parser."""

    def __init__(self) -> None:
        super().__init__(prog="titan", usage="titan [FLAGS] [COMMAND …]")
        arguments.everywhere(self, None)
        self.add_argument(
            "--version", action="store_const", dest="command", const="version", help="print the version"
        )
        self.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Options of the command line; `command` is None when none is named."""
        options = super().parse_args(args, namespace)
        words = vars(options).pop("words")
        if not words:
            return options
        if words[0] in FAMILIES:
            return Family(words[0]).parse_args(words[1:], options)
        options.command = words[0]
        if options.command not in COMMANDS:
            self.error(unknown(options.command))
        return _parse_command(COMMANDS[options.command], words[1:], options)

    def format_help(self) -> str:
        return f"{super().format_help()}\n{overview()}\nWithout a command, the titan> prompt opens.\n"


class Family(CommandParser):
    """Reads what follows the first word of commands that have two, such as `schedule ls`."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(prog=f"titan {name}", usage=f"titan {name} [FLAGS] {{{','.join(next_words([name]))}}} …")
        arguments.everywhere(self, argparse.SUPPRESS)
        self.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Options of the command line, with the `command` that the first of `args` completes."""
        options = super().parse_args(args, namespace)
        words = vars(options).pop("words")
        if not words:
            self.error(f"say which: {', '.join(next_words([self.name]))}")
        options.command = f"{self.name} {words[0]}"
        if options.command not in COMMANDS:
            self.error(unknown(options.command))
        return _parse_command(COMMANDS[options.command], words[1:], options)

    def format_help(self) -> str:
        rows = [row for row in COMMANDS.values() if row.name.startswith(f"{self.name} ")]
        lines = [*_summaries(rows), "", f"titan help {self.name} COMMAND explains one."]
        return f"{super().format_help()}\n" + "\n".join(lines) + "\n"


def _parse_command(command: Command, words: list[str], options: argparse.Namespace) -> argparse.Namespace:
    program_args: list[str] = []
    if command.program_args and "--" in words:
        cut = words.index("--")
        words, program_args = words[:cut], words[cut + 1 :]
    options = command_parser(command).parse_intermixed_args(words, options)
    options.program_args = program_args
    return options


def unknown(name: str) -> str:
    """What to say of a command that does not exist."""
    import difflib

    from titan_sdk.cli.text import clean

    near = difflib.get_close_matches(name, (*COMMANDS, *FAMILIES), 1, 0.5)
    return f"there is no command '{clean(name)}'" + (f"; did you mean '{near[0]}'?" if near else "")


def overview() -> str:
    """Every command with its summary, by group."""
    lines = []
    for group in GROUPS:
        rows = [row for row in COMMANDS.values() if row.group == group]
        lines += [f"{group}:", *_summaries(rows), ""]
    return "\n".join([*lines, "titan help COMMAND explains one."])


def _summaries(rows: Sequence[Command]) -> list[str]:
    room = max(10, *(len(row.name) + 2 for row in rows))
    return [f"  {row.name:<{room}}{row.summary}" for row in rows]


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, max_help_position=32, width=WIDTH)
