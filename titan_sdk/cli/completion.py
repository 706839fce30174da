"""What TAB offers at the prompt: commands, flags, files, and the names the master knows at this moment.

A master that does not answer offers nothing. Its names are asked for again after a moment only, since
readline asks once per offer.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable
from pathlib import Path

from titan_sdk.cli.command_table import named_by, next_words
from titan_sdk.cli.context import Connection
from titan_sdk.cli.parsing import command_parser

FRESH_S = 2.0
RUNS_OFFERED = 50


class Completer:
    """A readline completer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[str, tuple[float, list[str]]] = {}
        self._offers: list[str] = []

    def __call__(self, text: str, number: int) -> str | None:
        """Offer number `number` for the word that begins with `text`; None after the last."""
        if number == 0:
            import readline

            self._offers = self.offers(readline.get_line_buffer()[: readline.get_begidx()], text)
        return self._offers[number] if number < len(self._offers) else None

    def offers(self, before: str, text: str) -> list[str]:
        """What the word `text` may become, after the line `before`; each ends in what follows it."""
        try:
            words = shlex.split(before)
        except ValueError:
            return []
        command = named_by(words)
        if command is None:
            return _beginning(next_words(words), text)
        if text.startswith("-"):
            return _beginning(command_parser(command).flags(), text)
        if command.completes == "files":
            return _files(text)
        if command.completes == "commands":
            return _beginning(next_words(words[1:]), text)
        return _beginning(self._names(command.completes, text), text)

    def _names(self, kind: str, text: str) -> list[str]:
        run = text.partition("/")[0] if "/" in text else ""
        question = f"{kind}/{run}"
        asked_at, names = self._known.get(question, (-FRESH_S, []))
        if time.monotonic() - asked_at >= FRESH_S:
            names = self._ask(kind, run)
            self._known[question] = time.monotonic(), names
        return names

    def _ask(self, kind: str, run: str) -> list[str]:
        from titan_sdk.errors import TitanError

        try:
            return self._ask_master(kind, run)
        except TitanError:
            return []

    def _ask_master(self, kind: str, run: str) -> list[str]:
        if not kind:
            return []
        client = self._connection.client
        if kind == "workers":
            return [worker.worker_id for worker in client.workers()]
        if kind == "schedules":
            return [schedule.name for schedule in client.schedules()]
        if kind == "assets":
            return [asset.name for asset in client.assets()]
        if kind == "services":
            services = client.services(run)
            return [f"{item.run_id}/{item.job_id}" if run else item.job_id for item in services]
        if run and kind != "runs":
            return [f"{job.run_id}/{job.job_id}" for job in client.run(run).jobs]
        runs = [handle.run_id for handle in client.runs(limit=RUNS_OFFERED)]
        jobs = [] if kind == "runs" else [job.job_id for job in client.jobs().jobs]
        return ["last", *dict.fromkeys([*jobs, *runs])]


def _beginning(names: Iterable[str], text: str) -> list[str]:
    return [name + " " for name in names if name.startswith(text)]


def _files(text: str) -> list[str]:
    directory, _, beginning = text.rpartition("/")
    folder = Path(directory + "/" if "/" in text else ".").expanduser()
    found = sorted(path for path in _entries(folder) if path.name.startswith(beginning))
    prefix = text[: len(text) - len(beginning)]
    return [prefix + path.name + ("/" if path.is_dir() else " ") for path in found]


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
