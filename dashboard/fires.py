"""Past and coming fires of one schedule: the ledger page by page, and the words for both.

Knows neither HTTP nor HTML; any thread.
"""

from __future__ import annotations

from dataclasses import dataclass

from titan_core.protocol.messages import FireStatus, ScheduleStatus, Timing
from titan_core.timetable import Upcoming
from titan_sdk import TitanClient
from titan_sdk.cli.schedule_rows import slot
from titan_sdk.errors import InvalidRequest
from titan_sdk.schedules import next_fires

PAGE = 50
"""Lines of the ledger at a time."""
COMING = 5
"""Slots that are shown."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """One page of it, newest first."""

    fires: tuple[FireStatus, ...] = ()
    next_before: int = 0
    """Where the next page begins: only slots before this instant; 0 = there is none."""


def read_ledger(client: TitanClient, name: str, outcome: str = "", before_wall: float = 0.0) -> Ledger:
    """Raises NotFound for a schedule that never was."""
    found = client.schedule_history(name, PAGE + 1, before_wall or None, outcome)
    if len(found) <= PAGE:
        return Ledger(found)
    # A slot may have several lines: the next page begins with all of the one at which this page was cut.
    return Ledger(found[:PAGE], int(found[PAGE].slot_wall) + 1)


def coming(timing: Timing) -> tuple[list[Upcoming], str]:
    """The next slots, and why they can not be told: its time zone may not be known on this machine."""
    try:
        return next_fires(timing, COMING), ""
    except InvalidRequest as error:
        return [], str(error)


def due(fire: FireStatus, zone: str) -> str:
    """`2026-11-26 02:00 CET (01:00 UTC)`; of a span `from … to …`."""
    if not fire.until_wall:
        return slot(fire.slot_wall, zone)
    return f"from {slot(fire.slot_wall, zone)} to {slot(fire.until_wall, zone)}"


def kind(fire: FireStatus) -> str:
    """How it came about; empty for one that came in its time."""
    words = {"trigger": "by hand", "span": "several in one line"}
    return words.get(fire.kind, "made up for" if fire.made_up else "")


def why(schedule: ScheduleStatus) -> str:
    """Why it is in its state; empty: that says it all."""
    if schedule.reason or schedule.state != "FINISHED":
        return schedule.reason
    timing = schedule.timing
    if timing.at:
        return "its time has passed"
    return f"its end, {timing.end}, has passed" if timing.end else "it is never due again"
