"""Reactions that concern workers: they register, fall silent, return, drain, die.

What a returning worker says is held against what the core remembers:

    the worker says   the core has                                        then
    running T         T active there                                      it is adopted
    running T         T given up, no newer attempt exists                 it is revived and adopted
    running T         a newer attempt, a final job, or nothing of T       the worker is to kill it
    finished T        T active, or given up with no newer attempt         the result counts
    finished T        anything else                                       acknowledged, not counted
    nothing of T      T sent, and it is the same worker process           it is sent again
    nothing of T      T sent, and it is a new worker process              lost, and queued again at once
"""

from __future__ import annotations

from collections.abc import Iterable

from titan_core.errors import Conflict, NotFound, Unavailable
from titan_core.scheduler import attempts
from titan_core.scheduler.actions import (
    AcceptWorker,
    AcknowledgeResult,
    RecordWorker,
    ShutDownWorker,
    StartAttempt,
    StopAttempt,
)
from titan_core.scheduler.events import (
    AttemptReport,
    WorkerDisconnected,
    WorkerHoldRequested,
    WorkerRegistered,
    WorkerShutdownRequested,
    WorkerTroubleChanged,
)
from titan_core.scheduler.model import LOST_KEPT, Attempt, LostWorker, Worker
from titan_core.scheduler.state import State
from titan_core.scheduler.states import WorkerState


def on_registered(state: State, event: WorkerRegistered) -> None:
    worker = state.workers.get(event.info.worker_id)
    same_process = worker is not None and worker.info.instance == event.info.instance
    if worker is not None and not same_process:
        _refuse_if_alive(worker)
    worker = _seat(state, worker, event, same_process)
    before = [*worker.running.values(), *worker.services.values()]
    adopted = [a for token in event.running if (a := _adopt_running(state, worker, token)) is not None]
    state.act(AcceptWorker(worker.worker_id, event.session, tuple(adopted)))
    on_results(state, worker.worker_id, event.finished)
    told = {*event.running, *(report.token for report in event.finished)}
    for attempt in before:
        if attempt.token not in told:
            _on_unmentioned(state, attempt, same_process)
    for attempt in adopted:
        if attempt.job.ending is not None:
            state.act(StopAttempt(worker.worker_id, attempt.token, attempt.job.ending[1]))
    if worker.shutdown_sent:
        state.act(ShutDownWorker(worker.worker_id))  # it may have been lost with the session before
    attempts.send_shutdown_once_idle(state, worker)
    if not worker.running and not worker.services and worker.idle_since is None:
        worker.idle_since = state.now
        state.growth.idled = state.growth.idled or worker.info.ephemeral


def on_disconnected(state: State, event: WorkerDisconnected) -> None:
    """Its session is gone. It may be back within `death_s` of its last word; one that said goodbye will not."""
    worker = state.workers.get(event.worker_id)
    if worker is None or worker.session != event.session:
        return
    if worker.leaving:
        _bury(state, worker, f"worker {worker.worker_id} stopped")
        return
    worker.state = WorkerState.DISCONNECTED
    state.timers.cancel(worker.timer)
    worker.timer = state.timers.add(event.last_heard_at + state.settings.death_s, worker)
    state.placement.update(worker)


def on_silent(state: State, worker: Worker) -> None:
    """It was not heard for `death_s`, or did not come back to a master that was started again."""
    if worker.session:
        reason = f"worker {worker.worker_id} was not heard for {state.settings.death_s:g} s"
    else:
        reason = f"worker {worker.worker_id} did not come back within {state.grace_s:g} s of the master's start"
    _remember(state, worker, reason)
    _bury(state, worker, reason)


def on_goodbye(state: State, worker_id: str) -> None:
    """It is stopping, and takes no more work; what it runs comes back as interrupted."""
    worker = state.workers.get(worker_id)
    if worker is not None and worker.state is not WorkerState.DISCONNECTED:
        worker.leaving, worker.shutting_down = True, False
        _set_state(state, worker)


def on_hold_requested(state: State, event: WorkerHoldRequested) -> None:
    worker = _find(state, event.worker_id)
    if worker.held is not event.undo:
        held = "is being drained already" if worker.held else "is not being drained"
        raise Conflict(f"worker {worker.worker_id} {held}")
    worker.held = not event.undo
    if worker.state is not WorkerState.DISCONNECTED:
        _set_state(state, worker)
    state.act(RecordWorker(worker))


def on_trouble_changed(state: State, event: WorkerTroubleChanged) -> None:
    worker = state.workers.get(event.worker_id)
    if worker is not None and worker.session == event.session and worker.state is not WorkerState.DISCONNECTED:
        worker.trouble = event.trouble
        state.placement.update(worker)


def strays(state: State, worker_id: str, session: int, running: Iterable[bytes]) -> tuple[bytes, ...]:
    """Those of the attempts a worker says it runs that it is not to run; changes nothing."""
    worker = state.workers.get(worker_id)
    if worker is None or worker.session != session:
        return ()
    return tuple(token for token in running if token not in worker.running and token not in worker.services)


