"""The store: what was promised is there after the next start, whoever stops it and whatever it finds."""

from __future__ import annotations

import itertools
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given

from titan_core.clock import FakeClock, SystemClock
from titan_core.errors import ConfigError, Unavailable
from titan_core.protocol import messages
from titan_core.scheduler.model import WorkerInfo
from titan_core.scheduler.records import Batch, JobRecord, RunRecord
from titan_core.store import schema
from titan_core.store.specs import SpecReader, SpecWriter, scheduler_spec
from titan_core.store.sqlite import Store
from titan_core.store.volatile import Volatile
from titan_test_suite.pytests.support.cluster_model import FakeWorker
from titan_test_suite.pytests.support.messages import values
from titan_test_suite.pytests.support.stored_cluster import StoredCluster, open_store, stored_job
from titan_test_suite.pytests.support.waiting import wait_until

numbers = itertools.count(1)


def run_of(number: int, **fields: object) -> RunRecord:
    run = RunRecord(number, f"run-{number}", "run", b"s" * 16, 1.0, 2.0, "COMPLETED", 0, (0,) * 8)
    return run._replace(**fields)


def batch_of(*runs: RunRecord) -> Batch:
    return Batch(list(runs), [], [], [], [], [], [])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


@given(values(messages.Task))
def test_a_task_is_stored_with_all_its_fields(task: messages.Task) -> None:
    job = scheduler_spec(messages.JobSpec("a", task))
    assert SpecReader().spec("a", *SpecWriter().row(job)) == job


# ── promises ──────────────────────────────────────────────────────────────────────────────────────


def test_what_was_committed_comes_back_as_it_was(home: Path) -> None:
    with open_store(home) as store:
        cluster = StoredCluster(store)
        cluster.join("w", slots=2)
        cluster.submit(
            stored_job("extract", args=("--day", "1 → 2")),
            stored_job("load", "extract", retries=2, delay_s=5.0, priority=3, requirement="GENERAL"),
            stored_job("web", service=True),
            request_id=b"r" * 16,
        )
        cluster.ready("web")
        cluster.fail("extract")
        cluster.submit(stored_job("second"), run_id="other")
        cluster.flush()
        model = cluster.core.state
    with open_store(home) as store:
        runs, workers, *_ = store.load(0.0)
    assert [stored.run.run_id for stored in runs] == list(model.runs)
    assert runs[0].requests == (b"r" * 16,)
    for stored in runs:
        for job, found in zip(model.runs[stored.run.run_id].jobs.values(), stored.jobs, strict=True):
            assert found.asked.spec == job.spec
            assert found.asked.submitted_at == pytest.approx(job.submitted_at)
            state = found.became
            assert (state.state, state.reason, state.version) == (job.state.value, job.reason, job.changed_version)
            assert (state.failures, state.satisfied, state.ready) == (job.failures, job.satisfied, job.ready)
            assert state.finished_at == pytest.approx(job.finished_at) if job.final else state.finished_at is None
            for attempt, record in zip(job.attempts, found.attempts, strict=True):
                assert (record.number, record.token, record.ready) == (attempt.number, attempt.token, attempt.ready)
                assert type(record.counted) is bool
    assert [worker.worker_id for worker in workers] == ["w:8080"]


def test_facts_of_a_worker_come_back_without_what_it_ran(home: Path) -> None:
    facts = messages.Register(8080, "w", ("GENERAL",), 4, b"i" * 16, running=(b"t" * 16,), pid=7)
    with open_store(home) as store:
        cluster = StoredCluster(store)
        cluster.workers["w:8080"] = FakeWorker(WorkerInfo("w:8080", b"j" * 16, frozenset({"GPU"}), 2, True, facts, 5))
        cluster.register(cluster.workers["w:8080"])
    with open_store(home) as store:
        (worker,) = store.load(0.0)[1]
    assert (worker.instance, worker.capabilities, worker.slots) == (b"j" * 16, ("GPU",), 2)
    assert (worker.permanent, worker.max_services, worker.facts.pid, worker.facts.running) == (True, 5, 7, ())


