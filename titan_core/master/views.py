"""What the master shows: messages made of the model. Read under the engine's lock; nothing here changes anything."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

from titan_core.clock import Clock
from titan_core.master.sessions import Session
from titan_core.protocol import messages
from titan_core.scheduler import restarts, scaling, services
from titan_core.scheduler.attempts import address
from titan_core.scheduler.explain import reason
from titan_core.scheduler.model import Attempt, Job, LostWorker, Run, Service, Worker
from titan_core.scheduler.records import RunRecord
from titan_core.scheduler.schedule_records import OriginRecord
from titan_core.scheduler.state import PoolGrowth, State
from titan_core.scheduler.states import JobState, WorkerState

Usage = Mapping[bytes, messages.ServiceUsage]
"""What services take, by the token of their attempt."""


LATELY_S = 86_400.0
"""For so long a worker that was lost is shown."""


class Views:
    """Turns model objects into messages; `clock` makes wall time of monotonic instants."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    # ── jobs and runs ─────────────────────────────────────────────────────────────────────────────

    def job(self, state: State, job: Job, attempts: bool = True) -> messages.JobStatus:
        latest = job.attempt
        task: messages.Task = job.spec.task
        return messages.JobStatus(
            run_id=job.run.run_id,
            job_id=job.job_id,
            state=job.state.value,
            reason=reason(state, job),
            asset=f"{task.asset}/{task.entry}" if task.entry else task.asset,
            requirement=job.spec.requirement,
            priority=job.spec.priority,
            service=job.spec.service,
            port=max(0, task.port),
            parents=job.spec.parents,
            worker=latest.worker_id if latest else "",
            exit_code=latest.exit_code if latest else -1,
            submitted_wall=self._wall(job.submitted_at),
            started_wall=self._wall(job.started_at),
            finished_wall=self._wall(job.finished_at),
            due_wall=self._wall(job.due_at),
            attempts=tuple(map(self._attempt, job.attempts)) if attempts else (),
            final=job.final,
            ready=job.ready,
            address=address(state, job),
            instance_of=_instance_of(job),
            revision=job.revision,
        )

    def run(self, run: Run) -> messages.RunStatus:
        """Without its jobs."""
        return messages.RunStatus(
            run_id=run.run_id,
            name=run.name,
            state=run.state.value,
            version=run.version,
            counts=_counts(run.counts),
            submitted_wall=self._wall(run.submitted_at),
            finished_wall=self._wall(run.finished_at),
            final=run.open_jobs == 0,
            schedule=dict(run.variables).get("TITAN_SCHEDULE", ""),
            scheduled_wall=float(run.fire.slot) if run.fire is not None else 0.0,
        )

    def past_run(self, run: RunRecord, origin: OriginRecord | None) -> messages.RunStatus:
        """Of a run that is not in memory; `origin`: what started it, if no client did."""
        return messages.RunStatus(
            run_id=run.run_id,
            name=run.name,
            state=run.state,
            version=0,
            counts=_counts(dict(zip(JobState, run.counts, strict=True))),
            submitted_wall=self._wall(run.submitted_at),
            finished_wall=self._wall(run.finished_at),
            final=True,
            schedule=origin.schedule if origin else "",
            scheduled_wall=float(origin.slot) if origin else 0.0,
        )

    def _attempt(self, attempt: Attempt) -> messages.AttemptStatus:
        return messages.AttemptStatus(
            number=attempt.number,
            worker=attempt.worker_id,
            outcome=attempt.outcome.value if attempt.outcome else JobState.RUNNING.value,
            exit_code=attempt.exit_code,
            reason=attempt.reason,
            started_wall=self._wall(attempt.started_at),
            finished_wall=self._wall(attempt.finished_at),
            peak_memory=attempt.peak_memory,
        )

    # ── services ──────────────────────────────────────────────────────────────────────────────────

    def service(self, state: State, service: Service, usage: Usage) -> messages.ServiceStatus:
        spec, policy = service.spec, service.spec.policy
        task: messages.Task = spec.task
        return messages.ServiceStatus(
            run_id=service.head.run.run_id,
            job_id=service.head.job_id,
            state=services.state_of(service, self._clock.monotonic()).value,
            reason=service_reason(state, service, self._clock.monotonic()),
            wanted=service.wanted,
            ready=sum(job.ready for job in service.live),
            revision=service.revision,
            asset=f"{task.asset}/{task.entry}" if task.entry else task.asset,
            requirement=spec.requirement,
            restart=policy.restart.value,
            scope="run" if policy.run_scoped else "cluster",
            port=task.port,
            instances=tuple(self._instance(state, job, usage) for job in shown_instances(service)),
        )

    def _instance(self, state: State, job: Job, usage: Usage) -> messages.InstanceStatus:
        latest = job.attempt
        used = usage.get(latest.token) if latest is not None else None
        return messages.InstanceStatus(
            job_id=job.job_id,
            state=job.state.value,
            reason=reason(state, job),
            ready=job.ready,
            worker=latest.worker_id if latest else "",
            address=address(state, job),
            attempt=latest.number if latest else 0,
            restarts=restarts.count(job),
            revision=job.revision,
            started_wall=self._wall(job.started_at),
            cpu_percent=used.cpu_percent if used else 0.0,
            memory=used.memory if used else 0,
        )

    # ── workers ───────────────────────────────────────────────────────────────────────────────────

    def cluster(self, state: State, sessions: Iterable[Session]) -> messages.ClusterStatus:
        columns = zip(*(run.counts.values() for run in state.runs.values()), strict=True)
        counts = dict(zip(JobState, map(sum, columns), strict=False))  # no columns: there are no runs
        now = self._clock.monotonic()
        pools = tuple(_pool(state, name, growth, now) for name, growth in scaling.pools(state).items())
        return messages.ClusterStatus(
            self.workers(state, sessions),
            _counts(counts),
            pools=pools,
            finished=state.finished,
            lost=tuple(
                self._lost(lost) for lost in reversed(state.lost_workers.values()) if now - lost.lost_at < LATELY_S
            ),
        )

    def _lost(self, lost: LostWorker) -> messages.LostWorker:
        capabilities = tuple(sorted(lost.capabilities))
        return messages.LostWorker(lost.worker_id, self._wall(lost.lost_at), lost.reason, lost.attempts, capabilities)

    def workers(self, state: State, sessions: Iterable[Session]) -> tuple[messages.WorkerStatus, ...]:
        by_id = {session.worker_id: session for session in sessions}
        return tuple(self._worker(worker, by_id.get(worker.worker_id)) for worker in state.workers.values())

    def _worker(self, worker: Worker, session: Session | None) -> messages.WorkerStatus:
        facts: messages.Register = worker.info.facts
        load = session.load if session else messages.Heartbeat()
        return messages.WorkerStatus(
            worker_id=worker.worker_id,
            state=worker.state.value,
            capabilities=facts.capabilities,
            slots=worker.info.slots,
            used=len(worker.running),
            services=tuple(attempt.job.key for attempt in worker.services.values()),
            jobs=tuple(attempt.job.key for attempt in worker.running.values()),
            permanent=worker.info.permanent,
            address=session.stream.peer_host if session else "",
            pid=facts.pid,
            cpu_count=facts.cpu_count,
            memory_total=facts.memory_total,
            cpu_percent=load.cpu_percent,
            memory_used=load.memory_used,
            connected_wall=self._wall(worker.connected_at),
            history=tuple(map(self._history, [*worker.running.values(), *reversed(worker.recent)])),
            trouble=worker.trouble,
            ephemeral=worker.info.ephemeral,
            parent=facts.parent,
            max_services=worker.info.max_services,
            started_wall=facts.started_wall,
        )

    def _history(self, attempt: Attempt) -> messages.WorkerHistory:
        state = attempt.outcome.value if attempt.outcome else JobState.RUNNING.value
        until_at = self._clock.monotonic() if attempt.finished_at is None else attempt.finished_at
        return messages.WorkerHistory(attempt.job.key, state, until_at - attempt.started_at)

    def _wall(self, instant_at: float | None) -> float:
        return 0.0 if instant_at is None else self._clock.to_wall(instant_at)


