"""TitanJob: one job as a program describes it, and the JobSpec that is sent for it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields
from pathlib import PurePath
from typing import Any

from titan_core.errors import InvalidRequest, TitanError
from titan_core.protocol.checks import AUTO_PORT, check_job, shown
from titan_core.protocol.messages import USUAL_HEALTH, Health, JobSpec, Task
from titan_sdk.contents import Contents, Source
from titan_sdk.fields import AUTO, field_name, read_field


@dataclass(frozen=True, init=False)
class TitanJob:
    """One job. Immutable; `dataclasses.replace(job, priority=5)` gives a changed copy.

    `id` works for `job_id`, `file` and `script` for `filename`, `depends_on` and `dependencies` for
    `parents`. Durations are numbers in the unit said below, or strings such as "500ms", "2s", "5m",
    "1h". None means the default. Raises InvalidRequest, in one sentence, for an unknown field or a
    value of the wrong type; ranges are checked when the job is submitted.
    """

    job_id: str
    """Unique in its run; default: the name of the file, without its ending."""
    filename: str
    """A local file, sent along; else the name of a file in the master's perm_files/."""
    requirement: str = "GENERAL"
    """The capability a worker must have."""
    priority: int = 1
    """Higher goes first."""
    parents: tuple[str, ...] = ()
    """Job ids of the same run, or `<run id>/<job id>` of another."""
    is_archive: bool = False
    """`filename` is `project.zip/path/entry.py`."""
    args: tuple[str, ...] = ()
    """A list, or a string that is split as a shell would."""
    port: int | str = 0
    """The TCP port a service listens on; "auto": one that is free on its worker; 0 = none."""
    delay: float = 0.0
    """Milliseconds to wait once the parents are done."""
    affinity: bool | str = False
    """True: on the parent's worker if it has a free slot. "strict": there, however long it takes."""
    env: dict[str, str] = None  # type: ignore[assignment]  # a new {} for each job, made in __init__
    timeout: float = 0.0
    """Seconds an attempt may run; 0 = no limit."""
    retries: int = 0
    retry_backoff: float = 1.0
    """Seconds before the first retry; doubles with each further one."""
    max_attempts: int = 0
    """Upper bound on all attempts, also those lost with a worker; 0 = none beyond the usual."""
    stop_signal: int = 15
    """Its name ("TERM", "SIGINT") or number."""
    stop_grace: float = 10.0
    """Seconds after the stop signal before the job is killed."""
    warm: bool = True
    """False: a Python script begins in a Python of its own, not in one that has started already."""
    type: str = "run"
    """`run`, or `service`: meant to keep running. What follows is for services only."""
    restart: str = "always"
    """When it has ended by itself: "always", "on-failure" (not after exit code 0) or "never"."""
    min_uptime: float = 10.0
    """Seconds after which an attempt was a good one: the next restart is immediate again."""
    instances: int = 1
    scope: str = "cluster"
    """"cluster": until it is stopped; "run": until nothing else of its run goes on."""
    max_memory: int = 0
    """Bytes of all its processes together beyond which it is restarted, or a text such as "300M"; 0 = no limit."""
    health: dict[str, Any] = None  # type: ignore[assignment]  # a new {} for each job, made in __init__
    """`{"http": "/path"}` or `{"command": "…"}`, with `interval` and `timeout` (10 and 2 seconds) if they are to be
    others. Without it a service is ready when its port accepts connections, or if it has none, after 0.5 s."""
    unhealthy_after: int = 3
    """So many failed checks in a row end the attempt."""
    ready_timeout: float = 60.0
    """Seconds after which an attempt that is not ready yet is ended; 0 = no limit."""

    def __init__(
        self, job_id: str | None = None, filename: str | os.PathLike[str] | None = None, **values: Any
    ) -> None:
        try:
            given = _given({"job_id": job_id, "filename": filename}, values)
            given.setdefault("env", {})
            given.setdefault("health", {})
            if "job_id" not in given:
                given["job_id"] = _default_id(given["filename"])
            for name, value in given.items():  # of the others, the class has the defaults
                object.__setattr__(self, name, value)
        except InvalidRequest as error:
            raise _of_job(job_id or values.get("id"), error) from None

    @property
    def id(self) -> str:
        return self.job_id

    @property
    def service(self) -> bool:
        return self.type == "service"