def test_instants_are_those_of_the_new_process(home: Path) -> None:
    before, after = FakeClock(), FakeClock()
    after.now = 50_000.0
    after._offset_s = before._offset_s - 40_000.0  # the machine was started anew: 9,000 s passed on the wall
    with open_store(home, before) as store:
        store.append(batch_of(run_of(1, submitted_at=990.0, finished_at=None, live_jobs=1)))
    with open_store(home, after) as store:
        (stored,) = store.load(0.0)[0]
    assert stored.run.submitted_at == pytest.approx(40_990.0)
    assert stored.run.finished_at is None


def test_tickets_are_committed_in_order_whoever_waits(home: Path) -> None:
    with open_store(home) as store:
        seen: list[int] = []

        def submit() -> None:
            for _ in range(50):
                ticket = store.append(batch_of(run_of(next(numbers))))
                assert store.wait(ticket, 10)
                seen.append(ticket)

        threads = [threading.Thread(target=submit) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(seen) == list(range(1, 201)) and store.committed == store.last == 200
        assert len(store.history.runs(1000)) == 200


def test_the_last_row_of_a_thing_counts(home: Path) -> None:
    with open_store(home) as store:
        for state in ("RUNNING", "FAILED", "COMPLETED"):
            store.append(batch_of(run_of(1, state=state)))
        store.wait(store.last)
        assert [run.state for run in store.history.runs(10)] == ["COMPLETED"]


def test_waiting_can_take_too_long(home: Path) -> None:
    with open_store(home) as store:
        assert not store.wait(1, 0.01)


def test_a_stop_stores_what_was_queued(home: Path) -> None:
    with open_store(home) as store:
        for number in range(1, 501):
            store.append(batch_of(run_of(number)))
    with open_store(home) as store:
        assert len(store.history.runs(1000)) == 500


def test_what_is_queued_after_the_stop_is_refused_to_whoever_waits(home: Path) -> None:
    with open_store(home) as store:
        pass
    with pytest.raises(Unavailable):
        store.wait(store.append(batch_of(run_of(1))))
    with pytest.raises(Unavailable):
        store.history.runs(1)


def test_a_contradiction_ends_the_store(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    failed: list[object] = []
    store = Store(home / ".titan", FakeClock())
    store.on_failure = failed.append
    store.start()
    cluster = StoredCluster(store)
    cluster.submit(stored_job("a"))
    job = cluster.job("a")
    again = JobRecord(job.sequence, job.run.sequence, "a", job.spec, 1.0, "")
    with pytest.raises(Unavailable):
        store.wait(store.append(Batch([], [], [again], [], [], [], [])), 10)
    assert store.join(5) and failed == [store]
    assert any("IntegrityError" in str(record.exc_info) for record in caplog.records)


def test_two_attempts_of_a_job_can_not_count(home: Path) -> None:
    with open_store(home) as store:
        cluster = StoredCluster(store)
        cluster.join("w")
        cluster.submit(stored_job("a"))
        cluster.finish("a")
        cluster.flush()
    with sqlite3.connect(home / ".titan" / schema.DATABASE) as connection:
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(
                "INSERT INTO attempts SELECT job, 2, token, worker_id, started_at, finished_at, outcome, exit_code,"
                " reason, peak_memory, stopping, ready, counted, port FROM attempts"
            )
    connection.close()


# ── the home ──────────────────────────────────────────────────────────────────────────────────────


def test_nobody_else_reads_the_state(home: Path) -> None:
    with open_store(home) as store:
        store.wait(store.append(batch_of(run_of(1))))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (home / ".titan").iterdir()}
        assert stat.S_IMODE((home / ".titan").stat().st_mode) == 0o700
        assert set(modes.values()) == {0o600} and {"state.db", "state.db-wal", "lock"} <= set(modes)


def test_two_masters_can_not_open_one_home(home: Path) -> None:
    with open_store(home):
        with pytest.raises(ConfigError, match=f"pid {os.getpid()}.*stop it first"):
            Store(home / ".titan", FakeClock())
    with open_store(home):
        pass


def test_the_lock_ends_with_its_process(home: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from titan_core.clock import SystemClock\n"
        "from titan_core.store.sqlite import Store\n"
        "store = Store(Path(sys.argv[1]), SystemClock()); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", program, str(home / ".titan")], check=True)
    with open_store(home):
        pass


