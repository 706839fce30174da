"""A core that goes on where another was when it was killed: what the rows keep, and what workers then say."""

from __future__ import annotations

import pytest

from titan_core.errors import Conflict, NotFound
from titan_core.scheduler import invariants, runs
from titan_core.scheduler.actions import DeleteRun, RecordChange, StartAttempt
from titan_core.scheduler.core import Core
from titan_core.scheduler.events import RunRecalled, RunsExpired
from titan_core.scheduler.recovery import restore_run
from titan_core.scheduler.states import Affinity, JobState, Outcome, WorkerState
from titan_test_suite.pytests.support.cluster_model import FakeWorker, job, service, started_jobs
from titan_test_suite.pytests.support.kept_cluster import GRACE_S, KeptCluster

# ── what is there again ───────────────────────────────────────────────────────────────────────────


def test_an_attempt_that_ended_in_the_step_that_began_the_next_is_kept_as_ended(
    cluster: KeptCluster, worker: FakeWorker
) -> None:
    cluster.submit(job("a"))
    assert started_jobs(cluster.restart(worker)) == ["a"]
    cluster.restart_master()
    first, second = cluster.job("a").attempts
    assert first.outcome is Outcome.LOST
    assert second.outcome is None


def test_what_waited_waits_and_what_ran_runs(cluster: KeptCluster, worker: FakeWorker) -> None:
    specs = [job("runs"), job("child", "runs"), job("later", delay_s=50), job("gpu", requirement="GPU")]
    cluster.submit(*specs, job("flaky", retries=1, retry_backoff_s=100), job("over"))
    cluster.fail("flaky")
    cluster.finish("over")
    before = cluster.states()
    assert cluster.restart_master() == []
    assert cluster.states() == before
    assert cluster.states() == {
        "runs": "RUNNING",
        "child": "BLOCKED",
        "later": "DELAYED",
        "gpu": "QUEUED",
        "flaky": "FAILED",
        "over": "COMPLETED",
    }
    assert cluster.worker(worker).state is WorkerState.DISCONNECTED
    cluster.register(worker)
    cluster.finish("runs")
    assert cluster.state("child") == "RUNNING"
    cluster.advance(51)
    assert cluster.state("later") == "RUNNING"
    assert cluster.attempt("flaky").number == 1
    cluster.advance(100)
    assert cluster.attempt("flaky").number == 2
    cluster.join("g", "GPU")
    assert cluster.state("gpu") == "RUNNING"


def test_delays_are_not_begun_anew(cluster: KeptCluster) -> None:
    cluster.submit(job("a", delay_s=100))
    cluster.advance(70)
    cluster.restart_master()
    cluster.advance(29)
    assert cluster.state("a") == "DELAYED"
    cluster.advance(1)
    assert cluster.state("a") == "QUEUED"


