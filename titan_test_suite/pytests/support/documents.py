"""The documentation as data: its fenced blocks and what is to be done with them, its tables, links and command lines.

A comment on the line before a block says what the block is; a reader of the rendered page does not see it:

    <!-- save: PATH -->     the content of this file
    <!-- run -->            sh or python, to be run; `run: 3` expects exit code 3
    <!-- output -->         what the run before has printed, with other ids, times and addresses
    <!-- start: NAME -->    the command of a process that goes on
    <!-- load: PATH -->     without a block: the pipeline there can be read
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[3]
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(ROOT.glob("*/README.md")),
    *sorted((ROOT / "titan_test_suite").rglob("*.md")),
]

_STEP = re.compile(
    r"^<!-- (?P<kind>save|run|output|start|load)(?:: (?P<argument>\S+))? -->\n"
    r"(?:```(?P<language>\w*)\n(?P<text>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_CELLS = re.compile(r"(?<!\\)\|")
_OPERATORS = frozenset("|&;<>()")


class Step(NamedTuple):
    """A block that is more than something to look at."""

    kind: str
    argument: str
    language: str
    text: str
    line: int


def steps(document: Path) -> list[Step]:
    """The marked blocks of a page, in order."""
    text = document.read_text()
    return [
        Step(
            found["kind"],
            found["argument"] or "",
            found["language"] or "",
            found["text"] or "",
            text.count("\n", 0, found.start()) + 1,
        )
        for found in _STEP.finditer(text)
    ]


def prose(document: Path) -> str:
    """The page without its blocks."""
    return _FENCE.sub("", document.read_text())


def code_spans(document: Path) -> list[str]:
    """What stands between backticks, outside of blocks."""
    return [span.replace("\\|", "|") for span in _CODE.findall(prose(document))]


def links(document: Path) -> list[str]:
    """Where the page's links lead, as they are written."""
    return _LINK.findall(_CODE.sub("", prose(document)))


def anchors(document: Path) -> set[str]:
    """The names under which the headings of a page can be linked to."""
    return {slug(heading) for heading in _HEADING.findall(prose(document))}


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def section(document: Path, heading: str) -> str:
    """The text below a heading, up to the next heading of any level."""
    begins = [found for found in _HEADING.finditer(prose(document)) if found[1] == heading]
    assert len(begins) == 1, f"{document.name} has {len(begins)} headings {heading!r}"
    rest = prose(document)[begins[0].end() :]
    after = _HEADING.search(rest)
    return rest[: after.start()] if after else rest


def tables(document: Path, heading: str) -> list[list[list[str]]]:
    """The tables of a section: rows of cells, without the heading row."""
    found: list[list[list[str]]] = []
    for block in re.split(r"\n\s*\n", section(document, heading)):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        if lines:
            found.append([_cells(line) for line in lines[2:]])
    return found


def names_in(cell: str) -> list[str]:
    """The words in backticks of a cell."""
    return _CODE.findall(cell)


def shell_lines(document: Path) -> list[str]:
    """The lines of the blocks of shell."""
    shell = [text for language, text in _FENCE.findall(document.read_text()) if language == "sh"]
    return [line for text in shell for line in text.replace("\\\n", " ").splitlines()]


def command_lines(lines: Iterable[str], program: str) -> Iterator[list[str]]:
    """The words after `program` wherever it is called in these lines."""
    called = program.split()
    for line in lines:
        for words in _commands(line):
            if words[: len(called)] == called:
                yield words[len(called) :]


def _cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in _CELLS.split(line.strip().strip("|"))]


def _commands(line: str) -> Iterator[list[str]]:
    """The commands of a shell line: without variables before them, redirections and comments."""
    try:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        tokens = list(lexer)
    except ValueError:  # a line of a quoted text that goes over several lines
        return
    words: list[str] = []
    for token in [*tokens, ";"]:
        if not set(token) <= _OPERATORS:
            words.append(token)
            continue
        while words and re.match(r"[A-Z_]+=", words[0]):
            del words[0]
        if words:
            yield words
        words = []