_AFFINITY: dict[bool | str, str] = {False: "", True: "prefer", "strict": "strict"}
_IN_HEALTH = {"http": "http", "command": "command", "interval": "interval_s", "timeout": "timeout_s"}
"""The keys of `health`, and what `Health` calls them."""
_USUAL_LIMITS = USUAL_HEALTH.unhealthy_after, USUAL_HEALTH.ready_timeout_s
_DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(TitanJob)}


def job_spec(job: TitanJob, contents: Contents) -> JobSpec:
    """The job as it is sent; local files it needs are added to `contents`.

    Raises InvalidRequest or NotFound, with `job` and mostly `field` in the details.
    """
    if not isinstance(job, TitanJob):
        raise InvalidRequest(f"a job must be a TitanJob, not {type(job).__name__}")
    try:
        source = contents.source(job.filename, job.is_archive)
    except TitanError as error:
        raise _of_job(job.job_id, error) from None
    spec = _spec(job, source)
    check_job(spec)
    return spec


def check_values(job: TitanJob) -> None:
    """Judge the values of a job without looking for its file. Raises InvalidRequest."""
    check_job(unsourced(job))


def unsourced(job: TitanJob) -> JobSpec:
    """The job as it would be sent, but for what it runs."""
    return _spec(job, Source("file"))


def _spec(job: TitanJob, source: Source) -> JobSpec:
    return JobSpec(
        job_id=job.job_id,
        task=_task(job, source),
        parents=job.parents,
        requirement=job.requirement,
        priority=job.priority,
        delay_s=job.delay / 1000,
        affinity=_AFFINITY[job.affinity],
        retries=job.retries,
        retry_backoff_s=job.retry_backoff,
        max_attempts=job.max_attempts,
        service=job.service,
        restart=job.restart,
        min_uptime_s=job.min_uptime,
        instances=job.instances,
        scope=job.scope,
    )


def _task(job: TitanJob, source: Source) -> Task:
    return Task(
        asset=source.asset,
        sha256=source.sha256,
        entry=source.entry,
        args=job.args,
        env=tuple(job.env.items()),
        timeout_s=job.timeout,
        port=AUTO_PORT if job.port == AUTO else int(job.port),
        stop_signal=job.stop_signal,
        stop_grace_s=job.stop_grace,
        health=_health(job),
        max_memory=job.max_memory,
        warm=job.warm,
    )


def _health(job: TitanJob) -> Health:
    if not job.health and (job.unhealthy_after, job.ready_timeout) == _USUAL_LIMITS:
        return USUAL_HEALTH
    given = {_IN_HEALTH[key]: value for key, value in job.health.items()}
    return Health(unhealthy_after=job.unhealthy_after, ready_timeout_s=job.ready_timeout, **given)


def _given(positional: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """What was really given, by field, read."""
    given: dict[str, Any] = {}
    for word, value in (*positional.items(), *values.items()):
        name = field_name(word, _DEFAULTS)
        if value is None:
            continue
        if name in given:
            raise InvalidRequest(f"{name} is given twice, the second time as {word}", field=name)
        given[name] = read_field(name, value)
    if "filename" not in given:
        raise InvalidRequest("there is no file to run; name it in 'filename'", field="filename")
    return given


def _default_id(filename: str) -> str:
    stem = PurePath(filename).stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).lstrip(".-")[:128] or "job"


def _of_job(job_id: object, error: TitanError) -> TitanError:
    """`error`, saying which job it is about."""
    if not isinstance(job_id, str):
        return error
    return type(error)(f"job {shown(job_id)}: {error}", **{"job": job_id, **error.details})
