"""The check of a stored state: silent about a real life, however wild, outspoken about what can not be."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from titan_core.errors import RequestRefused
from titan_core.scheduler.states import Outcome
from titan_core.store import check, schema
from titan_test_suite.pytests.support.cluster_model import report
from titan_test_suite.pytests.support.graphs import rolled_graph
from titan_test_suite.pytests.support.seeds import TORTURE, announced_seed
from titan_test_suite.pytests.support.stored_cluster import StoredCluster, open_store, stored_job, with_task

LIVES = 200 if TORTURE else 8
STEPS = 150
ENDS = [outcome for outcome in Outcome if outcome is not Outcome.LOST]


def test_a_wild_life_is_stored_without_contradictions(tmp_path: Path) -> None:
    seed = announced_seed()
    for number in range(LIVES):
        with open_store(tmp_path / str(number)) as store:
            cluster = StoredCluster(store)
            live(cluster, random.Random(seed + number))
            cluster.flush()
            report = check.examine_file(tmp_path / str(number) / ".titan" / schema.DATABASE)
            assert report.problems == [], f"life {seed + number}"
            assert (report.runs, report.jobs > 0, report.attempts > 0) == (len(store.history.runs(999)), True, True)


def live(cluster: StoredCluster, dice: random.Random) -> None:
    for name in "abc":
        cluster.join(name, "GENERAL", "GPU", slots=2)
    for step in range(STEPS):
        away = [worker for worker in cluster.workers.values() if not worker.connected]
        what = dice.random()
        if what < 0.15:
            cluster.submit(*map(with_task, rolled_graph(dice, 0, [])), run_id=f"run-{step}")
        elif what < 0.65:
            end_one(cluster, dice)
        elif what < 0.75:
            ask(cluster, dice)
        elif what < 0.8:
            cluster.restart(dice.choice(list(cluster.workers.values())))
        elif what < 0.9 and not away:
            cluster.disconnect(dice.choice(list(cluster.workers.values())), dice.choice([0.0, 30.0]))
        elif what < 0.9:
            cluster.register(dice.choice(away))
        else:
            cluster.advance(dice.choice([0.5, 5.0, 40.0]))


def end_one(cluster: StoredCluster, dice: random.Random) -> None:
    """Something that runs ends, or is up."""
    executions = [(worker, token) for worker in cluster.workers.values() for token in worker.running]
    if not executions:
        return
    worker, token = dice.choice(executions)
    if dice.random() < 0.3 and worker.connected:
        worker.serving.add(token)
        cluster.say_ready(worker, token)
        return
    ended = report(token, Outcome.STOPPED if token in worker.stopping else dice.choice(ENDS))
    worker.end(token, ended)
    if worker.connected:
        cluster.results(worker, ended)


def ask(cluster: StoredCluster, dice: random.Random) -> None:
    """A person wants something, which may be refused."""
    jobs = [job.key for run in cluster.core.state.runs.values() for job in run.jobs.values()]
    if jobs:
        with contextlib.suppress(RequestRefused):
            dice.choice([cluster.cancel, cluster.retry, cluster.stop_service])(dice.choice(jobs))


# ── what can not be ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a cluster with a job in every position."""
    path = tmp_path_factory.mktemp("home")
    with open_store(path) as store:
        cluster = StoredCluster(store)
        cluster.join("w")
        cluster.submit(stored_job("parent"), stored_job("child", "parent"), stored_job("web", service=True))
        cluster.submit(stored_job("dead", retries=1), stored_job("other", "run/web"), run_id="two", request_id=b"r")
        cluster.finish("parent")
        cluster.ready("web")
        cluster.fail("dead")
        cluster.advance(5)
        cluster.fail("dead")
        cluster.finish("other")
    assert examined(path) == []
    return path


def examined(home: Path) -> list[str]:
    return check.examine_file(home / ".titan" / schema.DATABASE).problems


