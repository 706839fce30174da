"""`kill -9` of the master during the demo's run and around a submission, and of the worker by its own job."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from titan_core.protocol.messages import SubmitRun, Submitted
from titan_sdk.access import Access
from titan_sdk.contents import Contents
from titan_sdk.jobs import job_spec
from titan_sdk.pipeline import Pipeline
from titan_sdk.transport import Transport
from titan_test_suite.demo import PIPELINES
from titan_test_suite.pytests.support.cluster import Cluster, Program
from titan_test_suite.pytests.support.examples import EXAMPLES, answer_of, example, port_of
from titan_test_suite.pytests.support.ports import free_port
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.pytests.support.witnesses import Witnesses

pytestmark = pytest.mark.e2e

END_S = 40.0
FAILPOINT = "TITAN_FAILPOINT"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A master on a port that it keeps; its workers look for it often."""
    with Cluster(tmp_path, "--port", str(free_port())) as cluster:
        cluster.environ["TITAN_WORKER_RECONNECT_MAX_S"] = "0.5"
        yield cluster


@pytest.fixture
def witnesses(tmp_path: Path) -> Witnesses:
    return Witnesses(tmp_path)


def start_anew(cluster: Cluster, **environ: str) -> None:
    """A master in the place of the one that was killed."""
    cluster.start_master(*cluster.master.arguments[1:], **environ)


def demo_pipelines(directory: Path, witnesses: Witnesses) -> list[Pipeline]:
    """What `make demo` runs, from a copy of the examples in which every job tells the ledger that it starts."""
    copy = directory / "examples"
    shutil.copytree(EXAMPLES, copy)
    pipelines = [example(copy / path) for path in PIPELINES]
    return [replace(p, jobs=[witnesses.watch(job, p.folder) for job in p.jobs]) for p in pipelines]


