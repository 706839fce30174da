"""The `titan>` prompt: the same commands as in a shell, over one connection.

On a terminal there are a banner, history and completion; errors do not end it, Ctrl-C drops the line,
Ctrl-D leaves. From a pipe it carries out line by line, and its exit code is that of the last command.
"""

from __future__ import annotations

import contextlib
import shlex
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from copy import copy
from pathlib import Path

from titan_core.errors import ConfigError
from titan_sdk.cli.command_table import next_words
from titan_sdk.cli.commands_program import LeavePrompt, version_text
from titan_sdk.cli.context import Connection, Context, output_for
from titan_sdk.cli.exits import Exit
from titan_sdk.cli.main import execute
from titan_sdk.cli.output import Output
from titan_sdk.cli.parsing import parser, unknown

PROMPT = "titan> "
BANNER = r"""
  _____ ___ _____ _   _  _
 |_   _|_ _|_   _/_\ | \| |   Titan {version}, system monitor
   | |  | |  | |/ _ \| .` |   master {master}
   |_| |___| |_/_/ \_\_|\_|

 help lists the commands, help COMMAND explains one, exit leaves.
"""


def open_prompt(context: Context) -> int:
    """Carry out what is typed, or read from a pipe, until there is no more; the exit code."""
    prompt = Prompt(context.options, context.connection)
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    return prompt.converse() if interactive else prompt.carry_out_all(sys.stdin)


class Prompt:
    """Carries out lines. `options` are the flags `titan` was started with; they hold for every line."""

    def __init__(self, options: Namespace, connection: Connection) -> None:
        self._options = options
        self._connection = connection
        self._out: Output = output_for(options)

    def converse(self) -> int:
        """Serve a person at a terminal, who leaves with exit code 0."""
        from titan_sdk.cli.completion import Completer
        from titan_sdk.cli.history import History

        with History(self._home(), Completer(self._connection)), contextlib.suppress(LeavePrompt):
            self._out.stdout.write(BANNER.format(version=version_text(), master=self._master()))
            for line in self._typed():
                with contextlib.suppress(KeyboardInterrupt):
                    self.carry_out(line)
        return Exit.OK

    def carry_out_all(self, lines: Iterable[str]) -> int:
        """Carry out the lines of a script; the exit code of the last one that was."""
        code: int = Exit.OK
        with contextlib.suppress(LeavePrompt):
            for line in lines:
                code = self.carry_out(line)
                if code == Exit.INTERRUPTED:
                    break
        return code

    def carry_out(self, line: str) -> int:
        """One line; its exit code. Raises LeavePrompt."""
        try:
            words = shlex.split(line, comments=False)
        except ValueError as error:
            return self._refuse(f"the line can not be read: {str(error).lower()}")
        words = words[1:] if words[:1] == ["titan"] else words
        if not words or words[0].startswith("#"):
            return Exit.OK
        if words[0] not in next_words([]) and not words[0].startswith("-"):
            return self._refuse(unknown(words[0]))
        return self._execute(words)

    def _execute(self, words: list[str]) -> int:
        try:
            options = parser().parse_args(words, copy(self._options))
        except SystemExit as usage:
            return usage.code if isinstance(usage.code, int) else Exit.USAGE
        if not options.command:
            return self._refuse("name a command; help lists them")
        if self._connection.serves(options):
            return execute(Context(options, output_for(options), self._connection))
        other = Connection(options)
        try:
            return execute(Context(options, output_for(options), other))
        finally:
            other.close()

    def _refuse(self, text: str) -> int:
        self._out.warn(f"titan: {text}")
        return Exit.USAGE

    # ── on a terminal ─────────────────────────────────────────────────────────────────────────────

    def _typed(self) -> Iterator[str]:
        while True:
            try:
                yield input(PROMPT)
            except KeyboardInterrupt:
                self._out.line()
            except EOFError:
                self._out.line()
                return

    def _home(self) -> Path:
        from titan_core.net.credentials import home_directory

        return Path(self._options.home) if self._options.home else home_directory()

    def _master(self) -> str:
        from titan_core.net.credentials import find_master

        try:
            host, port = find_master(self._options.master, self._home())
        except ConfigError as error:
            return f"unknown: {error}"
        return f"{host}:{port}"