NUMBER = "(SELECT sequence FROM jobs WHERE job_id = '{}')"
BROKEN = {
    "DELETE FROM runs WHERE run_id = 'two'": "job dead has no run",
    f"DELETE FROM job_states WHERE job = {NUMBER.format('other')}": "job two/other has no state",
    f"DELETE FROM jobs WHERE sequence = {NUMBER.format('other')}": "belong to no job",
    "UPDATE requests SET run = 99": "a request made run 99, which is not there",
    "UPDATE events SET run = 99 WHERE run = (SELECT min(run) FROM events)": "events belong to run 99",
    "UPDATE runs SET counts = '1 0 0 0 0 0 0 0' WHERE run_id = 'two'": "run two counts its jobs as 1 0 0 0 0 0 0 0",
    "UPDATE runs SET live_jobs = 0 WHERE run_id = 'run'": "run run says that 0 of its jobs are not final, 2 are",
    "UPDATE job_states SET finished_at = NULL WHERE state = 'DEAD'": "job two/dead is DEAD and has no end",
    "UPDATE job_states SET finished_at = 1 WHERE state = 'RUNNING'": "job run/child is RUNNING and has an end",
    "UPDATE attempts SET number = 3 WHERE number = 2": "job two/dead has 2 attempts, and the last has number 3",
    f"UPDATE attempts SET outcome = '' WHERE job = {NUMBER.format('parent')}": "parent is COMPLETED, and 1 of its",
    "UPDATE attempts SET outcome = 'LOST'": "job run/child is RUNNING, and 0 of its 1 attempts are not over",
    "UPDATE attempts SET counted = 0": "job run/parent is COMPLETED, and 0 of its 1 attempts count",
    f"UPDATE attempts SET counted = 1 WHERE job = {NUMBER.format('web')}": "job run/web is RUNNING, and 1 of its 1",
    "UPDATE events SET after = 'BLOCKED' WHERE after = 'COMPLETED'": "went from RUNNING to BLOCKED, where there",
    "UPDATE events SET before = 'DELAYED' WHERE after = 'RUNNING'": "was DELAYED, the one before it left it QUEUED",
    "DELETE FROM events WHERE after = 'DEAD'": "job two/dead is DEAD, its last event left it FAILED",
    "UPDATE events SET version = version + 100 WHERE after = 'COMPLETED'": "run/child began before its parent parent",
    f"DELETE FROM events WHERE after = before AND job = {NUMBER.format('web')}": "its parent run/web is not done",
}
"""What is done to a state, and what is said of it."""


@pytest.mark.parametrize(("change", "sentence"), BROKEN.items())
def test_what_can_not_be_is_said(home: Path, tmp_path: Path, change: str, sentence: str) -> None:
    shutil.copytree(home, tmp_path / "home")
    with closing(sqlite3.connect(tmp_path / "home" / ".titan" / schema.DATABASE)) as connection:
        assert connection.execute(change).rowcount > 0
        connection.commit()
    problems = examined(tmp_path / "home")
    assert any(sentence in problem for problem in problems), problems


def test_not_everything_of_a_kind_is_told(home: Path, tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        StoredCluster(store).submit(*(stored_job(f"j{number}") for number in range(check.NAMED + 5)))
    with closing(sqlite3.connect(tmp_path / ".titan" / schema.DATABASE)) as connection:
        connection.execute("UPDATE job_states SET finished_at = 1")
        connection.commit()
    assert len(problems := examined(tmp_path)) == check.NAMED + 1 and problems[-1] == "… and 5 more of this kind"


# ── the command ───────────────────────────────────────────────────────────────────────────────────


def test_the_command_says_what_it_found(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main([str(home)]) == 0
    assert capsys.readouterr().out == "2 runs, 5 jobs, 6 attempts: 0 problems\n"
    shutil.copytree(home, tmp_path / "home")
    with closing(sqlite3.connect(tmp_path / "home" / ".titan" / schema.DATABASE)) as connection:
        connection.execute("UPDATE runs SET live_jobs = 0")
        connection.commit()
    assert check.main([str(tmp_path / "home"), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["runs"] == 2 and "run run says that" in told["problems"][0]


def test_the_command_looks_at_a_running_home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_store(tmp_path) as store:
        cluster = StoredCluster(store)
        cluster.submit(stored_job("a"))
        cluster.flush()
        assert check.main([str(tmp_path)]) == 0
    assert "1 runs, 1 jobs" in capsys.readouterr().out


def test_the_command_says_when_there_is_nothing_to_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main([str(tmp_path)]) == 2
    assert "there is no stored state" in capsys.readouterr().err
    (tmp_path / ".titan").mkdir()
    (tmp_path / ".titan" / "state.db").write_bytes(b"no database " * 1000)
    assert check.main([str(tmp_path)]) == 1
    assert "can not be read" in capsys.readouterr().out
