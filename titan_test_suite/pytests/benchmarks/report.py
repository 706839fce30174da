"""Figures for people, as a table, and for programs, as JSON."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.table import Table

from titan_test_suite.pytests.benchmarks.figures import Figure, Plan, Wanted

HEADINGS = ("figure", "median", "unit", "wanted", "beside it (ratio)")
MARKS = {True: "✓", False: "✗", None: "–"}
"""Of what is wanted: it holds, it does not, it can not be said because the peer is not installed."""
Section = tuple[str, Sequence[Figure]]
"""The name of a measurement, and its figures."""


def print_table(sections: Iterable[Section], out: TextIO) -> None:
    rows = [(name, list(map(_row, figures))) for name, figures in sections]
    if out.isatty():
        Console(file=out).print(_rich_table(rows))
    else:
        out.write(_plain_table(rows))


def write_json(sections: Iterable[Section], plan: Plan, files: str, path: Path) -> None:
    """`files` says where the measured clusters kept theirs."""
    document = {
        "measured": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "python": sys.version.split()[0]},
        "files": files,
        "rounds": plan.rounds,
        "quick": plan.quick,
        "figures": [_as_json(name, figure) for name, figures in sections for figure in figures],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def _as_json(section: str, figure: Figure) -> dict[str, object]:
    return {
        "measurement": section,
        "name": figure.name.strip(),
        "unit": figure.unit,
        "median": figure.value,
        "samples": list(figure.samples),
        "wanted": [{"text": str(wanted), "holds": wanted.holds(figure)} for wanted in figure.wanted],
        "beside": {
            peer: {"median": figure.peer_value(peer), "ratio": figure.ratio(peer), "samples": list(samples)}
            for peer, samples in figure.beside.items()
        },
        "absent": list(figure.absent),
    }


# ── the table ─────────────────────────────────────────────────────────────────────────────────────


def _row(figure: Figure) -> tuple[str, ...]:
    measured = [f"{peer} {_number(figure.peer_value(peer))} ({figure.ratio(peer):.2f} ×)" for peer in figure.beside]
    beside = ", ".join([*measured, *(f"without {peer}" for peer in figure.absent)])
    wanted = ", ".join(_wanted(figure, wanted) for wanted in figure.wanted)
    return figure.name, _number(figure.value), figure.unit, wanted, beside


def _wanted(figure: Figure, wanted: Wanted) -> str:
    return f"{wanted} {MARKS[wanted.holds(figure)]}"


def _number(value: float) -> str:
    """Three digits that say something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _rich_table(rows: list[tuple[str, list[tuple[str, ...]]]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for number, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="right" if number == 1 else "left")
    for name, figures in rows:
        table.add_row(f"[bold]{name}[/bold]")
        for row in figures:
            table.add_row(*row)
    return table


def _plain_table(rows: list[tuple[str, list[tuple[str, ...]]]]) -> str:
    every = [HEADINGS, *(row for _, figures in rows for row in figures)]
    widths = [max(len(row[column]) for row in every) for column in range(len(HEADINGS))]
    lines = [_line(HEADINGS, widths)]
    for name, figures in rows:
        lines += ["", name, *(_line(row, widths) for row in figures)]
    return "\n".join(lines) + "\n"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.rjust(width) if n == 1 else cell.ljust(width)
        for n, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()
