"""Instants of the wall clock as text, in UTC: unix seconds in, text out. Pure; looks at no clock."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_text(wall: float) -> str:
    """ISO 8601 to the second: `2026-11-25T02:00:00Z`."""
    return f"{datetime.fromtimestamp(int(wall), UTC):%Y-%m-%dT%H:%M:%SZ}"


def stamp(wall: float) -> str:
    """As it stands in run ids: `20261125T020000`."""
    return f"{datetime.fromtimestamp(int(wall), UTC):%Y%m%dT%H%M%S}"
