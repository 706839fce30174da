"""What of a run has changed since a version of it: what an open page has to learn. Knows no HTTP; any thread.

The events after that version name the jobs, and are what time lines are drawn of. They are read before the run is, so
that a job is told as it is after them; what changes meanwhile is told the next time.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from dashboard.cluster import Snapshot
from titan_core.protocol.messages import JobEvent, RunStatus
from titan_sdk import TitanClient
from titan_sdk.errors import Conflict

MAX_EVENTS = 20_000
"""In one answer; the rest comes with the next one."""


@dataclass(frozen=True, slots=True)
class Changes:
    run: RunStatus
    """With the jobs that have changed."""
    events: tuple[JobEvent, ...]
    """Oldest first."""
    version: int
    """To ask with the next time."""
    has_events: bool = True
    """False: this master keeps none."""


def changes(client: TitanClient, snapshot: Snapshot, run_id: str, since: int) -> Changes:
    """`since` 0: all of it. Raises NotFound."""
    try:
        events = tuple(itertools.islice(client.events(run_id, after=since), MAX_EVENTS))
    except Conflict:
        run = client.run(run_id, since)
        return Changes(run, (), run.version, has_events=False)
    if not events and since:
        return Changes(without_jobs(client, snapshot, run_id), (), since)
    run = client.run(run_id, since)
    return Changes(run, events, events[-1].number if events else run.version)


def without_jobs(client: TitanClient, snapshot: Snapshot, run_id: str) -> RunStatus:
    """The run, without troubling the master where the snapshot has it. Raises NotFound."""
    known = next((run for run in snapshot.runs if run.run_id == run_id), None)
    return known or client.run(run_id, jobs=False)