def on_shutdown_requested(state: State, event: WorkerShutdownRequested) -> None:
    worker = _find(state, event.worker_id)
    if worker.info.permanent and not event.force:
        raise Conflict(f"worker {worker.worker_id} is permanent; use --force to stop it all the same")
    if worker.state is WorkerState.DISCONNECTED:
        raise Conflict(f"worker {worker.worker_id} is not connected; stop it on its machine")
    shut_down(state, worker, event.now)


def shut_down(state: State, worker: Worker, now: bool = False) -> None:
    """It gets nothing more, and is told to stop once its jobs have ended, or at once if so wanted."""
    worker.shutting_down = not worker.leaving
    _set_state(state, worker)
    state.act(RecordWorker(worker))
    if now:
        worker.shutdown_sent = True
        state.act(ShutDownWorker(worker.worker_id))
    else:
        attempts.send_shutdown_once_idle(state, worker)


def on_results(state: State, worker_id: str, reports: Iterable[AttemptReport]) -> None:
    """Results arrived: each counts once, for the attempt whose token it bears; it is acknowledged in any case."""
    worker = state.workers.get(worker_id)
    for report in reports:
        attempt = _adopt(state, worker, report.token) if worker is not None else None
        if attempt is not None:
            attempts.on_finished(state, attempt, report)
        state.act(AcknowledgeResult(worker_id, report.token))


def _refuse_if_alive(worker: Worker) -> None:
    if worker.state is not WorkerState.DISCONNECTED:
        raise Unavailable(
            f"another worker {worker.worker_id} is connected; if it is a different machine give this one "
            "a name of its own with --hostname, if it has just died wait for the master to notice"
        )


def _find(state: State, worker_id: str) -> Worker:
    worker = state.workers.get(worker_id)
    if worker is None:
        raise NotFound(f"there is no worker {worker_id}")
    return worker


def _set_state(state: State, worker: Worker) -> None:
    """Of a worker with a session: whether it gets work."""
    draining = worker.leaving or worker.shutting_down or worker.held
    worker.state = WorkerState.DRAINING if draining else WorkerState.ONLINE
    state.placement.update(worker)


def _seat(state: State, worker: Worker | None, event: WorkerRegistered, same_process: bool) -> Worker:
    """The worker's record, new or as it was, with its new session."""
    if worker is None:
        worker = Worker(event.info, state.next_sequence(), WorkerState.ONLINE, event.session, state.now)
        state.workers[worker.worker_id] = worker
        state.lost_workers.pop(worker.worker_id, None)
    state.timers.cancel(worker.timer)
    worker.info, worker.session, worker.connected_at, worker.timer = event.info, event.session, state.now, 0
    worker.leaving, worker.trouble = False, event.trouble
    worker.shutting_down = worker.shutting_down and same_process
    worker.shutdown_sent = worker.shutdown_sent and worker.shutting_down
    _set_state(state, worker)
    state.act(RecordWorker(worker))
    return worker


def _adopt(state: State, worker: Worker, token: bytes) -> Attempt | None:
    """The attempt of this token if it is the worker's to go on with; revived when it had been given up."""
    attempt = state.attempts.get(token)
    if attempt is None and token in state.lost and state.lost[token].worker_id == worker.worker_id:
        attempt = state.lost[token]
        attempts.revive(state, attempt, worker)
    if attempt is None or attempt.worker_id != worker.worker_id:
        return None
    return attempt


def _adopt_running(state: State, worker: Worker, token: bytes) -> Attempt | None:
    """The same for one that runs; of two services with one port, the one that has been placed meanwhile goes on."""
    lost = state.lost.get(token)
    taken = state.placement.hosts_with_port(lost.job.spec.policy.port) if lost is not None else {}
    return None if worker.info.host in taken else _adopt(state, worker, token)


def _on_unmentioned(state: State, attempt: Attempt, same_process: bool) -> None:
    if attempt.token not in state.attempts:
        return
    if same_process:
        state.act(StartAttempt(attempt, attempts.addresses(state, attempt.job)))
        if attempt.job.ending is not None:
            state.act(StopAttempt(attempt.worker_id, attempt.token, attempt.job.ending[1]))
    else:
        attempts.on_lost(state, attempt, f"worker {attempt.worker_id} was restarted", crashed=True)


def _bury(state: State, worker: Worker, reason: str) -> None:
    state.timers.cancel(worker.timer)
    state.placement.remove(worker)
    del state.workers[worker.worker_id]
    state.act(RecordWorker(worker, gone=True))
    for attempt in [*worker.running.values(), *worker.services.values()]:
        attempts.on_lost(state, attempt, reason)


def _remember(state: State, worker: Worker, reason: str) -> None:
    """For a person, who has to see why it is gone; one that left by itself, or was asked to, is no news."""
    if worker.leaving or worker.shutting_down:
        return
    held = len(worker.running) + len(worker.services)
    lost = LostWorker(worker.worker_id, state.now, reason, held, worker.info.capabilities)
    state.lost_workers[worker.worker_id] = lost
    if len(state.lost_workers) > LOST_KEPT:
        del state.lost_workers[next(iter(state.lost_workers))]
