"""Why a job is where it is, in sentences, the most important first."""

from __future__ import annotations

from collections.abc import Iterable

from titan_core.scheduler import scaling
from titan_core.scheduler.model import Job, Worker
from titan_core.scheduler.placement import capable, fits, strict_worker_id
from titan_core.scheduler.state import State
from titan_core.scheduler.states import JobState, WorkerState

_NAMED = 5
"""How many parents, or workers, are named before the rest is counted."""
_MOST_SERVICES = "hosts as many services as it takes"
_MORE_WORKERS = "the cluster does not grow for services: start another worker, or raise --max-services"


def explain(state: State, job: Job, now: float) -> list[str]:
    """Sentences about `job` at `now`; never empty."""
    if job.state is JobState.BLOCKED:
        return _blocked(job)
    if job.due_at is not None:
        return [f"due in {max(0.0, job.due_at - now):.1f} s", job.reason]
    if job.state is JobState.QUEUED:
        return _queued(state, job, now)
    if job.state is JobState.RUNNING:
        return _running(state, job, now)
    return [f"{job.state.value}: {job.reason}", *_last_attempt(job)]


def reason(state: State, job: Job) -> str:
    """Why `job` is where it is, in one sentence: of one that waits for a worker, what it waits for at this moment."""
    if job.state is not JobState.QUEUED:
        return job.reason
    waits = _unplaced(state, job)
    return f"{job.reason}; {waits}" if job.attempts else waits


def _blocked(job: Job) -> list[str]:
    open_parents = [p for p in job.parents if not p.satisfied]
    return [_listing("waits for ", [f"{p.job_id} ({p.state.value})" for p in open_parents])]


def _queued(state: State, job: Job, now: float) -> list[str]:
    if strict_worker_id(job) or not capable(job, state.workers.values()):
        return [_unplaced(state, job), *_growth(state, job, now)]
    ahead = state.placement.ahead_of(job)
    return [
        _unplaced(state, job),
        f"{ahead} {'job is' if ahead == 1 else 'jobs are'} ahead of it",
        *_growth(state, job, now),
    ]


def _growth(state: State, job: Job, now: float) -> list[str]:
    """What the scaler does about it; nothing where it is not its affair."""
    provisioner, capability = state.settings.scaling.provisioner, job.spec.requirement
    if job.spec.service or strict_worker_id(job) or provisioner == "none":
        return []
    starting = len(state.growth.expected_of(capability))
    pool = state.growth.pools.get(capability)
    found = [f"{starting} more {'worker is' if starting == 1 else 'workers are'} being started"] if starting else []
    trouble = scaling.trouble(pool, now) if pool is not None else ""
    if trouble:
        found.append(f"the cluster does not grow: {trouble}")
    elif provisioner == "inception" and not any(fits(job, worker) for worker in state.workers.values()):
        found.append(f"the cluster adds only workers like those it has: one with {capability} is for you to start")
    return found


def _unplaced(state: State, job: Job) -> str:
    """Why no worker has taken a ready job. O(workers), unlike the count of the jobs ahead of it."""
    bound_to = strict_worker_id(job)
    if bound_to:
        return _bound(state, job, bound_to)
    if not state.workers:
        return "no worker is connected; start one with: python -m titan_core.worker"
    fitting = capable(job, state.workers.values())
    return _full(state, job, fitting) if fitting else _no_capability(job, state.workers.values())


def _bound(state: State, job: Job, worker_id: str) -> str:
    worker = state.workers.get(worker_id)
    bound = f"strict affinity binds it to worker {worker_id}, "
    if worker is None:
        return bound + "which is gone; it starts when that worker is back"
    if not fits(job, worker):
        return bound + f"which does not have {job.spec.requirement}"
    if worker.state is not WorkerState.ONLINE:
        return bound + f"which is {worker.state.value}"
    if worker.trouble:
        return bound + f"which is in trouble: {worker.trouble}"
    if not job.spec.service:
        return bound + "where all slots are busy"
    if worker.has_room(True):
        return bound + f"where {_no_place(state, job, [worker])}"
    return bound + f"which {_MOST_SERVICES}"


def _no_capability(job: Job, workers: Iterable[Worker]) -> str:
    holders = [f"{w.worker_id} ({w.trouble or w.state.value})" for w in workers if fits(job, w)]
    if holders:
        return _listing(f"no worker with {job.spec.requirement} takes work now: ", holders)
    known = sorted({capability for w in workers for capability in w.info.capabilities})
    return f"no worker has {job.spec.requirement}; the known ones have {', '.join(known)}"


def _full(state: State, job: Job, fitting: list[Worker]) -> str:
    if job.spec.service:
        return _no_place(state, job, fitting)
    workers = "one worker" if len(fitting) == 1 else f"{len(fitting)} workers"
    slots = sum(w.info.slots for w in fitting)
    all_of_them, are = ("the one slot", "is") if slots == 1 else (f"all {slots} slots", "are")
    return f"{all_of_them} of the {workers} with {job.spec.requirement} {are} busy"


def _no_place(state: State, job: Job, fitting: list[Worker]) -> str:
    """Why none of the workers that fit takes a service."""
    port, taken = job.spec.policy.port, state.placement.hosts_with_port(job.spec.policy.port)
    owners = {worker.info.host: taken[worker.info.host].key for worker in fitting if worker.info.host in taken}
    if owners:
        return _listing(f"port {port} is taken: ", [f"on {host} by service {key}" for host, key in owners.items()])
    return f"every worker with {job.spec.requirement} {_MOST_SERVICES}; {_MORE_WORKERS}"


def _running(state: State, job: Job, now: float) -> list[str]:
    attempt = job.attempts[-1]
    sentences = [f"attempt {attempt.number} runs on {attempt.worker_id} since {now - attempt.started_at:.1f} s"]
    if job.spec.service and job.ending is None:
        sentences.append("it is ready" if job.ready else "it is not ready yet")
    if job.ending is not None:
        sentences.insert(0, f"is being stopped: {job.ending[1]}")
    worker = state.workers.get(attempt.worker_id)
    if worker is not None and worker.state is WorkerState.DISCONNECTED:
        sentences.append(f"worker {worker.worker_id} is not connected; without word of it the attempt will be lost")
    return sentences


def _last_attempt(job: Job) -> list[str]:
    attempt = job.attempt
    if attempt is None:
        return ["it never started"]
    return [f"attempt {attempt.number} ran on {attempt.worker_id}"]


def _listing(head: str, items: list[str]) -> str:
    rest = len(items) - _NAMED
    return head + ", ".join(items[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