def test_the_run_of_the_demo_outlives_two_masters(cluster: Cluster, witnesses: Witnesses, tmp_path: Path) -> None:
    pipelines = demo_pipelines(tmp_path, witnesses)
    cluster.start_worker()
    cluster.start_worker("GPU")
    with cluster.client() as client:
        runs = [client.apply(pipeline) for pipeline in pipelines]
    jobs = sum(len(pipeline.jobs) for pipeline in pipelines)
    for done in (2, jobs // 2):
        wait_until(lambda done=done: len(witnesses.ledger.starts) >= done, END_S)
        cluster.master.kill()
        start_anew(cluster)
    with cluster.client() as client:
        statuses = [client.wait_for_run(run.run_id, END_S) for run in runs]
        assert [status.state for status in statuses] == ["COMPLETED"] * len(runs)
        attempts = [client.job(f"{job.run_id}/{job.job_id}").attempts for status in statuses for job in status.jobs]
    assert [len(tried) for tried in attempts] == [1] * jobs
    report = tmp_path / "titan_workspace" / "shared" / runs[0].run_id / "report.json"
    assert answer_of(port_of(pipelines[0], "serve")) == report.read_text()
    assert sorted(len(starts) for starts in witnesses.ledger.starts.values()) == [1] * jobs


def test_a_submission_holds_whatever_befalls_the_master(cluster: Cluster, witnesses: Witnesses) -> None:
    cluster.start_worker()
    with cluster.client() as client:
        runs = [client.submit_dag("kept", [witnesses.job("kept")]) for _ in range(5)]
        cluster.master.kill()  # the last answer has just come
        start_anew(cluster)
        cluster.master.kill()  # it has only begun to go on
        start_anew(cluster)
        for run in runs:
            assert run.result(END_S).state == "COMPLETED"
    assert [len(witnesses.starts(f"{run}/kept")) for run in runs] == [1] * len(runs)


def test_a_submission_whose_answer_was_lost_is_sent_again_and_is_one(cluster: Cluster, witnesses: Witnesses) -> None:
    cluster.start_worker()
    cluster.master.kill()
    start_anew(cluster, **{FAILPOINT: "master.before_reply"})
    with ThreadPoolExecutor() as pool, cluster.client() as client:
        submitted = pool.submit(client.submit_dag, "lost", [witnesses.job("lost")])
        wait_until(lambda: cluster.master.process.poll() is not None, explain="the master does not die")
        start_anew(cluster)
        run = submitted.result(END_S)
        run.result(END_S)
        assert [found.run_id for found in client.runs(name="lost")] == [run.run_id]
    assert len(witnesses.starts(f"{run}/lost")) == 1


def test_a_request_id_is_known_to_the_next_master(cluster: Cluster, witnesses: Witnesses) -> None:
    contents = Contents(None)
    spec = job_spec(witnesses.job("same"), contents)
    with cluster.client() as client:  # sends the content
        client.submit_job(witnesses.job("same"))
    request = SubmitRun("same", (spec,), b"r" * 16)
    answers = [submit(cluster, request)]
    cluster.master.kill()
    start_anew(cluster)
    answers += [submit(cluster, request), submit(cluster, replace(request, request_id=b"s" * 16))]
    assert answers[0] == answers[1] != answers[2]
    cluster.start_worker()
    with cluster.client() as client:
        for answer in answers:
            assert client.wait_for_run(answer.run_id, END_S).state == "COMPLETED"
            assert len(witnesses.starts(f"{answer.run_id}/same")) == 1


def submit(cluster: Cluster, request: SubmitRun) -> Submitted:
    transport = Transport(Access("127.0.0.1", cluster.port, home=cluster.home), 10.0)
    try:
        return transport.ask(request, Submitted)
    finally:
        transport.close()


def crash(cluster: Cluster, worker: Program) -> Program:
    """Wait until the worker is killed by what it runs; another in its place."""
    wait_until(lambda: worker.process.poll() is not None, END_S, "the worker lives")
    return cluster.restart_worker(worker)


def test_a_job_that_kills_its_worker_is_dead_at_the_third_crash(cluster: Cluster, witnesses: Witnesses) -> None:
    worker = cluster.start_worker(port=free_port())
    with cluster.client() as client:
        poison = client.submit_job(witnesses.job("poison", "note start; kill -9 $PPID; sleep 1000"))
        worker = crash(cluster, worker)
        assert client.job(poison).attempts[0].outcome == "LOST"
        once = client.submit_job(witnesses.job("once", gate="never", max_attempts=1))
        innocent = client.submit_job(witnesses.job("innocent", gate="open"))
        for _ in range(2):
            worker = crash(cluster, worker)
        witnesses.open("open")
        status = poison.wait(END_S)
        assert (status.state, len(status.attempts)) == ("DEAD", 3)
        assert "it was running at 3 crashes of workers, and may be their cause" in status.reason
        assert "outcome unknown" in once.wait(END_S).reason
        assert innocent.result(END_S).state == "COMPLETED"
    assert len(witnesses.starts(poison.key)) == 3
    assert len(witnesses.starts(once.key)) <= 1


def test_an_attempt_whose_files_were_not_there_yet_waits_for_the_next_master(
    cluster: Cluster, witnesses: Witnesses
) -> None:
    cluster.master.kill()
    start_anew(cluster, **{FAILPOINT: "master.after_send"})
    cluster.start_worker()
    with ThreadPoolExecutor() as pool, cluster.client() as client:
        submitted = pool.submit(client.submit_job, witnesses.job("fetched", max_attempts=1))
        wait_until(lambda: cluster.master.process.poll() is not None, explain="the master does not die")
        start_anew(cluster)
        status = submitted.result(END_S).result(END_S)
        assert [attempt.outcome for attempt in status.attempts] == ["SUCCEEDED"]


def test_a_log_is_followed_to_its_end_though_the_job_ended_while_there_was_no_master(
    cluster: Cluster, witnesses: Witnesses
) -> None:
    cluster.start_worker()
    text = "echo early; note start; until_gate; for n in {1..20000}; do echo late; done; note end"
    with ThreadPoolExecutor() as pool, cluster.client() as client:
        job = client.submit_job(witnesses.job("prints", text, gate="end"))
        lines = client.stream_logs(job)
        assert next(lines) == "early"
        following = pool.submit(list, lines)
        cluster.master.kill()
        witnesses.open("end")
        wait_until(lambda: witnesses.ends(job.key), END_S)
        start_anew(cluster)
        assert following.result(END_S) == ["late"] * 20000
