"""Fires of schedules that came to nothing in the last day: read again only for a schedule with a new last line.

Used by the one thread of `cluster`; knows no pages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from titan_core.protocol.messages import FireStatus, ScheduleStatus
from titan_sdk import TitanClient
from titan_sdk.errors import NotFound

SHOWN_S = 24 * 3600.0
"""How long a fire that came to nothing is told."""
_READ_AT_ONCE = 10
"""Ledgers read in one turn, so that a thousand schedules do not hold up the snapshot."""
_LINES = 50
BAD_OUTCOMES = frozenset({"MISSED", "FAILED"})


def came_to_nothing(fire: FireStatus) -> bool:
    return fire.outcome in BAD_OUTCOMES or fire.run_state == "FAILED"


class Ledgers:
    def __init__(self, now_wall: Callable[[], float] = time.time) -> None:
        self._now_wall = now_wall
        self._known: dict[str, tuple[FireStatus, ...]] = {}
        """By schedule: its last line, as it was when the ledger was read."""
        self._bad: dict[str, tuple[FireStatus, ...]] = {}

    def read(self, client: TitanClient, schedules: Iterable[ScheduleStatus]) -> tuple[FireStatus, ...]:
        """The fires of the last day that came to nothing, newest first."""
        current = {schedule.name: schedule.last for schedule in schedules}
        for name in self._known.keys() - current.keys():
            del self._known[name], self._bad[name]
        for name in self._changed(current):
            self._bad[name] = _read(client, name)
            self._known[name] = current[name]
        return self._recent()

    def _changed(self, current: dict[str, tuple[FireStatus, ...]]) -> list[str]:
        """Those to be read now; where something went wrong last, first."""
        changed = [name for name, last in current.items() if last and self._known.get(name) != last]
        changed.sort(key=lambda name: not any(map(came_to_nothing, current[name])))
        return changed[:_READ_AT_ONCE]

    def _recent(self) -> tuple[FireStatus, ...]:
        oldest_wall = self._now_wall() - SHOWN_S
        recent = (
            fire
            for fires in self._bad.values()
            for fire in fires
            if max(fire.slot_wall, fire.until_wall) >= oldest_wall
        )
        return tuple(sorted(recent, key=lambda fire: -fire.slot_wall))


def _read(client: TitanClient, name: str) -> tuple[FireStatus, ...]:
    try:
        return tuple(filter(came_to_nothing, client.schedule_history(name, _LINES)))
    except NotFound:
        return ()  # it was removed meanwhile