def test_a_run_that_is_over_is_known(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"), request_id=b"r1")
    cluster.finish("a")
    cluster.restart_master()
    assert cluster.run_state() == "COMPLETED"
    assert list(cluster.core.state.over) == [cluster.run()]
    assert cluster.submit(job("a"), run_id="again", request_id=b"r1") == []
    cluster.submit(job("b"), run_id="new", request_id=b"r2")
    assert cluster.job("new/b").sequence > cluster.job("run/a").sequence


def test_a_service_that_is_up_stays_up(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(service("s"), job("child", "s"))
    cluster.ready("s")
    cluster.finish("child")
    cluster.restart_master()
    assert cluster.run_state() == "COMPLETED"
    assert cluster.job("s").ready
    cluster.register(worker)
    cluster.stop_service("s")
    cluster.stopped("s")
    assert cluster.state("s") == "COMPLETED"


def test_what_was_being_cancelled_is_cancelled(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    worker.connected = False  # the order to stop does not arrive
    cluster.cancel("a")
    cluster.restart_master()
    cluster.register(worker)
    cluster.stopped("a")
    assert cluster.state("a") == "CANCELLED"


def test_budgets_are_kept(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(job("a", retries=1, retry_backoff_s=1))
    cluster.fail("a")
    cluster.advance(2)
    cluster.restart_master()
    cluster.register(worker)
    cluster.fail("a")
    assert cluster.state("a") == "DEAD"
    cluster.retry("a")
    cluster.restart_master()
    cluster.register(worker)
    cluster.fail("a")
    assert cluster.state("a") == "FAILED"  # renewed by the retry by hand
    assert cluster.attempt("a").number == 3


def test_strict_affinity_is_kept(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"), job("b", "a", affinity=Affinity.STRICT))
    cluster.finish("a")
    cluster.restart_master()
    cluster.join("other")
    cluster.register(worker)
    assert cluster.place("b") == "w"


def test_parents_in_other_runs(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"), run_id="first")
    cluster.submit(job("b", "first/a"), run_id="second")
    cluster.restart_master()
    cluster.register(worker)
    cluster.finish("first/a")
    assert cluster.state("second/b") == "RUNNING"


# ── what workers say ──────────────────────────────────────────────────────────────────────────────


def test_nothing_is_lost_within_the_grace(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    cluster.restart_master()
    cluster.advance(GRACE_S - 1)
    assert cluster.state("a") == "RUNNING"
    cluster.advance(1)
    assert cluster.state("a") == "QUEUED"
    assert "did not come back within 60 s" in cluster.job("a").reason


def test_a_result_of_while_the_master_was_away_counts(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    cluster.restart_master()
    cluster.finish("a")
    cluster.register(worker)
    assert cluster.state("a") == "COMPLETED"
    assert worker.unacknowledged == {}


def test_an_order_that_was_not_sent_is_sent(cluster: KeptCluster, worker: FakeWorker) -> None:
    worker.connected = False  # the master was killed between the commit and the sending
    cluster.submit(job("a"))
    cluster.restart_master()
    assert started_jobs(cluster.register(worker)) == ["a"]
    assert cluster.attempt("a").number == 1


def test_a_lost_attempt_that_returns_after_a_restart_is_revived(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    cluster.disconnect(worker)
    cluster.advance(30)
    assert cluster.state("a") == "QUEUED"
    cluster.restart_master()
    cluster.register(worker)
    assert cluster.state("a") == "RUNNING"
    assert cluster.attempt("a").number == 1


def test_a_lost_attempt_of_before_a_retry_by_hand_is_not_revived(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(job("a", max_attempts=1))
    token = cluster.attempt("a").token
    cluster.disconnect(worker)
    cluster.advance(30)
    assert cluster.state("a") == "DEAD"
    cluster.retry("a")
    cluster.restart_master()
    assert token not in cluster.core.state.lost
    cluster.register(worker)
    assert cluster.attempt("a").number == 2
    assert token not in worker.running


def test_tokens_of_another_term_are_others(cluster: KeptCluster, worker: FakeWorker) -> None:
    """A home that was put back from a backup gives the same numbers again."""
    cluster.submit(job("a", retries=2, retry_backoff_s=1))
    kept = cluster.rows.recovered(7, GRACE_S, recent=100)
    cluster.fail("a")
    cluster.advance(2)
    lost_token = cluster.attempt("a").token
    cluster.core = Core(cluster.core.state.settings)
    cluster.core.handle(kept, cluster.now)
    worker.running.clear()
    cluster.restart(worker)
    assert cluster.attempt("a").number == 2
    assert cluster.attempt("a").token != lost_token


# ── history ───────────────────────────────────────────────────────────────────────────────────────


def test_a_run_that_left_memory_comes_back_at_its_place() -> None:
    cluster = KeptCluster(runs_kept=1)
    worker = cluster.join("w")
    cluster.submit(job("a"), job("b", "a"), run_id="old")
    cluster.fail("old/a")
    cluster.submit(job("a"), run_id="new")
    cluster.finish("new/a")
    assert list(cluster.core.state.runs) == ["new"]
    stored = next(stored for stored in cluster.rows.recovered(1, 0, recent=100).runs if stored.run.run_id == "old")
    cluster.handle(RunRecalled(stored))
    assert list(cluster.core.state.runs) == ["old", "new"]
    cluster.retry("old/a")
    cluster.finish("old/a")
    cluster.finish("old/b")
    assert cluster.run_state("old") == "COMPLETED"
    assert worker.running == {}


def test_recalling_what_is_in_memory_changes_nothing(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    run = cluster.run()
    (stored,) = cluster.rows.recovered(1, 0, recent=100).runs
    assert cluster.handle(RunRecalled(stored)) == []
    assert cluster.run() is run


def test_expired_runs_go_and_live_ones_stay(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"), run_id="over")
    cluster.finish("over/a")
    cluster.submit(job("b"), run_id="live")
    actions = cluster.handle(RunsExpired(("over", "live", "on disk only")))
    deleted = [action.run_id for action in actions if isinstance(action, DeleteRun)]
    assert deleted == ["over", "on disk only"]
    assert list(cluster.core.state.runs) == ["live"]


def test_a_clock_that_was_set_back_makes_nothing_wait_for_longer(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.advance(7200.0)
    cluster.submit(job("later", delay_s=50), job("flaky", retries=1, retry_backoff_s=8))
    cluster.fail("flaky")
    cluster.now -= 3600.0  # the next master's clocks are that far behind what is stored
    cluster.restart_master()
    cluster.register(worker)
    due = {name: cluster.job(name).due_at - cluster.now for name in ("later", "flaky")}
    assert due["later"] == 50 and 6 <= due["flaky"] <= 10
    cluster.advance(50)
    assert cluster.states() == {"later": "RUNNING", "flaky": "RUNNING"}


def test_a_run_that_is_being_deleted_does_not_come_back(
    cluster: KeptCluster, worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "DELETED_KNOWN", 2)
    for name in ("r1", "r2", "r3"):
        cluster.submit(job("a"), run_id=name)
        cluster.fail(f"{name}/a")
    read_before = cluster.rows.recovered(1, 0, recent=100).runs
    cluster.handle(RunsExpired(("r1", "r2")))
    cluster.handle(RunRecalled(read_before[0]))
    with pytest.raises(NotFound, match="there is no run r1"):
        cluster.retry_run("r1")
    cluster.handle(RunsExpired(("r3",)))
    assert list(cluster.core.state.deleted) == ["r2", "r3"]


def test_a_restored_run_is_what_it_was(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"), job("b", "a"), job("c", retries=1))
    cluster.finish("a", Outcome.FAILED, "exit code 3")
    (stored,) = cluster.rows.recovered(1, 0, recent=100).runs
    restored, run = restore_run(stored), cluster.run()
    assert (restored.version, restored.open_jobs, restored.counts) == (run.version, run.open_jobs, run.counts)
    for name, found in restored.jobs.items():
        known = run.jobs[name]
        assert (found.state, found.reason, found.sequence) == (known.state, known.reason, known.sequence)
        assert [(a.number, a.token, a.outcome, a.reason) for a in found.attempts] == [
            (a.number, a.token, a.outcome, a.reason) for a in known.attempts
        ]


# ── poison, drained workers, dead letters ─────────────────────────────────────────────────────────


def test_a_job_that_was_there_at_three_crashes_is_dead(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(job("poison"), job("child", "poison"))
    for _ in range(2):
        cluster.restart(worker)
        assert cluster.state("poison") == "RUNNING"
    cluster.restart_master()  # the count is kept
    cluster.restart(worker)
    assert cluster.state("poison") == "DEAD"
    assert "was running at 3 crashes of workers" in cluster.job("poison").reason
    assert cluster.state("child") == "CANCELLED"
    cluster.retry("poison")
    cluster.restart(worker)
    assert cluster.state("poison") == "RUNNING"


def test_a_silence_is_no_crash(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    for _ in range(3):
        cluster.disconnect(worker)
        cluster.advance(30)
        cluster.restart(worker)
    assert cluster.state("a") == "RUNNING"
    assert cluster.job("a").crashes == 0


def test_every_dead_job_is_retried_but_what_waits_for_a_cancelled_parent(
    cluster: KeptCluster, worker: FakeWorker
) -> None:
    cluster.submit(job("a"), job("b", "a"), run_id="one")
    cluster.submit(service("s"), job("c", "s"), run_id="two")
    cluster.fail("one/a")
    cluster.ready("two/s")
    cluster.cancel("two/s")
    cluster.stopped("two/s")
    cluster.fail("two/c")
    assert (cluster.state("two/c"), cluster.state("two/s")) == ("DEAD", "CANCELLED")
    actions = cluster.retry_dead()
    revived = {a.job.key for a in actions if isinstance(a, RecordChange) and a.before is JobState.DEAD}
    assert revived == {"one/a"}
    assert cluster.state("one/b") == "BLOCKED"
    assert [a for a in cluster.retry_dead() if isinstance(a, StartAttempt)] == []


def test_a_held_worker_gets_nothing_until_it_is_undone(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    cluster.hold(worker)
    cluster.submit(job("b"), run_id="second")
    assert cluster.states() == {"a": "RUNNING"}
    assert cluster.state("b") == "QUEUED"
    cluster.restart_master()
    cluster.register(worker)
    assert cluster.worker(worker).state is WorkerState.DRAINING
    assert cluster.state("b") == "QUEUED"
    cluster.finish("a")
    with pytest.raises(Conflict, match="drained already"):
        cluster.hold(worker)
    cluster.hold(worker, undo=True)
    assert cluster.state("b") == "RUNNING"
    with pytest.raises(Conflict, match="is not being drained"):
        cluster.hold(worker, undo=True)


def test_a_held_worker_that_is_cut_off_keeps_what_it_runs(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    cluster.hold(worker)
    cluster.disconnect(worker)
    assert cluster.state("a") == "RUNNING"
    cluster.register(worker)
    cluster.finish("a")
    assert cluster.state("a") == "COMPLETED"


def test_a_shutdown_that_was_lost_with_the_session_is_said_again(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    worker.connected = False
    cluster.shut_down(worker)
    cluster.disconnect(worker)
    assert cluster.state("a") == "RUNNING"
    cluster.register(worker)
    assert not worker.shutting_down  # it has a job
    worker.connected = False
    cluster.shut_down(worker, now=True)
    cluster.disconnect(worker)
    cluster.register(worker)
    assert worker.shutting_down
    cluster.restart(worker)
    assert cluster.worker(worker).state is WorkerState.ONLINE  # a new process was not meant


def test_a_worker_in_trouble_gets_nothing(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.trouble(worker, "can not write to /home: No space left on device")
    cluster.submit(job("a"))
    assert cluster.state("a") == "QUEUED"
    assert cluster.explain("a")[0].endswith("w:8080 (can not write to /home: No space left on device)")
    cluster.trouble(worker, "")
    assert cluster.state("a") == "RUNNING"
    invariants.check(cluster.core)
