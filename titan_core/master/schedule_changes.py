"""How one definition of a schedule differs from another, a line for each thing, in the words of a pipeline file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from titan_core.protocol import messages
from titan_core.protocol.checks import shown
from titan_core.protocol.codec import Message

_NOT_TOLD = {"name", "timing", "jobs", "on_missed", "on_failure", "anchor_wall", "job_id", "task", "health"}
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))
_CALLED = {"asset": "file", "parents": "depends_on", "service": "type"}


def changes(before: messages.ScheduleSpec, after: messages.ScheduleSpec) -> tuple[str, ...]:
    return tuple(_changes(before, after))


def _changes(before: messages.ScheduleSpec, after: messages.ScheduleSpec) -> Iterator[str]:
    yield from _fields(before.timing, after.timing)
    yield from _fields(before, after)
    for name in ("on_missed", "on_failure"):
        was, becomes = getattr(before, name), getattr(after, name)
        if _alert(was) != _alert(becomes):
            yield f"{name}: {_alert(was)} -> {_alert(becomes)}"
        elif was != becomes:
            yield from (f"{name}: {line}" for line in _jobs(_by_id(was.jobs), _by_id(becomes.jobs)))
    yield from _jobs(_by_id(before.jobs), _by_id(after.jobs))
    kept = [job.job_id for job in before.jobs if job.job_id in _by_id(after.jobs)]
    if kept != [job.job_id for job in after.jobs if job.job_id in _by_id(before.jobs)]:
        yield "the jobs are in another order"


def _by_id(jobs: tuple[messages.JobSpec, ...]) -> dict[str, messages.JobSpec]:
    return {job.job_id: job for job in jobs}


def _jobs(before: dict[str, messages.JobSpec], after: dict[str, messages.JobSpec]) -> Iterator[str]:
    yield from (f"- job {job_id}" for job_id in before if job_id not in after)
    for job_id, job in after.items():
        if job_id not in before:
            yield f"+ job {job_id}"
        elif job != before[job_id]:
            yield from (f"job {job_id}: {line}" for line in _job(before[job_id], job))


def _job(before: messages.JobSpec, after: messages.JobSpec) -> Iterator[str]:
    yield from _fields(before, after)
    yield from _fields(before.task.health, after.task.health)
    was, becomes = before.task, after.task
    if was.asset == becomes.asset and was.sha256 != becomes.sha256:
        yield f"{becomes.asset} changed ({was.sha256[:8]} -> {becomes.sha256[:8]})"
    yield from _fields(dataclasses.replace(was, sha256=""), dataclasses.replace(becomes, sha256=""))


def _fields(before: Message, after: Message) -> Iterator[str]:
    for field in dataclasses.fields(after):  # type: ignore[arg-type]
        was, becomes = getattr(before, field.name), getattr(after, field.name)
        if was != becomes and field.name not in _NOT_TOLD:
            name, text = field.name.removesuffix("_s"), _duration if field.name.endswith("_s") else _text
            yield f"{_CALLED.get(name, name)}: {text(was)} -> {text(becomes)}"


def _duration(seconds: float) -> str:
    """`15m`, as a person would write it."""
    for unit_s, unit in _UNITS:
        if seconds and seconds % unit_s == 0:
            return f"{seconds / unit_s:.0f}{unit}"
    return f"{seconds:.15g}s" if seconds else "nothing"


def _text(value: Any) -> str:
    """As a person wrote it, or nearly so."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, tuple):
        value = " ".join("=".join(item) if isinstance(item, tuple) else str(item) for item in value)
    text = str(value)
    return (text if text.isprintable() and len(text) <= 60 else shown(text)) if text else "nothing"


def _alert(alert: messages.Alert) -> str:
    if alert.jobs:
        task = alert.jobs[0].task
        return f"job {alert.jobs[0].job_id} ({task.asset} {task.sha256[:8]})"
    return _text(alert.webhook)
