"""What a client asks for each of its methods, from inside a job and outside of one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from titan_core.errors import ConfigError, InvalidGraph, InvalidRequest, NotFound
from titan_core.protocol.codec import Message
from titan_core.protocol.messages import (
    Ack,
    AssetInfo,
    AssetList,
    CancelJob,
    Cancelled,
    Check,
    CheckReport,
    ClusterStatus,
    DrainWorker,
    Explain,
    Explanation,
    GetClusterStatus,
    GetJob,
    GetRun,
    GetStats,
    InstanceStatus,
    JobList,
    JobStatus,
    ListAssets,
    ListJobs,
    ListRuns,
    ListServices,
    ListWorkers,
    RestartService,
    RetryJob,
    RunList,
    RunStatus,
    ScaleService,
    ServiceList,
    ServiceStatus,
    ShutdownWorker,
    StartService,
    StartWorker,
    StateCount,
    StatsText,
    StopService,
    SubmitRun,
    Submitted,
    WorkerHistory,
    WorkerList,
    WorkerStatus,
)
from titan_sdk import PipelineError, TitanClient, TitanJob
from titan_test_suite.pytests.support.scripted_master import TOKEN, ScriptedMaster


@pytest.fixture
def master(master: ScriptedMaster) -> ScriptedMaster:
    master.answer(SubmitRun, Submitted("run-1", 1))
    return master


RUN, JOB = RunStatus("r-1", "r", "RUNNING", 3), JobStatus("r-1", "a", "QUEUED")
WORKER = WorkerStatus(
    "host:8080",
    "ONLINE",
    ("GENERAL", "GPU"),
    4,
    1,
    ("r-2/web",),
    ("r-1/a",),
    history=(WorkerHistory("r-0/x", "COMPLETED", 0.8124),),
)
WEB = ServiceStatus(
    "r-2",
    "web",
    "READY",
    wanted=3,
    port=-1,
    instances=(
        InstanceStatus("web", "RUNNING", ready=True, address="host:9100"),
        InstanceStatus("web.2", "RUNNING", address="host:9101"),
        InstanceStatus("web.3", "RUNNING", ready=True, address="other:9100"),
    ),
)
DIED = JobStatus("r-1", "b", "DEAD", finished_wall=5.0)
AGAIN = Ack("queued", ("r-1/a",))
SOUND = CheckReport((), 1, 2, 3)
CLUSTER = ClusterStatus((WORKER,), (StateCount("QUEUED", 7), StateCount("RUNNING", 1)))


@pytest.mark.parametrize(
    ("call", "request_", "reply", "result"),
    [
        (lambda c: c.run("r"), GetRun("r"), RUN, RUN),
        (lambda c: c.job("a"), GetJob("a"), JOB, JOB),
        (lambda c: c.get_job_status("a"), GetJob("a"), JOB, "QUEUED"),
        (lambda c: c.runs(5, "RUNNING", "r"), ListRuns(5, "RUNNING", "r"), RunList((RUN,)), (RUN,)),
        (lambda c: c.jobs(services=True), ListJobs(services=True), JobList((JOB,), 1), JobList((JOB,), 1)),
        (lambda c: c.workers(), ListWorkers(), WorkerList((WORKER,)), (WORKER,)),
        (lambda c: c.cluster(), GetClusterStatus(), CLUSTER, CLUSTER),
        (lambda c: c.stats_text(), GetStats(), StatsText("monitor"), "monitor"),
        (
            lambda c: c.explain("a"),
            Explain("a"),
            Explanation("r-1", "a", "QUEUED"),
            Explanation("r-1", "a", "QUEUED"),
        ),
        (lambda c: c.cancel("a", "why"), CancelJob("a", "why"), Cancelled(("r-1/a",)), Cancelled(("r-1/a",))),
        (lambda c: c.retry("a"), RetryJob("a"), AGAIN, AGAIN),
        (lambda c: c.retry_dead(), RetryJob(every_dead=True), AGAIN, AGAIN),
        (lambda c: c.services(), ListServices(), ServiceList((WEB,)), (WEB,)),
        (lambda c: c.services("r-2"), ListServices("r-2"), ServiceList((WEB, WEB)), (WEB, WEB)),
        (lambda c: c.service("web"), ListServices("web"), ServiceList((WEB,)), WEB),
        (lambda c: c.service_addresses("web"), ListServices("web"), ServiceList((WEB,)), ["host:9100", "other:9100"]),
        (lambda c: c.wait_service("web", timeout=0), ListServices("web"), ServiceList((WEB,)), WEB),
        (lambda c: c.start_service("web"), StartService("web"), Ack("starts"), Ack("starts")),
        (lambda c: c.stop_service("web"), StopService("web"), Ack("stopped"), Ack("stopped")),
        (lambda c: c.restart_service("web"), RestartService("web"), Ack("restarts"), Ack("restarts")),
        (lambda c: c.scale_service("web", 3), ScaleService("web", 3), Ack("scales"), Ack("scales")),
        (lambda c: c.start_worker(8086, "GPU", "8080"), StartWorker(8086, "GPU", "8080"), Ack("on"), Ack("on")),
        (lambda c: c.drain_worker("8080", undo=True), DrainWorker("8080", True), Ack("on"), Ack("on")),
        (lambda c: c.shutdown_worker("8080", force=True), ShutdownWorker("8080", True), Ack("bye"), Ack("bye")),
        (lambda c: c.dead_jobs(7), ListJobs(7, "DEAD"), JobList((JOB, DIED), 9), JobList((DIED, JOB), 9)),
        (lambda c: c.check(), Check(), SOUND, SOUND),
        (lambda c: c.assets(), ListAssets(), AssetList((AssetInfo("a", "0", 1),)), (AssetInfo("a", "0", 1),)),
    ],
)
def test_a_method_is_a_request(
    master: ScriptedMaster,
    client: TitanClient,
    call: Callable[[TitanClient], object],
    request_: Message,
    reply: Message,
    result: object,
) -> None:
    master.answer(type(request_), reply)
    assert call(client) == result
    assert master.requests == [request_]


def test_stats_are_plain_figures(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(GetClusterStatus, CLUSTER)
    assert client.stats() == {
        "active_workers": 1,
        "queue_size": 7,
        "trouble": "",
        "jobs": {"QUEUED": 7, "RUNNING": 1},
        "pools": [],
        "workers": [
            {
                "id": "host:8080",
                "port": 8080,
                "state": "ONLINE",
                "capabilities": "[GENERAL, GPU]",
                "load": "1/4",
                "active_job": "r-1/a",
                "jobs": ["r-1/a"],
                "services": ["r-2/web"],
                "history": [{"id": "r-0/x", "status": "COMPLETED", "time": "812ms"}],
            }
        ],
    }


# ── submitting ────────────────────────────────────────────────────────────────────────────────────


def test_a_job_may_be_described_in_place(master: ScriptedMaster, client: TitanClient) -> None:
    handle = client.submit_job(filename="etl.py", priority=3)
    assert (str(handle), handle.key) == ("run-1", "run-1/etl")
    assert client.submit_job(TitanJob("x", "etl.py")).key == "run-1/x"
    with pytest.raises(InvalidRequest, match="submit_job takes a TitanJob, or the fields of one"):
        client.submit_job()
    with pytest.raises(InvalidRequest, match="submit_job takes"):
        client.submit_job(TitanJob("x", "etl.py"), priority=3)


def test_outside_of_a_job_nothing_is_the_own_run(
    master: ScriptedMaster, client: TitanClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.submit_dag("d", [TitanJob("a", "a.py")])
    assert master.asked(SubmitRun)[0].spawner == b""
    with pytest.raises(InvalidRequest, match="add_jobs needs run_id"):
        client.add_jobs([TitanJob("a", "a.py")])
    client.add_jobs([TitanJob("a", "a.py")], run_id="run-7")
    assert master.asked(SubmitRun)[1].run_id == "run-7"


def test_inside_a_job_master_token_and_run_are_known(
    master: ScriptedMaster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    for name, value in {
        "TITAN_MASTER": f"127.0.0.1:{master.port}",
        "TITAN_TOKEN_FILE": str(tmp_path / "token"),
        "TITAN_RUN_ID": "run-1",
        "TITAN_ATTEMPT_TOKEN": "0a" * 16,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TITAN_TOKEN", raising=False)
    with TitanClient() as client:
        client.add_jobs([TitanJob("more", "a.py")])
        client.submit_job(filename="b.py")
    grown, started = master.asked(SubmitRun)
    assert (grown.run_id, grown.spawner, [job.job_id for job in grown.jobs]) == ("run-1", b"\x0a" * 16, ["more"])
    assert (started.run_id, started.spawner, started.name) == ("", b"\x0a" * 16, "b")


def test_an_attempt_token_that_is_none_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TITAN_ATTEMPT_TOKEN", "xyz")
    with pytest.raises(ConfigError, match="TITAN_ATTEMPT_TOKEN is 'xyz', which is not hex"):
        TitanClient()


def test_a_submission_of_many_jobs_is_one_request(master: ScriptedMaster, client: TitanClient) -> None:
    client.submit_dag("many", (TitanJob(f"j{number}", "a.py", args=[number]) for number in range(20_000)))
    (request,) = master.asked(SubmitRun)
    assert len(request.jobs) == 20_000


def test_a_file_that_is_nowhere_says_where_it_was_looked_for(
    master: ScriptedMaster, client: TitanClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    master.answer(SubmitRun, NotFound("there is no file 'a.py' in perm_files/", job="a", field="file"))
    with pytest.raises(
        NotFound, match=rf"^there is no file 'a\.py' in perm_files/ \(nor is there one in {tmp_path}\)$"
    ):
        client.submit_job(filename="a.py")


# ── pipelines ─────────────────────────────────────────────────────────────────────────────────────


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_pipeline_is_sent_with_the_files_beside_it(
    master: ScriptedMaster, client: TitanClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etl").mkdir()
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path / "etl" / "a.py", "print(1)\n")
    write(tmp_path / "elsewhere" / "b.py", "not this one\n")
    path = write(tmp_path / "etl" / "p.yaml", "jobs: [{id: a, file: a.py}, {id: b, file: b.py}]")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert client.apply(path).run_id == "run-1"
    (request,) = master.asked(SubmitRun)
    assert [content.data for content in request.contents] == [b"print(1)\n"]
    assert [(job.task.asset, bool(job.task.sha256)) for job in request.jobs] == [("a.py", True), ("b.py", False)]


def test_a_project_is_sent_as_one_archive(master: ScriptedMaster, client: TitanClient, tmp_path: Path) -> None:
    write(tmp_path / "a.py", "print(1)\n")
    write(tmp_path / "b.py", "print(2)\n")
    write(tmp_path / "titan.yaml", "{name: etl, project: true, jobs: [{id: a, file: a.py}, {id: b, file: ./b.py}]}")
    client.apply(tmp_path)
    client.apply(tmp_path)
    first, second = master.asked(SubmitRun)
    assert [(job.task.asset, job.task.entry) for job in first.jobs] == [("etl.zip", "a.py"), ("etl.zip", "b.py")]
    assert (len(first.contents), len(second.contents)) == (1, 0)
    assert first.jobs == second.jobs


@pytest.mark.parametrize(
    ("yaml", "problem"),
    [
        ("project: true\njobs:\n- id: a\n  file: nowhere.py\n", r":4: job 'a': there is no 'nowhere\.py' in p\.zip"),
        ("jobs:\n- id: a\n  file: empty.py\n", r":3: job 'a': .*empty\.py is empty"),
        ("jobs:\n- id: a\n  file: folder\n", r":3: job 'a': .*folder is a directory"),
        ("jobs:\n- id: a\n  file: ./b.py\n", r":3: job 'a': there is no file '\./b\.py'"),
    ],
)
def test_what_is_wrong_with_a_file_gets_its_line(
    master: ScriptedMaster, client: TitanClient, tmp_path: Path, yaml: str, problem: str
) -> None:
    write(tmp_path / "empty.py", "")
    (tmp_path / "folder").mkdir()
    with pytest.raises(PipelineError, match=problem):
        client.apply(write(tmp_path / "p.yaml", yaml))
    assert not master.requests


@pytest.mark.parametrize(
    ("refusal", "line"),
    [
        (InvalidGraph("cycle: a → b → a", job="b"), 4),
        (InvalidGraph("there is no job 'c'", job="b", field="parents"), 6),
        (NotFound("there is no run 'c-1' with a job 'c'", job="b", field="parents"), 6),
        (InvalidRequest("a.py in perm_files/ is empty", job="a", field="file"), 3),
    ],
)
def test_what_the_master_refuses_gets_its_line(
    master: ScriptedMaster, client: TitanClient, tmp_path: Path, refusal: InvalidRequest, line: int
) -> None:
    path = write(tmp_path / "p.yaml", "jobs:\n- id: a\n  file: a.py\n- id: b\n  file: b.py\n  depends_on: [c]\n")
    master.answer(SubmitRun, refusal)
    with pytest.raises(PipelineError) as caught:
        client.apply(path)
    assert caught.value.message == f"{path}:{line}: {refusal.message}"
