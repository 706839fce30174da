"""The documentation against the tree: links lead somewhere, files and functions exist, commands are understood."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from titan_core.master.__main__ import parser as master_parser
from titan_sdk.cli.command_table import COMMANDS
from titan_sdk.cli.parsing import command_parser, parser
from titan_test_suite.pytests.support.documents import (
    DOCUMENTS,
    ROOT,
    anchors,
    code_spans,
    command_lines,
    links,
    names_in,
    prose,
    shell_lines,
)

JOURNEY = ROOT / "docs" / "journey.md"
_PATH = re.compile(r"(?:titan_core|titan_sdk|titan_test_suite|docs)/[\w/.]*")

pages = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


@pages
def test_links_lead_somewhere(document: Path) -> None:
    broken = [link for link in links(document) if not _leads_somewhere(document, link)]
    assert not broken


@pages
def test_files_that_are_named_exist(document: Path) -> None:
    named = {span for span in code_spans(document) if _PATH.fullmatch(span)}
    assert not {name for name in named if not (ROOT / name).exists()}


@pages
def test_command_lines_are_understood(document: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in command_lines(shell_lines(document), "titan"):
        _parse(parser(), words, capsys)
    for words in command_lines(shell_lines(document), "python -m titan_core.master"):
        _parse(master_parser(), words, capsys)


@pages
def test_commands_that_sentences_name_are_understood(document: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in command_lines(code_spans(document), "titan"):
        if words and words[0] in COMMANDS and all(word.startswith("-") for word in words[1:]):
            assert {*words[1:]} <= {*command_parser(COMMANDS[words[0]]).flags()}, words
        else:
            _parse(parser(), words, capsys)


def test_every_step_of_the_journey_is_a_function_of_its_file() -> None:
    steps = [(row[0][0], row[1][0]) for row in _journey()]
    assert len(steps) > 50
    assert not [(file, name) for file, name in steps if name not in functions(ROOT / file)]


def functions(path: Path) -> set[str]:
    """The functions of a file, and the methods of its classes as `Class.method`."""
    return set(_functions(ast.parse(path.read_text()), ""))


def _functions(parent: ast.AST, prefix: str) -> Iterator[str]:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.FunctionDef):
            yield prefix + node.name
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{prefix}{node.name}.")


def _journey() -> Iterator[tuple[list[str], list[str]]]:
    """File and function of every row of the page, and of the sentences that name both."""
    for line in prose(JOURNEY).splitlines():
        cells = line.strip("|").split("|")
        if line.startswith("| `titan"):
            yield names_in(cells[0]), names_in(cells[1])
    for file, function in re.findall(r"`(titan_\w+/[\w/]+\.py)`,\s+`([\w.]+)`", prose(JOURNEY)):
        yield [file], [function]


def _leads_somewhere(document: Path, link: str) -> bool:
    if re.match(r"[a-z]+:", link):
        return link.startswith("https://")
    path, _, anchor = link.partition("#")
    target = (document.parent / path).resolve() if path else document
    return target.exists() and (not anchor or anchor in anchors(target))


def _parse(command: object, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        command.parse_args(words)  # type: ignore[attr-defined]
    except SystemExit as exit:
        assert not exit.code, f"{words}: {capsys.readouterr().err}"