def usage_of(sessions: Iterable[Session]) -> Usage:
    """What the workers last said of their services, by token."""
    return {token: used for session in sessions for token, used in session.usage.items()}


def shown_instances(service: Service) -> list[Job]:
    """Those that are wanted, or still there."""
    return service.live or service.instances[: service.wanted]


def service_reason(state: State, service: Service, now: float) -> str:
    """Why a service is not as it is wanted to be; or how its last renewal ended, if not well."""
    if service.rolling:
        return _renewal_reason(state, service)
    lacking = next((job for job in service.instances[: service.wanted] if not job.ready), None)
    if lacking is not None:
        why = _lacking_reason(state, service, lacking)
    elif restarts.on_trial(service, now):
        good_s = service.spec.policy.min_uptime_s
        why = f"all have revision {service.revision}, on trial until one has served for {good_s:g} s"
    else:
        why = ""
    return "; ".join(filter(None, (why, service.note)))


def _lacking_reason(state: State, service: Service, job: Job) -> str:
    """Why an instance is not ready."""
    why = reason(state, job)
    if service.live and job.final:
        return f"{job.job_id} is {job.state.value} ({why}); titan start brings it back"
    if job.state is JobState.RUNNING and restarts.count(job):
        return f"{why}; before: {restarts.cause(job.attempts[-2])}"
    return why


def _renewal_reason(state: State, service: Service) -> str:
    """How far a renewal is, and what it waits for."""
    new = [job for job in service.live if job.revision == service.revision]
    done = sum(job.ready and job is not service.surge for job in new)
    waiting = next((f"{job.job_id}: {reason(state, job)}" for job in new if not job.ready), "")
    progress = f"{done} of {service.wanted} renewed to revision {service.revision}"
    return "; ".join(filter(None, (progress, waiting, service.note)))


def _pool(state: State, name: str, growth: PoolGrowth, now: float) -> messages.PoolStatus:
    workers = [w for w in state.workers.values() if name in w.info.capabilities and w.state is WorkerState.ONLINE]
    return messages.PoolStatus(
        capability=name,
        workers=len(workers),
        slots=sum(worker.info.slots for worker in workers),
        free=sum(worker.free_slots for worker in workers),
        waiting=state.placement.waiting(name, scaling.MOST_COUNTED),
        starting=len(state.growth.expected_of(name)),
        trouble=scaling.trouble(growth, now),
    )


def _instance_of(job: Job) -> str:
    service = job.service
    return "" if service is None or service.head is job else service.head.job_id


def changed_jobs(run: Run, since: int) -> list[Job]:
    """The jobs that changed after version `since`, in submission order; all of them for 0."""
    if since >= run.version:
        return []
    oldest_known = run.version - len(run.changes)
    if 0 < oldest_known <= since or (since > 0 and oldest_known == 0):
        recent = itertools.islice(reversed(run.changes), run.version - since)
        return sorted(set(recent), key=lambda job: job.sequence)
    return [job for job in run.jobs.values() if job.changed_version > since]


def _counts(counts: dict[JobState, int]) -> tuple[messages.StateCount, ...]:
    return tuple(messages.StateCount(state.value, count) for state, count in counts.items() if count)
