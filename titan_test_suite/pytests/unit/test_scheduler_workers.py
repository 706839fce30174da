"""Workers come, fall silent, return, drain and die; and what each side says is held against what the other knows."""

from __future__ import annotations

import pytest

from titan_core.errors import Conflict, NotFound, Unavailable
from titan_core.scheduler.actions import AcceptWorker, AcknowledgeResult, RecordWorker, ShutDownWorker, StartAttempt
from titan_core.scheduler.events import ServiceReady, WorkerDisconnected, WorkerSaidGoodbye, WorkerShutdownRequested
from titan_core.scheduler.model import LOST_KEPT, RECENT_KEPT
from titan_core.scheduler.states import Outcome
from titan_test_suite.pytests.support.cluster_model import Cluster, FakeWorker, job, report, service, started_jobs


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def worker(cluster: Cluster) -> FakeWorker:
    return cluster.join("w")


def accepted(cluster: Cluster) -> AcceptWorker:
    return [action for action in cluster.actions if isinstance(action, AcceptWorker)][-1]


def dies(cluster: Cluster, worker: FakeWorker) -> None:
    """Its session ends and does not come back in time; its processes live on."""
    cluster.disconnect(worker)
    cluster.advance(30)
    assert worker.worker_id not in cluster.core.state.workers


# ── what a returning worker says, against what the core has ───────────────────────────────────────


