"""The requests of a client that concern schedules; each is named by its whole name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Unpack

from titan_core.errors import InvalidRequest
from titan_core.protocol.checks import check_range
from titan_core.protocol.messages import (
    Ack,
    Backfilled,
    BackfillSchedule,
    FireStatus,
    GetSchedule,
    ListSchedules,
    PauseSchedule,
    RemoveSchedule,
    ScheduleList,
    SchedulePut,
    ScheduleStatus,
    Triggered,
    TriggerSchedule,
)
from titan_sdk import schedules
from titan_sdk.fields import described, read_value
from titan_sdk.jobs import TitanJob
from titan_sdk.pipeline import Pipeline, load, located, prepared, rescheduled
from titan_sdk.requests import Pathname, Requests
from titan_sdk.schedule_fields import Instant, ScheduleFields, instant, schedule_of

if TYPE_CHECKING:
    from titan_core.timetable import Upcoming


MAX_FIRES = 1_000_000
"""Of a ledger, or of what is to come, at a time."""


class ScheduleRequests(Requests):
    """The part of a TitanClient for schedules."""

    def schedule(
        self,
        name: str,
        jobs: TitanJob | Iterable[TitanJob] | Pipeline | Pathname,
        *,
        update: bool = True,
        **fields: Unpack[ScheduleFields],
    ) -> SchedulePut:
        """Have jobs run whenever their time has come: `cron="0 2 * * *"`, `every="15m"` or `at="2026-12-24T18:00"`.

        `jobs` is a job, several, or a pipeline, whose own `schedule:` holds where `fields` say nothing else. One that
        exists gets this definition; without `update` it is refused. Raises InvalidRequest, InvalidGraph, NotFound,
        Conflict; PipelineError.
        """
        if not isinstance(name, str):
            raise InvalidRequest(f"the name of a schedule is a string, not {described(name)}", field="name")
        if isinstance(jobs, str | os.PathLike):
            jobs = load(jobs)
        if not isinstance(jobs, Pipeline):
            jobs = [jobs] if isinstance(jobs, TitanJob) else jobs
            return self._submitter.put_schedule(name, schedule_of(fields), jobs, update)
        pipeline = rescheduled(jobs, fields)
        with located(pipeline), prepared(pipeline) as ready:
            assert ready.schedule is not None
            return self._submitter.put_schedule(name, ready.schedule, ready.jobs, update, ready.folder)

    def schedules(self) -> tuple[ScheduleStatus, ...]:
        """All schedules by name, without their jobs."""
        return self._ask(ListSchedules(), ScheduleList).schedules

    def get_schedule(self, name: str) -> ScheduleStatus:
        """A schedule with its jobs. Raises NotFound."""
        return self._ask(GetSchedule(name), ScheduleStatus)

    def pause_schedule(self, name: str, reason: str = "") -> ScheduleStatus:
        """Let it start nothing until it is resumed. Raises NotFound."""
        return self._ask(PauseSchedule(name, reason=reason), ScheduleStatus)

    def resume_schedule(self, name: str) -> ScheduleStatus:
        """Let it start runs again. Raises NotFound."""
        return self._ask(PauseSchedule(name, undo=True), ScheduleStatus)

    def trigger_schedule(self, name: str) -> FireStatus:
        """Fire it now: RAN, or QUEUED behind a run that goes on. Raises NotFound, Conflict (one goes on)."""
        return self._transport.ask(TriggerSchedule(name), Triggered, repeatable=False).fire

    def remove_schedule(self, name: str) -> Ack:
        """Forget it; its runs go on, its history stays. Raises NotFound."""
        return self._transport.ask(RemoveSchedule(name), Ack, repeatable=False)

    def backfill_schedule(self, name: str, first: Instant, last: Instant) -> Backfilled:
        """Run what was due from `first` to `last` and has not run, oldest first. Raises InvalidRequest, NotFound."""
        request = BackfillSchedule(
            name, read_value(instant, first, "first", "first"), read_value(instant, last, "last", "last")
        )
        return self._transport.ask(request, Backfilled, repeatable=False)

    def cancel_backfill(self, name: str) -> Backfilled:
        """Let nothing wait any more that was to be made up for; what runs goes on. Raises NotFound, Conflict."""
        return self._transport.ask(BackfillSchedule(name, cancel=True), Backfilled, repeatable=False)

    def schedule_history(
        self, name: str, limit: int = 50, before: float | datetime | None = None, outcome: str = ""
    ) -> tuple[FireStatus, ...]:
        """What became of its fires, newest first: those before an instant, only those with this outcome.

        Raises NotFound.
        """
        check_range(limit, 1, MAX_FIRES, "limit")
        before_wall = before.timestamp() if isinstance(before, datetime) else before or 0.0
        return schedules.history(self._transport, name, limit, before_wall, outcome)

    def wait_fire(self, fire: FireStatus, timeout: float | None = None) -> FireStatus:
        """A fire that was QUEUED once it is not any more. Raises WaitTimedOut after `timeout` seconds."""
        return schedules.until_begun(self._transport, fire, timeout)

    def watch_fires(self, name: str, run_ids: Iterable[str], timeout: float | None = None) -> Iterator[FireStatus]:
        """The fires of the runs of a backfill, each once its run is over or will not begin. Raises WaitTimedOut."""
        return schedules.until_over(self._transport, name, run_ids, timeout)

    def next_fires(self, name: str, count: int = 10) -> list[Upcoming]:
        """When it is due next: each `slot` in seconds since the Unix epoch, and as `local` time. Raises NotFound."""
        check_range(count, 1, MAX_FIRES, "count")
        return schedules.next_fires(self.get_schedule(name).timing, count)
