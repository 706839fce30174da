"""The states of jobs and runs: one door, drawn edges, and what the books of a run say after each step."""

from __future__ import annotations

import itertools

import pytest

from titan_core.scheduler import jobs
from titan_core.scheduler.actions import RecordChange, RecordJobsAdded, RecordRunFinished, StartAttempt
from titan_core.scheduler.model import CHANGES_KEPT
from titan_core.scheduler.states import EDGES, FINAL, LOST_CAUSE, WAITING, JobState
from titan_test_suite.pytests.support.cluster_model import Cluster, job, service

ILLEGAL = [(a, b) for a, b in itertools.product(JobState, JobState) if b not in EDGES[a]]


@pytest.mark.parametrize(("before", "after"), ILLEGAL, ids=lambda state: state.value)
def test_an_edge_that_is_not_drawn_is_refused(before: JobState, after: JobState) -> None:
    cluster = Cluster()
    cluster.submit(job("a"))
    cluster.job("a").state = before
    with pytest.raises(AssertionError, match=f"no edge from {before.value} to {after.value}"):
        jobs.move(cluster.core.state, cluster.job("a"), after, "because")
    assert cluster.job("a").state is before


def test_every_state_is_waiting_running_or_final() -> None:
    assert WAITING | FINAL | {JobState.RUNNING} == set(JobState)
    assert not WAITING & FINAL
    assert LOST_CAUSE < FINAL


def test_only_a_person_leads_out_of_a_final_state() -> None:
    assert EDGES[JobState.COMPLETED] == {JobState.QUEUED}  # an instance of a service, see test_services_by_hand
    for state in LOST_CAUSE:
        assert EDGES[state] == {JobState.BLOCKED, JobState.QUEUED}


def test_the_way_of_a_job_that_succeeds() -> None:
    cluster = Cluster()
    cluster.submit(job("a"), job("b", "a", delay_s=5))
    cluster.join("w")
    cluster.finish("a")
    cluster.advance(5)
    cluster.finish("b")
    assert cluster.history("a") == ["QUEUED", "RUNNING", "COMPLETED"]
    assert cluster.history("b") == ["DELAYED", "QUEUED", "RUNNING", "COMPLETED"]


def test_the_way_of_a_job_that_fails() -> None:
    cluster = Cluster()
    cluster.join("w")
    cluster.submit(job("a", retries=1))
    cluster.fail("a")
    cluster.advance(10)
    cluster.fail("a")
    assert cluster.history("a") == ["QUEUED", "RUNNING", "FAILED", "QUEUED", "RUNNING", "FAILED", "DEAD"]


def test_every_change_has_a_reason() -> None:
    cluster = Cluster()
    cluster.join("w")
    cluster.submit(job("a"), job("b", "a"), job("c", delay_s=1), job("d"))
    cluster.fail("a")
    cluster.finish("d")
    cluster.advance(1)
    changes = [action for action in cluster.actions if isinstance(action, RecordChange)]
    assert changes
    assert all(change.reason for change in changes)
    assert cluster.job("a").reason == "exit code 1"
    assert cluster.job("b").reason == "parent a is DEAD"
    assert cluster.job("c").reason == "on w:8080"
    assert cluster.job("d").reason == "exit code 0"


def test_a_submission_is_told_first_and_its_starts_last() -> None:
    cluster = Cluster()
    cluster.join("w")
    kinds = [type(action) for action in cluster.submit(job("a"))]
    assert kinds == [RecordJobsAdded, RecordChange, RecordChange, StartAttempt]


# ── runs ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_is_completed_when_all_its_jobs_are() -> None:
    cluster = Cluster()
    cluster.join("w")
    cluster.submit(job("a"), job("b"))
    cluster.finish("a")
    assert cluster.run_state() == "RUNNING"
    assert cluster.run().finished_at is None
    actions = cluster.finish("b")
    assert cluster.run_state() == "COMPLETED"
    assert cluster.run().finished_at == cluster.now
    assert [action.run for action in actions if isinstance(action, RecordRunFinished)] == [cluster.run()]


def test_a_dead_job_fails_its_run_when_the_others_are_over() -> None:
    cluster = Cluster()
    cluster.join("w")
    cluster.submit(job("a"), job("b"), job("c", "a"))
    cluster.fail("a")
    assert cluster.run_state() == "RUNNING"
    cluster.finish("b")
    assert cluster.run_state() == "FAILED"
    assert cluster.states() == {"a": "DEAD", "b": "COMPLETED", "c": "CANCELLED"}


def test_a_run_without_dead_jobs_but_cancelled_ones_is_cancelled() -> None:
    cluster = Cluster()
    cluster.join("w")
    cluster.submit(job("a"), job("b", delay_s=9))
    cluster.cancel("b")
    cluster.finish("a")
    assert cluster.run_state() == "CANCELLED"


def test_a_service_that_is_up_does_not_keep_its_run_open() -> None:
    cluster = Cluster()
    cluster.join("w")
    cluster.submit(job("a"), service("web", "a"))
    cluster.finish("a")
    assert cluster.run_state() == "RUNNING"
    cluster.ready("web")
    assert cluster.run_state() == "COMPLETED"
    assert cluster.run().live_jobs == 1


def test_a_service_that_fails_reopens_its_run() -> None:
    cluster = Cluster()
    cluster.join("w")
    cluster.submit(service("web", retries=1))
    cluster.ready("web")
    cluster.fail("web")
    assert cluster.run_state() == "RUNNING"
    assert cluster.run().finished_at is None
    cluster.advance(10)
    cluster.fail("web")
    assert cluster.run_state() == "FAILED"


def test_the_version_grows_with_every_change_and_the_changes_say_of_what() -> None:
    cluster = Cluster()
    cluster.join("w", slots=1)
    cluster.submit(job("a"), job("b"))
    version = cluster.run().version
    assert version == len(cluster.run().changes)
    cluster.finish("a")
    changed = list(cluster.run().changes)[version - cluster.run().version :]
    assert [found.job_id for found in changed] == ["a", "b"]
    assert cluster.job("b").changed_version == cluster.run().version


def test_jobs_added_later_are_among_the_changes() -> None:
    cluster = Cluster()
    cluster.submit(job("a"), job("b", "a"))
    version = cluster.run().version
    cluster.add(job("c", "b"))
    changed = list(cluster.run().changes)[version - cluster.run().version :]
    assert [found.job_id for found in changed] == ["c"]


def test_only_the_last_changes_are_kept() -> None:
    cluster = Cluster()
    cluster.submit(*(job(f"j{number}") for number in range(CHANGES_KEPT)))
    assert len(cluster.run().changes) == CHANGES_KEPT
    assert cluster.run().version > CHANGES_KEPT
