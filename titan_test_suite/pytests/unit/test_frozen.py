"""Dataclasses whose fields the type checker guards."""

from __future__ import annotations

from titan_core.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Thing:
    name: str


def test_equal_ones_have_equal_hashes() -> None:
    assert Point(1) == Point(1, 0) != Point(2)
    assert len({Point(1), Point(1, 0), Point(2)}) == 2


def test_those_without_eq_are_what_they_are() -> None:
    assert len({Thing("a"), Thing("a")}) == 2


def test_the_type_checker_lets_nobody_assign() -> None:
    point = Point(1)
    point.x = 2  # type: ignore[misc]  # were it not refused, lint would call this comment needless
    assert point == Point(2)
