"""The judge is judged: a defect that breaks a promise, put into the code on purpose, does not stay unseen.

Each defect is one that somebody could make. It is put in by replacing a function of the real code (or of the model
of what surrounds the core), and must be caught within HISTORIES of the simulation, by the judge alone: the core's own
invariants are not looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from titan_core.scheduler import attempts, jobs, recovery, retry, workers
from titan_core.scheduler.actions import Action, StartAttempt
from titan_core.scheduler.events import StateRecovered
from titan_core.scheduler.model import Attempt, Job, Worker
from titan_core.scheduler.records import Batch
from titan_core.scheduler.state import State
from titan_core.scheduler.states import EDGES, JobState, Outcome
from titan_test_suite.pytests.support.simulation.defects import Defects, Patch, around, rows_without
from titan_test_suite.pytests.support.simulation.frames import Acknowledge, Beat, Frame
from titan_test_suite.pytests.support.simulation.master import Master, Session
from titan_test_suite.pytests.support.simulation.network import DOWN
from titan_test_suite.pytests.support.simulation.store import Store
from titan_test_suite.pytests.support.simulation.worker import Worker as SimulatedWorker

DEFECTS = Defects()
defect = DEFECTS.add


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_seen(name: str, monkeypatch: Patch) -> None:
    DEFECTS.check_is_seen(name, monkeypatch)


# ── fences ────────────────────────────────────────────────────────────────────────────────────────


@defect
def a_result_counts_whatever_its_token(monkeypatch: Patch) -> None:
    def adopt(original: Callable[..., Any], state: State, worker: Worker, token: bytes) -> Attempt | None:
        found: Attempt | None = original(state, worker, token)
        for job in [job for run in state.runs.values() for job in run.jobs.values() if job.attempts]:
            if found is None and job.state is JobState.RUNNING and token in [a.token for a in job.attempts]:
                return job.attempts[-1]
        return found

    around(monkeypatch, workers, "_adopt", adopt)


@defect
def a_superseded_attempt_still_counts(monkeypatch: Patch) -> None:
    """Two completions of a job, then."""

    def start(original: Callable[..., Any], state: State, job: Job, worker: Worker) -> None:
        lost = {token: attempt for token, attempt in state.lost.items() if attempt.job is job}
        original(state, job, worker)
        state.lost.update(lost)

    around(monkeypatch, attempts, "start", start)
    for state in (JobState.RUNNING, JobState.COMPLETED):
        monkeypatch.setitem(EDGES, state, EDGES[state] | {JobState.RUNNING, JobState.COMPLETED})


@defect
def every_attempt_of_a_job_has_the_same_token(monkeypatch: Patch) -> None:
    around(monkeypatch, attempts, "token", lambda original, job, number, term: original(job, 1, 1))


@defect
def a_number_is_given_again_when_its_attempt_was_lost(monkeypatch: Patch) -> None:
    def on_lost(original: Callable[..., Any], state: State, attempt: Attempt, *rest: Any, **named: Any) -> None:
        original(state, attempt, *rest, **named)
        if attempt.job.state is JobState.QUEUED:
            attempt.job.attempts.pop()
            state.lost.clear()

    around(monkeypatch, attempts, "on_lost", on_lost)


@defect
def terms_do_not_grow(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Store, "next_term", lambda store: 1)


@defect
def an_order_given_to_a_process_is_given_to_its_successor(monkeypatch: Patch) -> None:
    around(
        monkeypatch, workers, "_on_unmentioned", lambda original, state, attempt, same: original(state, attempt, True)
    )


# ── before and after a commit ─────────────────────────────────────────────────────────────────────


@defect
def answers_do_not_wait_for_the_disk(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Master, "answer", lambda master, say: say())


@defect
def results_are_acknowledged_before_they_are_on_disk(monkeypatch: Patch) -> None:
    def put(original: Callable[..., Any], session: Session, frame: Frame, ticket: int) -> None:
        if isinstance(frame, Acknowledge):
            session.connection.send(DOWN, frame)
        else:
            original(session, frame, ticket)

    around(monkeypatch, Session, "put", put)


@defect
def orders_are_sent_before_they_are_on_disk(monkeypatch: Patch) -> None:
    def put(session: Session, frame: Frame, ticket: int) -> None:
        session.connection.send(DOWN, frame)

    monkeypatch.setattr(Session, "put", put)


@defect
def what_a_worker_is_to_forget_does_not_wait_for_the_disk(monkeypatch: Patch) -> None:
    """A heartbeat may say that something runs whose result is here already, and not on disk."""

    def put(original: Callable[..., Any], session: Session, frame: Frame, ticket: int) -> None:
        if isinstance(frame, Beat):
            session.connection.send(DOWN, frame)
        else:
            original(session, frame, ticket)

    around(monkeypatch, Session, "put", put)


@defect
def what_is_about_to_be_run_is_not_written_down(monkeypatch: Patch) -> None:
    rows_without(monkeypatch, lambda made: made._replace(attempts=[a for a in made.attempts if a.outcome]))


@defect
def an_end_is_not_written_down_when_the_next_attempt_begins_with_it(monkeypatch: Patch) -> None:
    def newest_only(made: Batch) -> Batch:
        newest = {attempt.job: attempt for attempt in made.attempts}
        return made._replace(attempts=list(newest.values()))

    rows_without(monkeypatch, newest_only)


@defect
def request_ids_are_not_written_down(monkeypatch: Patch) -> None:
    rows_without(monkeypatch, lambda made: made._replace(requests=[]))


@defect
def a_change_is_not_written_down(monkeypatch: Patch) -> None:
    """What a crash has cost a job is no reason to write it down again."""
    rows_without(
        monkeypatch, lambda made: made._replace(states=[s._replace(losses=0) if s.losses else s for s in made.states])
    )


# ── recovery ──────────────────────────────────────────────────────────────────────────────────────


@defect
def recovery_forgets_what_was_given_up(monkeypatch: Patch) -> None:
    def set_going(original: Callable[..., Any], state: State, job: Job) -> None:
        original(state, job)
        state.lost.clear()

    around(monkeypatch, recovery, "_set_going", set_going)


@defect
def recovery_takes_everything_that_ran_for_lost(monkeypatch: Patch) -> None:
    def set_going(original: Callable[..., Any], state: State, job: Job) -> None:
        original(state, job)
        if job.state is JobState.RUNNING:
            attempts.on_lost(state, job.attempts[-1], "the master was started again")

    around(monkeypatch, recovery, "_set_going", set_going)


@defect
def workers_get_no_grace(monkeypatch: Patch) -> None:
    def on_recovered(original: Callable[..., Any], state: State, event: StateRecovered) -> None:
        original(state, replace(event, grace_s=0.1))

    around(monkeypatch, recovery, "on_recovered", on_recovered)


@defect
def recovery_forgets_what_is_being_stopped(monkeypatch: Patch) -> None:
    def restore(original: Callable[..., Any], run: Any, stored: Any) -> Job:
        return original(run, stored._replace(became=stored.became._replace(ending_state="")))

    around(monkeypatch, recovery, "_restore_job", restore)


# ── decisions ─────────────────────────────────────────────────────────────────────────────────────


@defect
def what_waits_for_a_failed_job_is_not_cancelled(monkeypatch: Patch) -> None:
    monkeypatch.setattr(jobs, "cancel_waiting", lambda state, job, reason: None)


@defect
def a_child_begins_when_one_parent_has_ended(monkeypatch: Patch) -> None:
    def satisfy(original: Callable[..., Any], state: State, job: Job) -> None:
        for child in job.children:
            child.open_parents = min(child.open_parents, 1)
        original(state, job)

    around(monkeypatch, jobs, "satisfy", satisfy)


@defect
def no_budget_is_ever_used_up(monkeypatch: Patch) -> None:
    monkeypatch.setattr(retry, "refusal", lambda attempt: "")


@defect
def a_job_whose_outcome_is_unknown_is_complete(monkeypatch: Patch) -> None:
    def on_finished(original: Callable[..., Any], state: State, attempt: Attempt, report: Any) -> None:
        lost = report.outcome is Outcome.LOST and attempt.job.spec.max_attempts == 1
        original(state, attempt, replace(report, outcome=Outcome.SUCCEEDED) if lost else report)

    around(monkeypatch, attempts, "on_finished", on_finished)


@defect
def an_order_lost_with_its_connection_is_not_given_again(monkeypatch: Patch) -> None:
    around(monkeypatch, State, "act", _act_unless_repeated)


def _act_unless_repeated(original: Callable[..., Any], state: State, action: Action) -> None:
    if not (isinstance(action, StartAttempt) and action.attempt.started_at < state.now):
        original(state, action)


# ── workers ───────────────────────────────────────────────────────────────────────────────────────


@defect
def workers_keep_no_journal(monkeypatch: Patch) -> None:
    def drop(original: Callable[..., Any], worker: SimulatedWorker, quietly: bool = False) -> None:
        original(worker, quietly)
        worker.journal.clear()

    around(monkeypatch, SimulatedWorker, "_drop", drop)


@defect
def workers_are_told_to_end_what_is_theirs(monkeypatch: Patch) -> None:
    monkeypatch.setattr(workers, "strays", lambda state, worker_id, session, running: tuple(running))
