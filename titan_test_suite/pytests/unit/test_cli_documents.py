"""The `titan` commands that the documents print can be typed, and the command line's own page is complete."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from titan_sdk.cli import arguments
from titan_sdk.cli.command_table import COMMANDS
from titan_sdk.cli.exits import Exit
from titan_sdk.cli.parsing import command_parser, parser

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CLI = ROOT / "docs" / "cli.md"
ENDS = ("|", "||", "&&", ";", ">", "<", "&")


def commands_in(page: Path) -> list[list[str]]:
    """The words of each `titan …` in the shell snippets of a page."""
    snippets = re.findall(r"```(?:sh|bash|console)\n(.*?)```", page.read_text(), re.S)
    found = []
    for line in "\n".join(snippets).splitlines():
        for text in re.findall(r"(?:^|\$\(|\|\| |xargs -n 1 )(titan(?: [^)]*|$))", line):
            words = shlex.split(text, comments=True)
            end = next((at for at, word in enumerate(words) if word in ENDS), len(words))
            found.append(words[1:end])
    return found


CASES = [(page.name, words) for page in PAGES if page.exists() for words in commands_in(page)]


@pytest.mark.parametrize(("page", "words"), CASES, ids=[f"{page}: {' '.join(words)}" for page, words in CASES])
def test_it_can_be_typed(page, words):
    if words[-1:] != ["retry"]:  # xargs gives it the rest
        parser().parse_args(words)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_row_and_its_flags(name):
    text = CLI.read_text()
    row = next(
        (line for line in text.splitlines() if line.startswith("| `") and f"`{name}" in line.split(" | ")[0]), ""
    )
    assert row, f"docs/cli.md has no row for {name}"
    own = command_parser(COMMANDS[name]).flags()
    assert not [flag for flag in own if flag.startswith("--") and flag not in text]


def test_every_example_of_the_table_can_be_typed():
    for command in COMMANDS.values():
        words = shlex.split(command.example.removeprefix("titan "))
        assert parser().parse_args(words).command == command.name


def test_every_exit_code_is_told():
    told = {int(code) for code in re.findall(r"^\| (\d+) \| ", CLI.read_text(), re.M)}
    assert told == {int(code) for code in Exit}


def test_durations_are_told_as_they_are_read():
    for text in re.findall(r"`(\d+(?:ms|s|m|h|d))`", CLI.read_text()):
        assert arguments.seconds(text) > 0
