"""What the master shows: messages made of the model. Read under the engine's lock; nothing here changes anything."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable

from titan_core.clock import Clock
from titan_core.master.sessions import Session
from titan_core.protocol import messages
from titan_core.scheduler.explain import reason
from titan_core.scheduler.model import Attempt, Job, JobState, Run, Worker
from titan_core.scheduler.records import RunRecord
from titan_core.scheduler.state import State


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
            port=task.port,
            parents=job.spec.parents,
            worker=latest.worker_id if latest else "",
            exit_code=latest.exit_code if latest else -1,
            submitted_wall=self._wall(job.submitted_at),
            started_wall=self._wall(job.started_at),
            finished_wall=self._wall(job.finished_at),
            due_wall=self._wall(job.due_at),
            attempts=tuple(map(self._attempt, job.attempts)) if attempts else (),
            final=job.final,
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
        )

    def past_run(self, run: RunRecord) -> messages.RunStatus:
        """Of a run that is not in memory."""
        return messages.RunStatus(
            run_id=run.run_id,
            name=run.name,
            state=run.state,
            version=0,
            counts=_counts(dict(zip(JobState, run.counts, strict=True))),
            submitted_wall=self._wall(run.submitted_at),
            finished_wall=self._wall(run.finished_at),
            final=True,
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

    # ── workers ───────────────────────────────────────────────────────────────────────────────────

    def cluster(self, state: State, sessions: Iterable[Session]) -> messages.ClusterStatus:
        counts: Counter[JobState] = Counter()
        for run in state.runs.values():
            counts.update(run.counts)
        return messages.ClusterStatus(self.workers(state, sessions), _counts(counts))

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
        )

    def _history(self, attempt: Attempt) -> messages.WorkerHistory:
        state = attempt.outcome.value if attempt.outcome else JobState.RUNNING.value
        until_at = self._clock.monotonic() if attempt.finished_at is None else attempt.finished_at
        return messages.WorkerHistory(attempt.job.key, state, until_at - attempt.started_at)

    def _wall(self, instant_at: float | None) -> float:
        return 0.0 if instant_at is None else self._clock.to_wall(instant_at)


def changed_jobs(run: Run, since: int) -> list[Job]:
    """The jobs that changed after version `since`, in submission order; all of them for 0."""
    if since >= run.version:
        return []
    oldest_known = run.version - len(run.changes)
    if 0 < oldest_known <= since or (since > 0 and oldest_known == 0):
        recent = itertools.islice(reversed(run.changes), run.version - since)
        return sorted(set(recent), key=lambda job: job.sequence)
    return [job for job in run.jobs.values() if job.changed_version > since]


def _counts(counts: dict[JobState, int] | Counter[JobState]) -> tuple[messages.StateCount, ...]:
    return tuple(messages.StateCount(state.value, count) for state, count in counts.items() if count)
