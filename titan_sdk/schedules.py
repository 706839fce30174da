"""Schedules: what is due next, and the ledger of what became of their fires, read page by page.

The master does not hold back what it knows of fires, so whoever waits for one looks at it again and again; one that
is away for a moment is waited for. Any thread.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

from titan_core.errors import InvalidRequest
from titan_core.protocol.checks import shown
from titan_core.protocol.messages import FireList, FireStatus, ListFires, Timing
from titan_sdk.errors import WaitTimedOut
from titan_sdk.patience import Deadline, ask_patiently
from titan_sdk.polling import LOOK_S
from titan_sdk.transport import Transport

if TYPE_CHECKING:
    from titan_core.timetable import Upcoming

PAGE = 200
"""Lines of the ledger that are asked for at a time."""


def next_fires(timing: Timing, count: int) -> list[Upcoming]:
    """The next slots from now on."""
    from titan_core.timetable import upcoming  # it takes a moment to import, and most clients need none of it

    return upcoming(timing, time.time(), count)


def history(
    transport: Transport, name: str, limit: int, before_wall: float = 0.0, outcome: str = ""
) -> tuple[FireStatus, ...]:
    """The newest `limit` lines of the ledger. Raises NotFound."""
    return tuple(islice(_lines(transport, name, min(limit, PAGE), before_wall, outcome), limit))


def until_begun(transport: Transport, fire: FireStatus, timeout_s: float | None = None) -> FireStatus:
    """The fire once it does not wait for its turn any more. Raises WaitTimedOut."""
    deadline = Deadline(timeout_s)
    while (fire := _now(transport, fire)).outcome == "QUEUED":
        _pause(transport, fire, deadline, timeout_s)
    return fire


def until_over(
    transport: Transport, name: str, run_ids: Iterable[str], timeout_s: float | None = None
) -> Iterator[FireStatus]:
    """The fires of these runs, which were not asked for by hand, each once its run is over or will not be.

    Raises WaitTimedOut, InvalidRequest.
    """
    deadline = Deadline(timeout_s)
    for fire in [_fire_of(name, run_id) for run_id in run_ids]:
        while _goes_on(fire := _now(transport, fire)):
            _pause(transport, fire, deadline, timeout_s)
        yield fire


def _lines(transport: Transport, name: str, page_size: int, before_wall: float, outcome: str) -> Iterator[FireStatus]:
    """The ledger, newest first. A page always ends with all fires of its last slot."""
    more = True
    while more:
        page = transport.ask(ListFires(name, page_size, before_wall, outcome), FireList)
        yield from page.fires
        more = page.more and bool(page.fires)
        before_wall = page.fires[-1].slot_wall if page.fires else 0.0


def _fire_of(name: str, run_id: str) -> FireStatus:
    """The fire that a run is started for, as far as the run's id tells: it has the slot in it."""
    try:
        slot = datetime.strptime(run_id.removeprefix(f"{name}-")[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        raise InvalidRequest(f"{shown(run_id)} is not a run of schedule {shown(name)}", field="run_ids") from None
    return FireStatus(name, slot.timestamp(), "schedule", "QUEUED", run_id=run_id)


def _now(transport: Transport, fire: FireStatus) -> FireStatus:
    """What has become of a fire. One whose turn never came may have no line of its own any more."""
    page = ask_patiently(transport, ListFires(fire.schedule, 1, fire.slot_wall + 1), FireList).fires
    same = (found for found in page if (found.slot_wall, found.kind) == (fire.slot_wall, fire.kind))
    found = next(same, replace(fire, outcome="SKIPPED", reason="it does not wait any more"))
    return found if found.run_id else replace(found, run_id=fire.run_id)


def _goes_on(fire: FireStatus) -> bool:
    return fire.outcome == "QUEUED" or (fire.outcome == "RAN" and not fire.finished_wall)


def _pause(transport: Transport, fire: FireStatus, deadline: Deadline, timeout_s: float | None) -> None:
    if deadline.passed:
        what = fire.run_id or f"the fire of {fire.schedule}"
        raise WaitTimedOut(f"after {timeout_s:g} s, {what} is still {fire.run_state or fire.outcome}")
    transport.pause(deadline.left_s(LOOK_S))
