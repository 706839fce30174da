"""What a job is asked to be, as it is stored: the part that many jobs have in common, and what each has of its own.

The common part is the protocol's JobSpec without the job's id, parents and arguments; as those of a run are mostly
the same bytes, each is encoded and decoded once. That makes the start of a master with many jobs a matter of rows.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring_ascii
from typing import NamedTuple

from titan_core.protocol import messages
from titan_core.scheduler.model import USUAL_POLICY, JobSpec, ServicePolicy
from titan_core.scheduler.states import Affinity, Restart

_REMEMBERED = 1000
_read_json = json.JSONDecoder().raw_decode


class SpecRow(NamedTuple):
    """Columns of `jobs`."""

    spec: bytes
    parents: str
    """A JSON list; empty: none."""
    args: str
    """A JSON list; empty: none."""


class SpecWriter:
    """Makes rows of specs, for one thread; remembers the common parts it met last."""

    def __init__(self) -> None:
        self._bodies: dict[tuple[object, ...], bytes] = {}
        self._last: tuple[object, ...] = ()
        self._last_body = b""

    def row(self, spec: JobSpec) -> SpecRow:
        task: messages.Task = spec.task
        common = (
            task.asset, task.sha256, task.entry, task.env, task.timeout_s, task.port, task.stop_signal,
            task.stop_grace_s, task.health, task.max_memory, task.warm, spec.requirement, spec.priority,
            spec.delay_s, spec.affinity, spec.retries, spec.retry_backoff_s, spec.max_attempts, spec.service,
            spec.policy,
        )  # fmt: skip
        if common != self._last:  # as a rule they are the very same objects, which is quicker seen than their hash
            self._last_body = self._bodies.get(common) or self._remember(common, spec)
            self._last = common
        return SpecRow(self._last_body, _list(spec.parents), _list(task.args))

    def _remember(self, common: tuple[object, ...], spec: JobSpec) -> bytes:
        if len(self._bodies) >= _REMEMBERED:
            self._bodies.clear()
        self._bodies[common] = _common_message(spec).encode()
        return self._bodies[common]


class SpecReader:
    """Makes specs of rows; strings and tasks that are the same are one object."""

    def __init__(self) -> None:
        self._commons: dict[bytes, messages.JobSpec] = {}

    def spec(self, job_id: str, body: bytes, parents: str, args: str) -> JobSpec:
        common = self._commons.get(body)
        if common is None:
            common = self._commons[body] = messages.JobSpec.decode(body)
        task = _with_args(common.task, tuple(_read_json(args)[0])) if args else common.task
        return spec_of(common, job_id, task, tuple(_read_json(parents)[0]) if parents else ())


def scheduler_spec(job: messages.JobSpec) -> JobSpec:
    """The scheduler's form of a job whose content is pinned."""
    return spec_of(job, job.job_id, job.task, job.parents)


def spec_of(common: messages.JobSpec, job_id: str, task: messages.Task, parents: tuple[str, ...]) -> JobSpec:
    """The scheduler's form of a job that is like `common`, but for these."""
    return JobSpec(
        job_id,
        task,
        parents,
        common.requirement,
        common.priority,
        common.delay_s,
        Affinity(common.affinity) if common.affinity else Affinity.NONE,
        common.retries,
        common.retry_backoff_s,
        common.max_attempts,
        common.service,
        service_policy(common) if common.service else USUAL_POLICY,
    )


def task_of(common: messages.Task, asset: str, sha256: str, entry: str, args: tuple[str, ...]) -> messages.Task:
    """A task that is like `common`, but for these."""
    return messages.Task(
        asset,
        sha256,
        entry,
        args,
        common.env,
        common.timeout_s,
        common.port,
        common.stop_signal,
        common.stop_grace_s,
        common.health,
        common.max_memory,
        common.warm,
    )


def service_policy(job: messages.JobSpec) -> ServicePolicy:
    """What a submission, or a row, says of a service, for the scheduler."""
    return ServicePolicy(
        Restart(job.restart), job.min_uptime_s, job.instances, job.scope == "run", max(0, job.task.port)
    )


def _common_message(spec: JobSpec) -> messages.JobSpec:
    policy = spec.policy
    return messages.JobSpec(
        job_id="",
        task=_with_args(spec.task, ()),
        requirement=spec.requirement,
        priority=spec.priority,
        delay_s=spec.delay_s,
        affinity=spec.affinity.value,
        retries=spec.retries,
        retry_backoff_s=spec.retry_backoff_s,
        max_attempts=spec.max_attempts,
        service=spec.service,
        restart=policy.restart.value,
        min_uptime_s=policy.min_uptime_s,
        instances=policy.instances,
        scope="run" if policy.run_scoped else "cluster",
    )


def _with_args(task: messages.Task, args: tuple[str, ...]) -> messages.Task:
    return task_of(task, task.asset, task.sha256, task.entry, args)


def _list(texts: tuple[str, ...]) -> str:
    return f"[{', '.join(map(encode_basestring_ascii, texts))}]" if texts else ""