def test_the_cluster_stays_and_the_term_grows(home: Path) -> None:
    clock = FakeClock()
    with open_store(home, clock) as first:
        assert len(first.cluster) == 16 and first.term == int(clock.wall())
    with open_store(home, clock) as second:
        assert (second.cluster, second.term) == (first.cluster, first.term + 1)
    clock.advance(1000)
    with open_store(home, clock) as third:
        assert third.term == int(clock.wall())


def test_numbers_are_not_given_twice(home: Path) -> None:
    with open_store(home) as store:
        assert store.last_sequence == 0
        cluster = StoredCluster(store)
        cluster.submit(stored_job("a"), stored_job("b"))
        cluster.cancel_run()
        cluster.flush()
        store.forget(["run"])
        wait_until(lambda: not store.history.runs(1))
    with open_store(home) as store:
        assert store.last_sequence == 3


def test_a_store_that_was_not_started_can_be_stopped(home: Path) -> None:
    store = Store(home / ".titan", FakeClock())
    store.stop()
    store.stop()
    store.start()
    assert store.threads() == [] and store.join(1)
    with open_store(home):
        pass


def test_a_directory_that_can_not_be_used_is_named(home: Path) -> None:
    (home / ".titan").write_text("a file")
    with pytest.raises(ConfigError, match=r"\.titan"):
        Store(home / ".titan", FakeClock())


# ── what a start may find ─────────────────────────────────────────────────────────────────────────


def test_what_is_no_database_is_not_touched(home: Path) -> None:
    (home / ".titan").mkdir()
    (home / ".titan" / "state.db").write_bytes(b"no database " * 1000)
    for _ in range(2):  # the lock was given back
        with pytest.raises(ConfigError, match=r"damaged.*restore a backup"):
            Store(home / ".titan", FakeClock())
    assert (home / ".titan" / "state.db").read_bytes() == b"no database " * 1000