def test_running_and_active_there_is_adopted(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    cluster.disconnect(worker)
    cluster.advance(29)
    actions = cluster.register(worker)
    assert [type(action) for action in actions] == [RecordWorker, AcceptWorker]
    assert accepted(cluster).adopted == (cluster.attempt("a"),)
    assert cluster.state("a") == "RUNNING"
    cluster.finish("a")
    assert cluster.state("a") == "COMPLETED"
    assert len(cluster.job("a").attempts) == 1


def test_running_and_given_up_without_a_newer_attempt_is_revived(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    dies(cluster, worker)
    assert cluster.state("a") == "QUEUED"
    cluster.register(worker)
    assert accepted(cluster).adopted == (cluster.attempt("a"),)
    assert cluster.state("a") == "RUNNING"
    assert (cluster.attempt("a").number, cluster.attempt("a").outcome, cluster.job("a").losses) == (1, None, 0)
    cluster.finish("a")
    assert cluster.state("a") == "COMPLETED"
    assert cluster.starts() == ["a"]


def test_running_and_a_newer_attempt_exists_is_killed(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    dies(cluster, worker)
    cluster.join("other")
    assert cluster.attempt("a").number == 2
    cluster.register(worker)
    assert accepted(cluster).adopted == ()
    assert not worker.running
    assert cluster.place("a") == "other"


def test_running_and_the_job_is_final_is_killed(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    dies(cluster, worker)
    cluster.cancel("a")
    cluster.register(worker)
    assert accepted(cluster).adopted == ()
    assert not worker.running
    assert cluster.state("a") == "CANCELLED"


def test_running_and_unknown_is_killed(cluster: Cluster, worker: FakeWorker) -> None:
    worker.running[b"unheard of"] = "run/a"
    cluster.register(worker)
    assert accepted(cluster).adopted == ()
    assert not worker.running


def test_running_what_another_worker_runs_is_killed(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    thief = cluster.join("thief")
    thief.running[cluster.attempt("a").token] = "run/a"
    cluster.register(thief)
    assert not thief.running
    assert cluster.place("a") == "w"


def test_finished_and_active_counts(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"), job("b", "a"))
    cluster.disconnect(worker)
    cluster.finish("a")
    assert cluster.state("a") == "RUNNING"
    cluster.register(worker)
    assert cluster.states() == {"a": "COMPLETED", "b": "RUNNING"}
    assert not worker.unacknowledged


def test_finished_and_given_up_without_a_newer_attempt_counts(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a", retries=1), job("b"))
    dies(cluster, worker)
    cluster.finish("a", Outcome.FAILED)
    cluster.finish("b")
    cluster.register(worker)
    assert cluster.states() == {"a": "FAILED", "b": "COMPLETED"}
    assert (cluster.job("a").failures, cluster.job("a").losses) == (1, 0)
    assert not worker.unacknowledged


def test_finished_and_a_newer_attempt_exists_is_acknowledged_but_not_counted(
    cluster: Cluster, worker: FakeWorker
) -> None:
    cluster.submit(job("a"))
    old = cluster.attempt("a")
    dies(cluster, worker)
    cluster.join("other")
    worker.end(old.token, report(old.token))
    cluster.register(worker)
    assert not worker.unacknowledged
    assert cluster.state("a") == "RUNNING"
    assert cluster.place("a") == "other"
    assert old.outcome is Outcome.LOST


def test_nothing_said_by_the_same_process_has_it_sent_again(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    token = cluster.attempt("a").token
    worker.running.clear()  # the order was on its way when the session broke
    cluster.disconnect(worker)
    actions = cluster.register(worker)
    assert [type(action) for action in actions] == [RecordWorker, AcceptWorker, StartAttempt]
    assert list(worker.running) == [token]
    assert len(cluster.job("a").attempts) == 1


def test_nothing_said_by_a_new_process_is_lost_and_queued_again_at_once(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    cluster.restart(worker)
    assert cluster.attempt("a").number == 2
    assert cluster.job("a").attempts[0].outcome is Outcome.LOST
    assert cluster.job("a").attempts[0].reason == "worker w:8080 was restarted"
    assert cluster.job("a").losses == 1


def test_a_new_process_may_bring_the_results_of_the_old_one(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"), job("b"))
    worker.connected = False
    cluster.finish("a")
    cluster.restart(worker)
    assert cluster.state("a") == "COMPLETED"
    assert [attempt.number for attempt in cluster.job("b").attempts] == [1, 2]


def test_the_welcome_comes_before_all_else_of_the_session(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"), job("b"), job("c"))
    cluster.disconnect(worker)
    cluster.finish("a")
    worker.running.pop(cluster.attempt("b").token)
    cluster.submit(job("d"), run_id="next")
    sent = [a for a in cluster.register(worker) if isinstance(a, AcceptWorker | AcknowledgeResult | StartAttempt)]
    assert [type(action) for action in sent] == [AcceptWorker, AcknowledgeResult, StartAttempt, StartAttempt]
    assert started_jobs(sent) == ["b", "d"]


# ── results ───────────────────────────────────────────────────────────────────────────────────────


def test_a_result_counts_once_and_is_acknowledged_every_time(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    ended = report(cluster.attempt("a").token)
    cluster.finish("a")
    version = cluster.run().version
    for outcome in (Outcome.SUCCEEDED, Outcome.FAILED):
        duplicate = report(ended.token, outcome)
        assert cluster.results(worker, duplicate) == [AcknowledgeResult("w:8080", ended.token)]
    assert cluster.state("a") == "COMPLETED"
    assert cluster.run().version == version


def test_results_that_come_together_count_each_and_free_their_slots_at_once(cluster: Cluster) -> None:
    worker = cluster.join("w", slots=2)
    cluster.submit(job("a"), job("b"), job("c", priority=0), job("d", priority=0))
    a, b = (report(cluster.attempt(name).token) for name in "ab")
    actions = cluster.results(worker, a, b, a)
    assert [action.token for action in actions if isinstance(action, AcknowledgeResult)] == [
        a.token,
        b.token,
        a.token,
    ]
    assert [cluster.state(name) for name in "abcd"] == ["COMPLETED"] * 2 + ["RUNNING"] * 2


def test_a_result_of_a_superseded_attempt_does_not_count(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a", retries=1, retry_backoff_s=0))
    first = cluster.attempt("a")
    cluster.fail("a")
    cluster.advance(0)
    cluster.results(worker, report(first.token))
    assert cluster.state("a") == "RUNNING"
    assert first.outcome is Outcome.FAILED


def test_a_result_of_nothing_known_is_acknowledged(cluster: Cluster, worker: FakeWorker) -> None:
    assert cluster.results(worker, report(b"?")) == [AcknowledgeResult("w:8080", b"?")]


def test_a_result_counts_only_from_the_worker_of_its_attempt(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    other = cluster.join("other")
    cluster.results(other, report(cluster.attempt("a").token))
    assert cluster.state("a") == "RUNNING"


def test_nor_does_a_lost_attempt_return_on_another_worker(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a", requirement="GENERAL"))
    token = cluster.attempt("a").token
    dies(cluster, worker)
    other = cluster.join("other", "GPU")
    cluster.results(other, report(token))
    assert cluster.state("a") == "QUEUED"
    assert not cluster.worker(other).running


def test_tokens_are_all_different_and_secret(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a", retries=9, retry_backoff_s=0), job("b"))
    for _ in range(5):
        cluster.fail("a")
        cluster.advance(0)
    tokens = {attempt.token for name in "ab" for attempt in cluster.job(name).attempts}
    assert len(tokens) == 7
    assert {len(token) for token in tokens} == {16}


def test_the_last_attempts_of_a_worker_are_remembered(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(*(job(f"j{number}") for number in range(RECENT_KEPT + 5)))
    for number in range(RECENT_KEPT + 5):
        cluster.finish(f"j{number}")
    recent = [attempt.job.job_id for attempt in cluster.worker(worker).recent]
    assert recent == [f"j{number}" for number in range(5, RECENT_KEPT + 5)]


# ── silence ───────────────────────────────────────────────────────────────────────────────────────


def test_a_worker_is_dead_when_it_was_not_heard_for_so_long(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    cluster.disconnect(worker, silent_s=20)
    assert cluster.core.next_due_at() == cluster.now + 10
    cluster.advance(9.9)
    assert cluster.state("a") == "RUNNING"
    cluster.advance(0.1)
    assert cluster.state("a") == "QUEUED"
    assert cluster.job("a").reason == "worker w:8080 was not heard for 30 s; runs again"
    assert not cluster.core.state.workers


def test_a_worker_that_was_lost_is_remembered_until_it_is_back(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"), job("b"))
    dies(cluster, worker)
    (lost,) = cluster.core.state.lost_workers.values()
    assert (lost.worker_id, lost.reason, lost.attempts) == (
        worker.worker_id,
        "worker w:8080 was not heard for 30 s",
        2,
    )
    assert lost.lost_at == cluster.now
    cluster.register(worker)
    assert not cluster.core.state.lost_workers


def test_a_worker_that_left_by_itself_or_was_asked_to_is_not_lost(cluster: Cluster, worker: FakeWorker) -> None:
    asked = cluster.join("asked")
    cluster.drain(worker)
    cluster.disconnect(worker)
    cluster.handle(WorkerShutdownRequested(asked.worker_id))
    dies(cluster, asked)
    assert not cluster.core.state.workers
    assert not cluster.core.state.lost_workers


def test_of_lost_workers_the_last_are_remembered(cluster: Cluster) -> None:
    for number in range(LOST_KEPT + 2):
        dies(cluster, cluster.join(f"w{number}"))
    assert len(cluster.core.state.lost_workers) == LOST_KEPT
    assert next(iter(cluster.core.state.lost_workers)) == "w2:8080"


def test_a_worker_silent_for_too_long_already_is_dead_at_once(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    cluster.disconnect(worker, silent_s=31)
    cluster.advance(0)
    assert cluster.state("a") == "QUEUED"


def test_a_worker_that_returns_in_time_is_not_dead(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    cluster.disconnect(worker)
    cluster.advance(29)
    cluster.register(worker)
    assert cluster.core.next_due_at() is None
    cluster.advance(60)
    assert cluster.state("a") == "RUNNING"


def test_a_worker_without_a_session_gets_no_work(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.disconnect(worker)
    cluster.submit(job("a"))
    assert cluster.state("a") == "QUEUED"
    cluster.register(worker)
    assert cluster.state("a") == "RUNNING"


def test_the_end_of_a_session_that_was_replaced_is_no_matter(cluster: Cluster, worker: FakeWorker) -> None:
    old = worker.session
    cluster.register(worker)
    cluster.handle(WorkerDisconnected(worker.worker_id, old, cluster.now))
    cluster.submit(job("a"))
    assert cluster.state("a") == "RUNNING"


def test_what_is_said_of_workers_that_are_gone_is_no_matter(cluster: Cluster) -> None:
    assert cluster.handle(WorkerDisconnected("w:1", 1, cluster.now)) == []
    assert cluster.handle(WorkerSaidGoodbye("w:1")) == []
    assert cluster.handle(ServiceReady("w:1", b"?")) == []


def test_two_workers_of_one_name_at_once_are_refused(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    with pytest.raises(Unavailable, match="another worker w:8080 is connected"):
        cluster.join("w")
    cluster.workers[worker.worker_id] = worker
    cluster.finish("a")
    assert cluster.state("a") == "COMPLETED"


def test_a_new_process_may_offer_other_capabilities_and_slots(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(*(job(f"j{number}") for number in range(4)), job("g", requirement="GPU"))
    cluster.crash(worker)
    cluster.join("w", "GPU", slots=1)
    assert cluster.running() == ["g"]
    cluster.join("other")
    assert cluster.running() == ["g", "j0", "j1", "j2", "j3"]


# ── drain and shutdown ────────────────────────────────────────────────────────────────────────────


def test_a_draining_worker_ends_what_it_runs_and_gets_nothing_more(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"), job("b", "a"))
    cluster.drain(worker)
    cluster.finish("a")
    assert cluster.states() == {"a": "COMPLETED", "b": "QUEUED"}
    cluster.join("other")
    assert cluster.place("b") == "other"


def test_what_a_stopping_worker_interrupts_runs_elsewhere(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    cluster.join("other")
    cluster.drain(worker)
    cluster.finish("a", Outcome.INTERRUPTED)
    assert cluster.place("a") == "other"
    cluster.disconnect(worker)
    assert worker.worker_id not in cluster.core.state.workers
    assert len(cluster.job("a").attempts) == 2


def test_a_draining_worker_that_disconnects_is_not_waited_for(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    cluster.drain(worker)
    cluster.disconnect(worker)
    assert cluster.job("a").reason == "worker w:8080 stopped; runs again"
    assert cluster.core.next_due_at() is None


def test_a_shutdown_drains_the_worker_and_tells_it(cluster: Cluster, worker: FakeWorker) -> None:
    assert ShutDownWorker("w:8080") in cluster.shut_down(worker)
    assert worker.shutting_down
    cluster.submit(job("a"))
    assert cluster.state("a") == "QUEUED"


def test_a_permanent_worker_is_shut_down_only_by_force(cluster: Cluster) -> None:
    worker = cluster.join("p", permanent=True)
    with pytest.raises(Conflict, match="worker p:8080 is permanent; use --force"):
        cluster.shut_down(worker)
    cluster.submit(job("a"))
    assert cluster.state("a") == "RUNNING"
    cluster.shut_down(worker, force=True)
    assert not worker.shutting_down
    cluster.finish("a")
    assert worker.shutting_down


def test_a_worker_that_is_shut_down_now_is_not_waited_for(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    cluster.shut_down(worker, now=True)
    assert worker.shutting_down


def test_a_worker_that_is_shut_down_gets_nothing_more(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    cluster.shut_down(worker)
    cluster.submit(job("b"), run_id="next")
    assert cluster.state("b") == "QUEUED"
    cluster.finish("a")
    assert worker.shutting_down
    assert cluster.state("b") == "QUEUED"


def test_a_worker_without_a_session_is_not_shut_down(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.disconnect(worker)
    with pytest.raises(Conflict, match="worker w:8080 is not connected; stop it on its machine"):
        cluster.shut_down(worker)


def test_a_worker_that_is_not_there_is_not_shut_down(cluster: Cluster) -> None:
    with pytest.raises(NotFound, match="there is no worker w:1"):
        cluster.handle(WorkerShutdownRequested("w:1"))


def test_a_service_started_while_the_session_was_down_is_told_in_the_next(
    cluster: Cluster, worker: FakeWorker
) -> None:
    cluster.submit(service("web"), job("child", "web"))
    cluster.disconnect(worker)
    cluster.ready("web")
    assert cluster.state("child") == "BLOCKED"
    cluster.register(worker)
    assert cluster.state("child") == "RUNNING"


def test_a_service_that_was_up_given_up_and_returns_is_up_again(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(service("web"))
    cluster.ready("web")
    assert cluster.run_state() == "COMPLETED"
    dies(cluster, worker)
    assert cluster.run_state() == "RUNNING"
    worker.serving.clear()  # it need not say so again
    cluster.register(worker)
    assert cluster.run_state() == "COMPLETED"


def test_one_that_was_not_up_yet_is_not(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(service("web"), job("child", "web"))
    dies(cluster, worker)
    cluster.register(worker)
    assert cluster.states() == {"web": "RUNNING", "child": "BLOCKED"}
    cluster.ready("web")
    assert cluster.run_state() == "RUNNING"
    assert cluster.state("child") == "RUNNING"
