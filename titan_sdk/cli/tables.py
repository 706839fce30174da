"""Tables: aligned columns for pipes, the same table drawn with rich on a terminal.

A column says what it is called and what it shows of an item. Cells are data: nothing in them is
markup, and nothing in them can move the cursor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from titan_sdk.cli.states import STATE_STYLES
from titan_sdk.cli.text import clean, width

if TYPE_CHECKING:
    from rich.table import Table

    from titan_sdk.cli.output import Output

T = TypeVar("T")

_GAP = 2
"""Spaces between two columns."""
_FOLDED = 16
"""Columns in which free text can still be read."""


@dataclass(frozen=True)
class Column(Generic[T]):
    title: str
    cell: Callable[[T], str]
    right: bool = False
    state: bool = False
    """Its cells are states, and are coloured as such."""
    fold: bool = False
    """Free text, which may take several lines where there is no room."""
    minor: bool = False
    """Left out where there is no room for all: better than cutting off names."""


def show(out: Output, items: Sequence[T], columns: Sequence[Column[T]]) -> None:
    """Write the table to stdout."""
    if out.pretty:
        out.console.print(drawn(items, columns, out.console.width))
        return
    for line in plain_lines(items, columns):
        out.line(line)


def plain_lines(items: Iterable[T], columns: Sequence[Column[T]]) -> list[str]:
    """Heading and rows, columns two spaces apart, no space at the end of a line."""
    rows = [[column.title for column in columns], *_cells(items, columns)]
    widths = [max(width(row[index]) for row in rows) for index in range(len(columns))]
    return ["  ".join(map(_padded, row, widths, columns)).rstrip() for row in rows]


def drawn(items: Sequence[T], columns: Sequence[Column[T]], room: int) -> Table:
    """The table for a rich console that is `room` columns wide."""
    from rich.table import Table
    from rich.text import Text

    columns = fitting(items, columns, room)
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, _GAP, 0, 0))
    for column in columns:
        justify = "right" if column.right else "left"
        overflow = "fold" if column.fold else "ellipsis"  # what is cut must look cut
        table.add_column(column.title, justify=justify, no_wrap=not column.fold, overflow=overflow)  # type: ignore[arg-type]
    for row in _cells(items, columns):
        table.add_row(*(Text(cell, _style(cell, column)) for cell, column in zip(row, columns, strict=True)))
    return table


def fitting(items: Sequence[T], columns: Sequence[Column[T]], room: int) -> list[Column[T]]:
    """The columns without as many of the minor ones, the last first, as it takes for the table to fit."""
    rows = _cells(items, columns)
    needs = {column: _needed(column, [row[index] for row in rows]) for index, column in enumerate(columns)}
    for column in [column for column in reversed(columns) if column.minor]:
        if sum(needs.values()) + _GAP * (len(needs) - 1) > room:
            del needs[column]
    return list(needs)


def _needed(column: Column[T], cells: Sequence[str]) -> int:
    widest = max(map(width, (column.title, *cells)))
    return min(widest, _FOLDED) if column.fold else widest


def _cells(items: Iterable[T], columns: Sequence[Column[T]]) -> list[list[str]]:
    return [[clean(column.cell(item)) for column in columns] for item in items]


def _padded(cell: str, columns_wide: int, column: Column[T]) -> str:
    space = " " * (columns_wide - width(cell))
    return space + cell if column.right else cell + space


def _style(cell: str, column: Column[T]) -> str:
    return STATE_STYLES.get(cell, "dim") if column.state else ""