def test_damage_is_found_after_an_unclean_stop(home: Path) -> None:
    path = home / ".titan" / "state.db"
    with open_store(home) as store:
        for number in range(1, 2000):
            store.append(batch_of(run_of(number)))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = 1 WHERE key = 'open'")
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_runs_1'"
        ).fetchone()
    connection.close()
    with open(path, "r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(os.urandom(200))
    with pytest.raises(ConfigError, match=r"damaged.*restore a backup"):
        Store(home / ".titan", FakeClock())


def test_an_older_state_is_made_a_newer_one(home: Path) -> None:
    path = home / "state.db"
    connection = schema.connect(path)  # version 0: nothing
    schema.migrate(connection, schema.STEPS)
    connection.execute("INSERT INTO forgotten (run_id, wall) VALUES ('run', 1.0)")
    newer = (*schema.STEPS, ("ALTER TABLE forgotten ADD COLUMN why TEXT", "UPDATE forgotten SET why = 'age'"))
    schema.migrate(connection, newer)
    schema.migrate(connection, newer)
    assert connection.execute("SELECT * FROM forgotten").fetchall() == [("run", 1.0, "age")]
    assert schema.meta(connection, "version", 0) == len(newer)
    with pytest.raises(ConfigError, match="newer"):
        schema.migrate(connection, schema.STEPS)
    connection.close()


def test_a_step_of_migration_is_whole_or_not_there(home: Path) -> None:
    connection = schema.connect(home / "state.db")
    with pytest.raises(sqlite3.OperationalError):
        schema.migrate(connection, (*schema.STEPS, ("CREATE TABLE more (x)", "CREATE TABLE forgotten (x)")))
    connection.close()
    connection = schema.connect(home / "state.db")
    assert schema.meta(connection, "version", 0) == len(schema.STEPS)
    assert not connection.execute("SELECT * FROM sqlite_master WHERE name = 'more'").fetchall()
    connection.close()


def test_a_state_of_a_newer_titan_is_refused(home: Path) -> None:
    with open_store(home):
        pass
    with sqlite3.connect(home / ".titan" / "state.db") as connection:
        connection.execute("UPDATE meta SET value = 99 WHERE key = 'version'")
    connection.close()
    with pytest.raises(ConfigError, match="version 99"):
        Store(home / ".titan", FakeClock())


# ── room ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_full_disk_is_waited_for(home: Path) -> None:
    with open_store(home) as store:
        store.wait(store.append(batch_of(run_of(1))))
        _bound_pages(store, 1)
        ticket = store.append(batch_of(*(run_of(number) for number in range(2, 500))))
        wait_until(lambda: store.trouble, explain="no trouble")
        assert "full" in store.trouble and not store.wait(ticket, 0.05)
        later = store.append(batch_of(run_of(500)))
        _bound_pages(store, 1 << 20)
        assert store.wait(later, 10) and store.trouble == "" and store.committed == later
        assert len(store.history.runs(1000)) == 500


def test_a_store_with_a_full_disk_can_be_stopped(home: Path) -> None:
    with open_store(home) as store:
        store.wait(store.append(batch_of(run_of(1))))
        _bound_pages(store, 1)
        ticket = store.append(batch_of(*(run_of(number) for number in range(2, 500))))
        wait_until(lambda: store.trouble)
        store.stop()
        assert store.join(2)
        with pytest.raises(Unavailable):
            store.wait(ticket)
    with open_store(home) as store:
        assert len(store.history.runs(1000)) == 1


def _bound_pages(store: Store, pages: int) -> None:
    """SQLite calls a database that may not grow, because of this bound, a full disk."""
    store._connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()


def test_the_wal_is_moved_into_the_database(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("titan_core.store.sqlite.CHECKPOINT_PAGES", 50)
    monkeypatch.setattr("titan_core.store.sqlite.IDLE_S", 0.05)
    wal = home / ".titan" / "state.db-wal"
    with open_store(home) as store:
        for number in range(1, 400):
            store.wait(store.append(batch_of(run_of(number))))
        assert wal.stat().st_size < 1 << 20
        wait_until(lambda: wal.stat().st_size == 0, explain="the WAL of an idle store is not empty")


def test_a_snapshot_is_a_store_of_its_own(home: Path) -> None:
    with open_store(home) as store:
        store.wait(store.append(batch_of(run_of(1))))
        copy = home / "copy" / ".titan" / "state.db"
        copy.parent.mkdir(parents=True)
        store.snapshot(copy)
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        with pytest.raises(FileExistsError):
            store.snapshot(copy)
        store.wait(store.append(batch_of(run_of(2))))
    with open_store(home / "copy") as restored:
        assert [run.sequence for run in restored.history.runs(10)] == [1]
        assert restored.cluster == store.cluster and restored.term > store.term


def test_a_volatile_store_promises_everything_and_keeps_nothing() -> None:
    store = Volatile(SystemClock())
    store.start()
    assert store.load(0.0) == ((), (), (), ()) and len(store.cluster) == 16
    ticket = store.append(batch_of(run_of(1)))
    assert store.wait(ticket) and store.committed == ticket == store.last
    assert store.history.runs(10) == [] and store.history.run("run-1") is None
    assert store.expired(0.0, 1, 1) == store.forgotten_since(0.0) == []
    store.stop()
    assert store.join(1)
