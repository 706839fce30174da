"""How the cluster grows and shrinks: jobs that wait are held against the workers that could run them.

    jobs of a pool found no free slot for `up_s` ─▶ as many workers as they would fill, within the limits
    an ephemeral worker was idle for `down_s`, and its pool has not grown meanwhile ─▶ it is stopped

A pool is the workers with one capability. Workers come from a provisioner: `inception` has a worker of the
pool start another one of its kind on its own host; others are asked by an action for so many with that
capability. What was asked for counts as there until it registers, fails, or is overdue. After a failure a
pool waits, twice as long with each one in a row.

`notice` is called at the end of each step and costs next to nothing; `look` reads all workers, and is called
by a timer that `notice` sets, and every `scale_s` by the master's scaler.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from titan_core.errors import Conflict, NotFound
from titan_core.scheduler import workers
from titan_core.scheduler.actions import Provision, Release, SpawnWorker
from titan_core.scheduler.events import ProvisionFailed, SpawnFailed, WorkerStartRequested
from titan_core.scheduler.model import Worker, host_of
from titan_core.scheduler.placement import fits, strict_worker_id
from titan_core.scheduler.state import Expected, PoolGrowth, State
from titan_core.scheduler.states import WAITING, Affinity, WorkerState

MOST_COUNTED = 10_000
"""Waiting jobs of a pool beyond which it is not counted on."""
WORKERS_PER_CPU = 4
"""On one host, where the settings say nothing else."""
INCEPTION_S = 30.0
"""How long a worker that another one starts may take to register."""
BLOCKED_S = 300.0
"""How long a port is left alone on which a worker could not be started."""
_FIRST_PAUSE_S = 2.0
_LONGEST_PAUSE_S = 300.0

# ── in each step ──────────────────────────────────────────────────────────────────────────────────


def notice(state: State) -> None:
    """Have a look taken when a pool has been exhausted for a moment, and when a worker has been idle for long."""
    growth, placement = state.growth, state.placement
    if growth.idled:
        growth.idled = False
        _wake_at(state, state.now + state.settings.scaling.down_s)
    if placement.starved_changed:
        placement.starved_changed = False
        _note_starved(state)


def _note_starved(state: State) -> None:
    growth, starved = state.growth, state.placement.starved
    for capability in starved:
        pool = growth.pool(capability)
        if pool.starved_since is None:
            pool.starved_since = state.now
            _wake_at(state, state.now + state.settings.scaling.up_s)
    for capability, pool in growth.pools.items():
        if capability not in starved:
            pool.starved_since, pool.trouble = None, ""


def on_joined(state: State, worker: Worker) -> None:
    """A worker that was not there before: maybe one that was asked for."""
    growth = state.growth
    found = _expected_as(worker, growth.expected)
    if found is not None:
        growth.expected.remove(found)
        for capability in found.capabilities:
            pool = growth.pool(capability)
            pool.failures, pool.not_before, pool.trouble, pool.grown_at = 0, 0.0, "", state.now


def on_timer(state: State) -> None:
    state.growth.timer = 0
    look(state)


def look(state: State) -> None:
    """Let each pool grow that has to, and stop what nobody needs."""
    _give_up_overdue(state)
    if state.settings.scaling.provisioner == "none":
        return
    if state.now >= state.growth.not_before:
        for capability in list(state.placement.starved):
            _grow(state, capability)
    elif state.placement.starved:
        _wake_at(state, state.growth.not_before)
    _shrink(state)


# ── growing ───────────────────────────────────────────────────────────────────────────────────────


def _grow(state: State, capability: str) -> None:
    pool, scaling = state.growth.pool(capability), state.settings.scaling
    since = state.now if pool.starved_since is None else pool.starved_since
    ready_at = max(since + scaling.up_s, pool.not_before)
    if state.now < ready_at:
        _wake_at(state, ready_at)
        return
    count = _wanted(state, capability)
    if count > 0:
        pool.trouble = _grow_by(state, capability, count) or (pool.trouble if pool.failures else "")


def _wanted(state: State, capability: str) -> int:
    """How many more workers the waiting jobs would fill."""
    coming = sum(one.slots for one in state.growth.expected_of(capability))
    waiting = state.placement.waiting(capability, MOST_COUNTED) - coming
    return -(-waiting // _usual_slots(state, capability))


def _grow_by(state: State, capability: str, count: int) -> str:
    """Ask for so many, or as many as may be; why it is none, or empty."""
    room = _room(state, capability)
    if room <= 0:
        return _limit_sentence(state, capability)
    if state.settings.scaling.provisioner == "inception":
        return _incept(state, capability, min(count, room))
    _provision(state, capability, min(count, room))
    return ""


def _room(state: State, capability: str) -> int:
    """How many more the limits of the cluster and the pool allow."""
    scaling, growth = state.settings.scaling, state.growth
    room = scaling.max_workers - len(state.workers) - len(growth.expected)
    if scaling.max_per_pool:
        of_pool = sum(capability in worker.info.capabilities for worker in state.workers.values())
        room = min(room, scaling.max_per_pool - of_pool - len(growth.expected_of(capability)))
    return room


def _limit_sentence(state: State, capability: str) -> str:
    scaling = state.settings.scaling
    if scaling.max_workers <= len(state.workers) + len(state.growth.expected):
        there, expected = len(state.workers), len(state.growth.expected)
        coming = f" and expects {expected} more" if expected else ""
        return f"the cluster has {there} workers{coming}, max_workers is {scaling.max_workers}"
    return f"{capability} has as many workers as max_workers_per_pool allows: {scaling.max_per_pool}"


def _provision(state: State, capability: str, count: int) -> None:
    slots, due_at = _usual_slots(state, capability), state.now + state.settings.scaling.provision_s
    for _ in range(count):
        _expect(state, Expected(frozenset({capability}), state.now, due_at, slots))
    state.act(Provision(capability, count))


def _incept(state: State, capability: str, count: int) -> str:
    """Have workers of the pool start others of their kind; those with the fewest other capabilities come first."""
    for _ in range(count):
        parents = sorted(_of_pool(state, capability), key=lambda w: (len(w.info.capabilities), w.load, w.sequence))
        if not parents:
            return f"no worker that takes work has {capability}, and so none can start another one"
        parent = next((w for w in parents if _host_has_room(state, w)), None)
        if parent is None:
            return f"each host with {capability} has as many workers as it may"
        port = _free_port(state, parent.info.host)
        if not port:
            low, high = state.settings.scaling.ports
            return f"no port from {low} to {high} is free on {parent.info.host}"
        _spawn(state, parent, port, parent.info.capabilities, ephemeral=True)
    return ""


def _spawn(state: State, parent: Worker, port: int, capabilities: frozenset[str], ephemeral: bool) -> None:
    worker_id = f"{parent.info.host}:{port}"
    due_at = state.now + INCEPTION_S
    _expect(state, Expected(capabilities, state.now, due_at, parent.info.slots, worker_id))
    state.act(SpawnWorker(parent.worker_id, port, tuple(sorted(capabilities)), ephemeral))


def _expect(state: State, expected: Expected) -> None:
    state.growth.expected.append(expected)
    for capability in expected.capabilities:
        state.growth.pool(capability).grown_at = state.now
    _wake_at(state, expected.due_at)


def _of_pool(state: State, capability: str) -> list[Worker]:
    """The workers with this capability that take work."""
    return [w for w in state.workers.values() if capability in w.info.capabilities and w.takes_work]


def _usual_slots(state: State, capability: str) -> int:
    """Of a worker of the pool; of one that is made elsewhere it is only supposed."""
    return max((worker.info.slots for worker in _of_pool(state, capability)), default=4)


def _host_has_room(state: State, parent: Worker) -> bool:
    limit = state.settings.scaling.max_per_host or WORKERS_PER_CPU * parent.info.cpu_count
    host = parent.info.host
    there = sum(worker.info.host == host for worker in state.workers.values())
    return there + sum(host_of(one.worker_id) == host for one in state.growth.expected) < limit


def _free_port(state: State, host: str) -> int:
    """The lowest port of the range that nobody has, or could not get lately; 0 = there is none."""
    low, high = state.settings.scaling.ports
    taken = {*state.workers, *(one.worker_id for one in state.growth.expected)}
    taken |= {name for name, until_at in state.growth.blocked_ports.items() if until_at > state.now}
    return next((port for port in range(low, high + 1) if f"{host}:{port}" not in taken), 0)


# ── what became of it ─────────────────────────────────────────────────────────────────────────────


def on_spawn_failed(state: State, event: SpawnFailed) -> None:
    """A worker could not start another one. Said of one that is not expected any more, it is no matter."""
    worker_id = f"{host_of(event.worker_id)}:{event.port}"
    expected = state.growth.expected_as(worker_id)
    if expected is None:
        return
    state.growth.expected.remove(expected)
    _block_port(state, worker_id)
    _failed(state, expected.capabilities, f"worker {worker_id} could not be started: {event.reason}")


def on_provision_failed(state: State, event: ProvisionFailed) -> None:
    in_vain = [one for one in state.growth.expected_of(event.capability) if not one.worker_id]
    for one in in_vain[-event.count :]:
        state.growth.expected.remove(one)
    _failed(state, [event.capability], event.reason)


def _give_up_overdue(state: State) -> None:
    growth = state.growth
    overdue = [one for one in growth.expected if one.due_at <= state.now]
    growth.expected = [one for one in growth.expected if one.due_at > state.now]
    for one in overdue:
        if one.worker_id:
            _block_port(state, one.worker_id)
        name = f"worker {one.worker_id}" if one.worker_id else "a worker"
        _failed(state, one.capabilities, f"{name} has not registered within {one.due_at - one.asked_at:g} s")
    for one in growth.expected:
        _wake_at(state, one.due_at)
    growth.blocked_ports = {name: until for name, until in growth.blocked_ports.items() if until > state.now}


def _block_port(state: State, worker_id: str) -> None:
    state.growth.blocked_ports[worker_id] = state.now + BLOCKED_S


def _failed(state: State, capabilities: Iterable[str], trouble: str) -> None:
    for capability in capabilities:
        pool = state.growth.pool(capability)
        pause_s = min(_FIRST_PAUSE_S * 2.0 ** min(pool.failures, 20), _LONGEST_PAUSE_S)
        pool.failures += 1
        pool.not_before = state.now + pause_s
        if capability in state.placement.starved:
            pool.trouble = trouble
        _wake_at(state, pool.not_before)


def _expected_as(worker: Worker, expected: Sequence[Expected]) -> Expected | None:
    """By its name, else as one of those of which only the capabilities are known."""
    by_name = (one for one in expected if one.worker_id == worker.worker_id)
    others = (one for one in expected if not one.worker_id and one.capabilities <= worker.info.capabilities)
    return next(itertools.chain(by_name, others), None)


# ── shrinking ─────────────────────────────────────────────────────────────────────────────────────


def _shrink(state: State) -> None:
    """Stop what is idle, the newest first."""
    idle = [worker for worker in state.workers.values() if worker.info.ephemeral and _is_idle(worker)]
    for worker in sorted(idle, key=lambda worker: -worker.sequence):
        due_at = _may_go_at(state, worker)
        if state.now < due_at:
            _wake_at(state, due_at)
        elif not _is_needed(state, worker):
            _let_go(state, worker)


def _is_idle(worker: Worker) -> bool:
    return worker.state is WorkerState.ONLINE and worker.idle_since is not None


def _may_go_at(state: State, worker: Worker) -> float:
    """When it has been idle for long enough, and its pools have not grown for as long."""
    assert worker.idle_since is not None
    pools = (state.growth.pools.get(capability) for capability in worker.info.capabilities)
    grown = (pool.grown_at for pool in pools if pool is not None and pool.grown_at is not None)
    return max([worker.idle_since, *grown]) + state.settings.scaling.down_s


def _is_needed(state: State, worker: Worker) -> bool:
    """Whether jobs wait for its kind, or for this very one, or no other is left from which its pool could grow."""
    capabilities = worker.info.capabilities
    if any(capability in state.placement.starved for capability in capabilities) or _is_awaited(state, worker):
        return True
    if state.settings.scaling.provisioner != "inception":
        return False
    return any(_of_pool(state, capability) == [worker] for capability in capabilities)


def _is_awaited(state: State, worker: Worker) -> bool:
    """Whether a job is bound to it that is yet to run there. Reads all jobs: asked only of who is to be stopped."""
    alive = (job for run in state.runs.values() if run.live_jobs for job in run.jobs.values())
    strict = (job for job in alive if job.spec.affinity is Affinity.STRICT and job.state in WAITING)
    return any(strict_worker_id(job) == worker.worker_id and fits(job, worker) for job in strict)


def _let_go(state: State, worker: Worker) -> None:
    workers.shut_down(state, worker)
    if state.settings.scaling.provisioner == "external":
        state.act(Release(worker.worker_id, min(worker.info.capabilities)))


# ── by hand ───────────────────────────────────────────────────────────────────────────────────────


def on_worker_start_requested(state: State, event: WorkerStartRequested) -> None:
    """Have a worker started beside another one. It stays until a person stops it. Raises NotFound, Conflict."""
    parent = _parent_for(state, event)
    worker_id = f"{parent.info.host}:{event.port}"
    if worker_id in state.workers or state.growth.expected_as(worker_id) is not None:
        raise Conflict(f"there is a worker {worker_id} already, or about to be")
    capabilities = frozenset({event.capability}) if event.capability else parent.info.capabilities
    _spawn(state, parent, event.port, capabilities, ephemeral=False)


def _parent_for(state: State, event: WorkerStartRequested) -> Worker:
    if event.beside:
        parent = state.workers.get(event.beside)
        if parent is None:
            raise NotFound(f"there is no worker {event.beside}")
        if not parent.takes_work:
            why = f"in trouble ({parent.trouble})" if parent.trouble else parent.state.value
            raise Conflict(f"worker {parent.worker_id} is {why}; it starts no other one")
        return parent
    able = [worker for worker in state.workers.values() if worker.takes_work]
    able.sort(key=lambda w: (event.capability not in w.info.capabilities, len(w.info.capabilities), w.sequence))
    if not able:
        raise Conflict(
            "no worker is connected that could start another one; start it with: python -m titan_core.worker"
        )
    return able[0]


# ── the timer ─────────────────────────────────────────────────────────────────────────────────────


def _wake_at(state: State, due_at: float) -> None:
    """Have a look taken then, or before."""
    growth = state.growth
    if state.settings.scaling.provisioner == "none" or (growth.timer and growth.timer_at <= due_at):
        return
    state.timers.cancel(growth.timer)
    growth.timer, growth.timer_at = state.timers.add(due_at, growth), due_at


def trouble(pool: PoolGrowth, now: float) -> str:
    """Why the pool does not grow though it should, and what comes next; empty: nothing keeps it from it."""
    if not pool.failures:
        return pool.trouble
    pause_s = pool.not_before - now
    return f"{pool.trouble}; tried again " + (f"in {pause_s:.0f} s" if pause_s > 0 else "now")


def pools(state: State) -> dict[str, PoolGrowth]:
    """What is remembered of the pools, and of those that workers, or waiting jobs, make up now."""
    names = {capability for worker in state.workers.values() for capability in worker.info.capabilities}
    names |= state.placement.starved.keys() | {name for one in state.growth.expected for name in one.capabilities}
    return {name: state.growth.pools.get(name, PoolGrowth()) for name in sorted(names)}
