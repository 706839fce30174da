"""What the definition of a schedule may hold, said once for the client (early) and the master (always).

When it is due is judged by `titan_core.timetable`. Every check raises InvalidRequest with `field` in its
details; with `alert` (`on_missed` or `on_failure`) where it is about somebody who is told, with `job` inside a job.
"""

from __future__ import annotations

from titan_core.errors import InvalidRequest
from titan_core.protocol.checks import (
    MAX_DELAY_S,
    check_id,
    check_job,
    check_range,
    check_submission,
    check_webhook,
    shown,
)
from titan_core.protocol.messages import Alert, JobSpec, ScheduleSpec, SubmitRun

MAX_SCHEDULE_NAME = 80
"""Characters; the ids of its runs add the slot."""
OVERLAPS = ("skip", "queue", "allow", "replace")
CATCH_UPS = ("none", "last", "all")


def check_schedule(spec: ScheduleSpec) -> None:
    """A whole schedule, up to the graph of its jobs, and without its timing."""
    check_rules(spec)
    check_submission(SubmitRun(spec.name, spec.jobs))
    for job in spec.jobs:
        _check_parents(job)


def check_rules(spec: ScheduleSpec) -> None:
    """What holds for its fires, without its jobs: the name, what is done about each fire, and who is told."""
    check_schedule_name(spec.name)
    _check_choice(spec.overlap, OVERLAPS, "overlap")
    _check_choice(spec.catch_up, CATCH_UPS, "catch_up")
    check_range(spec.catch_up_window_s, 0, MAX_DELAY_S, "catch_up_window")
    _check_alert(spec.on_missed, "on_missed")
    _check_alert(spec.on_failure, "on_failure")


def check_schedule_name(name: str) -> None:
    if len(check_id(name, "name")) > MAX_SCHEDULE_NAME:
        raise InvalidRequest(
            f"name {shown(name)} is {len(name)} characters long; of a schedule {MAX_SCHEDULE_NAME} are the most",
            field="name",
        )


def _check_choice(word: str, choices: tuple[str, ...], field: str) -> None:
    if word not in choices:
        raise InvalidRequest(f"{field} {shown(word)} is not one of {', '.join(choices)}", field=field)


def _check_parents(job: JobSpec) -> None:
    """A run of a schedule has to wait for nothing outside of it."""
    for parent in job.parents:
        if "/" in parent:
            raise InvalidRequest(
                f"job {shown(job.job_id)}: its parent {shown(parent)} is of another run; the jobs of a schedule can "
                "depend on jobs of their own run only",
                job=job.job_id,
                field="parents",
            )


def _check_alert(alert: Alert, name: str) -> None:
    try:
        if len(alert.jobs) > 1 or (alert.webhook and alert.jobs):
            raise InvalidRequest("name a webhook or one job, not both", field=name)
        if alert.webhook:
            check_webhook(alert.webhook, "webhook")
        for job in alert.jobs:
            _check_alert_job(job)
    except InvalidRequest as error:
        raise InvalidRequest(f"{name}: {error}", **{"field": name, **error.details, "alert": name}) from None


def _check_alert_job(job: JobSpec) -> None:
    """It is run alone, once, and is over some day."""
    check_job(job)
    if job.parents:
        raise InvalidRequest(
            f"job {shown(job.job_id)}: it runs alone; take its parents away", job=job.job_id, field="parents"
        )
    if job.service:
        raise InvalidRequest(
            f"job {shown(job.job_id)}: it has to end, which a service does not", job=job.job_id, field="type"
        )
