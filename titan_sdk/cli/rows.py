"""What runs, jobs, workers, services and assets show in a table.

Empty columns say nothing: a list leaves out those that no item fills.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from titan_core.protocol.checks import AUTO_PORT
from titan_core.protocol.messages import (
    AssetInfo,
    AttemptStatus,
    InstanceStatus,
    JobStatus,
    RunStatus,
    ServiceStatus,
    StateCount,
    WorkerStatus,
)
from titan_sdk.cli.states import JOB_STATES
from titan_sdk.cli.tables import Column
from titan_sdk.cli.text import clock, size, span
from titan_sdk.services import addresses, key_of

T = TypeVar("T")


def filled(items: Sequence[T], columns: Sequence[Column[T]]) -> list[Column[T]]:
    """The columns that have something to show for one of `items`."""
    return [column for column in columns if any(column.cell(item) for item in items)]


def counts(values: Sequence[StateCount]) -> str:
    """`3 COMPLETED, 1 RUNNING`."""
    known = {item.state: item.count for item in values if item.count}
    names = sorted(known, key=lambda name: JOB_STATES.index(name) if name in JOB_STATES else len(JOB_STATES))
    return ", ".join(f"{known[name]} {name}" for name in names)


def key(job: JobStatus) -> str:
    return f"{job.run_id}/{job.job_id}"


def exit_code(code: int) -> str:
    return str(code) if code >= 0 else ""


def reason(job: JobStatus) -> str:
    """Why it is where it is, unless its state and worker say it all."""
    return "" if job.state in ("COMPLETED", "RUNNING") else job.reason


def _started(job: JobStatus) -> str:
    return clock(job.started_wall or job.due_wall)


def _total(run: RunStatus) -> str:
    return str(sum(item.count for item in run.counts))


RUNS: tuple[Column[RunStatus], ...] = (
    Column("RUN", lambda run: run.run_id),
    Column("STATE", lambda run: run.state, state=True),
    Column("JOBS", _total, right=True),
    Column("SUBMITTED", lambda run: clock(run.submitted_wall), minor=True),
    Column("TIME", lambda run: span(run.submitted_wall, run.finished_wall), right=True, minor=True),
    Column("STATES", lambda run: counts(run.counts), fold=True),
)

_JOB_COLUMNS: tuple[Column[JobStatus], ...] = (
    Column("STATE", lambda job: job.state, state=True),
    Column("EXIT", lambda job: exit_code(job.exit_code), right=True),
    Column("STARTED", _started, minor=True),
    Column("TIME", lambda job: span(job.started_wall, job.finished_wall), right=True, minor=True),
    Column("WORKER", lambda job: job.worker),
    Column("REASON", lambda job: reason(job), fold=True),
)
JOBS: tuple[Column[JobStatus], ...] = (Column("JOB", lambda job: job.job_id), *_JOB_COLUMNS)
"""The jobs of one run."""
KEYED_JOBS: tuple[Column[JobStatus], ...] = (Column("JOB", key), *_JOB_COLUMNS)
"""Jobs of many runs."""

DEAD_JOBS: tuple[Column[JobStatus], ...] = (
    Column("JOB", key),
    Column("DIED", lambda job: clock(job.finished_wall)),
    Column("ATTEMPTS", lambda job: str(len(job.attempts) or ""), right=True),
    Column("EXIT", lambda job: exit_code(job.exit_code), right=True),
    Column("WORKER", lambda job: job.worker, minor=True),
    Column("REASON", lambda job: job.reason, fold=True),
)

SERVICES: tuple[Column[ServiceStatus], ...] = (
    Column("SERVICE", key_of),
    Column("STATE", lambda service: service.state, state=True),
    Column("READY", lambda service: f"{service.ready}/{service.wanted}", right=True),
    Column("ADDRESS", lambda service: where(service)),
    Column("RESTARTS", lambda service: str(sum(item.restarts for item in service.instances) or ""), right=True),
    Column("CPU", lambda service: _taken(service.instances)[0], right=True, minor=True),
    Column("MEMORY", lambda service: _taken(service.instances)[1], right=True, minor=True),
    Column("WORKER", lambda service: some(sorted({item.worker for item in _up(service.instances)}))),
    Column("UP", lambda service: _up_for(service.instances), right=True, minor=True),
    Column("REASON", lambda service: service.reason, fold=True),
)

INSTANCES: tuple[Column[InstanceStatus], ...] = (
    Column("INSTANCE", lambda instance: instance.job_id),
    Column("STATE", lambda instance: instance.state, state=True),
    Column("READY", lambda instance: "yes" if instance.ready else "no"),
    Column("ADDRESS", lambda instance: instance.address),
    Column("RESTARTS", lambda instance: str(instance.restarts or ""), right=True),
    Column("CPU", lambda instance: _taken([instance])[0], right=True, minor=True),
    Column("MEMORY", lambda instance: _taken([instance])[1], right=True, minor=True),
    Column("WORKER", lambda instance: instance.worker),
    Column("UP", lambda instance: _up_for([instance]), right=True, minor=True),
    Column("REASON", lambda instance: instance_reason(instance), fold=True),
)

ATTEMPTS: tuple[Column[AttemptStatus], ...] = (
    Column("ATTEMPT", lambda attempt: str(attempt.number), right=True),
    Column("OUTCOME", lambda attempt: attempt.outcome, state=True),
    Column("EXIT", lambda attempt: exit_code(attempt.exit_code), right=True),
    Column("STARTED", lambda attempt: clock(attempt.started_wall), minor=True),
    Column("TIME", lambda attempt: span(attempt.started_wall, attempt.finished_wall), right=True, minor=True),
    Column("WORKER", lambda attempt: attempt.worker),
    Column(
        "PEAK MEMORY",
        lambda attempt: size(attempt.peak_memory) if attempt.peak_memory else "",
        right=True,
        minor=True,
    ),
    Column("REASON", lambda attempt: attempt.reason, fold=True),
)

WORKERS: tuple[Column[WorkerStatus], ...] = (
    Column("WORKER", lambda worker: worker.worker_id),
    Column("STATE", lambda worker: worker.state, state=True),
    Column("KIND", lambda worker: _kind(worker)),
    Column("LOAD", lambda worker: f"{worker.used}/{worker.slots}", right=True),
    Column("SERVICES", lambda worker: _hosted(worker), right=True),
    Column("CAPABILITIES", lambda worker: ",".join(worker.capabilities)),
    Column("CPU", lambda worker: f"{worker.cpu_percent:.0f}%", right=True, minor=True),
    Column("MEMORY", lambda worker: _memory(worker), right=True, minor=True),
    Column("PARENT", lambda worker: worker.parent),
    Column("AGE", lambda worker: span(worker.started_wall, 0.0), right=True, minor=True),
    Column("SINCE", lambda worker: clock(worker.connected_wall), minor=True),
    Column("RUNNING", lambda worker: ", ".join(worker.jobs), fold=True),
    Column("TROUBLE", lambda worker: worker.trouble, fold=True),
)

ASSETS: tuple[Column[AssetInfo], ...] = (
    Column("ASSET", lambda asset: asset.name),
    Column("SIZE", lambda asset: size(asset.size), right=True),
    Column("MODIFIED", lambda asset: clock(asset.modified_wall), minor=True),
    Column("SHA-256", lambda asset: asset.sha256[:12], minor=True),
)


def _memory(worker: WorkerStatus) -> str:
    return f"{size(worker.memory_used)}/{size(worker.memory_total)}" if worker.memory_total else ""


def _kind(worker: WorkerStatus) -> str:
    return "permanent" if worker.permanent else "ephemeral" if worker.ephemeral else ""


def _hosted(worker: WorkerStatus) -> str:
    return f"{len(worker.services)}/{worker.max_services}" if worker.max_services or worker.services else ""


# ── services ──────────────────────────────────────────────────────────────────────────────────────


def instance_reason(instance: InstanceStatus) -> str:
    """Why it is where it is, unless its state and worker say it all."""
    return "" if instance.state == "RUNNING" else instance.reason


def where(service: ServiceStatus) -> str:
    """Where a service answers; while none of it does, the port that it is to get."""
    found = addresses(service)
    if found or not service.port:
        return some(found)
    return "auto" if service.port == AUTO_PORT else f":{service.port}"


def some(names: Sequence[str]) -> str:
    """At most three of them."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _up(instances: Iterable[InstanceStatus]) -> list[InstanceStatus]:
    """Those that have a process."""
    return [instance for instance in instances if instance.state == "RUNNING"]


def _taken(instances: Iterable[InstanceStatus]) -> tuple[str, str]:
    """Processor and memory that they take together; empty while nothing is known of it."""
    up = _up(instances)
    memory = sum(instance.memory for instance in up)
    return (f"{sum(instance.cpu_percent for instance in up):.0f}%", size(memory)) if memory else ("", "")


def _up_for(instances: Iterable[InstanceStatus]) -> str:
    """For how long all of those have been up that are."""
    return span(max((instance.started_wall for instance in _up(instances)), default=0.0), 0.0)
