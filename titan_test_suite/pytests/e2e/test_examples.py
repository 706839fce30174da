"""Every example on a real cluster: how it ends, what it leaves, and where its jobs ran."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from titan_core.protocol.messages import JobStatus, RunStatus
from titan_sdk import TitanClient, TitanJob
from titan_sdk.errors import ServiceFailed
from titan_sdk.handles import RunHandle
from titan_sdk.pipeline import load
from titan_test_suite.pytests.support.cluster import Cluster
from titan_test_suite.pytests.support.examples import EXAMPLES, GRAPHS, SKILLS, answer_of, example, port_of
from titan_test_suite.pytests.support.waiting import wait_until

pytestmark = pytest.mark.e2e

Script = Callable[[str, str], str]
RUN_S = 40


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A master, a GENERAL worker and a GPU worker, shared by the tests of this module."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as running:
        running.start_worker()
        running.start_worker("GPU")
        yield running


def shared(cluster: Cluster, run: RunHandle | RunStatus) -> Path:
    return cluster.home / "titan_workspace" / "shared" / run.run_id


def by_id(status: RunStatus) -> dict[str, JobStatus]:
    return {job.job_id: job for job in status.jobs}


def by_hand(cluster: Cluster, path: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A program of the examples as a user runs it."""
    command = [sys.executable, EXAMPLES / path, *arguments]
    return subprocess.run(
        command, env=cluster.environ, cwd=cluster.home, capture_output=True, text=True, timeout=60, check=False
    )


# ── graphs in YAML ────────────────────────────────────────────────────────────────────────────────


def test_agent_turns_logs_into_a_report_and_serves_it(cluster: Cluster, client: TitanClient) -> None:
    pipeline = example(f"{GRAPHS}/agent.yaml")
    run = client.apply(pipeline)
    jobs = by_id(run.result(RUN_S))
    assert {name: job.state for name, job in jobs.items()} == {
        **dict.fromkeys(("owners", "collect", "late", "parse", "report"), "COMPLETED"),
        "serve": "RUNNING",
    }
    assert jobs["late"].started_wall - jobs["collect"].finished_wall >= 0.999
    assert jobs["parse"].worker == jobs["late"].worker
    report = json.loads(answer_of(port_of(pipeline, "serve")))
    assert report == json.loads((shared(cluster, run) / "report.json").read_text())
    assert 20_400 < sum(team["hits"] for team in report.values()) <= 20_500
    assert client.fetch_logs(f"{run}/report").count("\n") == 1 + len(report)


def test_the_service_of_agent_ends_when_it_is_told_to(client: TitanClient) -> None:
    pipeline = example(f"{GRAPHS}/agent.yaml")
    port = port_of(pipeline, "serve")
    run = client.apply(pipeline)
    run.result(RUN_S)
    answer_of(port)
    client.stop_service(f"{run}/serve")
    status = client.wait_for_job(f"{run}/serve", RUN_S)
    assert (status.state, status.exit_code) == ("COMPLETED", 0)
    log = client.fetch_logs(f"{run}/serve").splitlines()
    assert (log[0], log[-1]) == (f"serving report.json on http://127.0.0.1:{port}/", "told to stop")


def test_the_high_priority_of_agent_goes_first(tmp_path: Path) -> None:
    first_two = [job for job in example(f"{GRAPHS}/agent.yaml").jobs if not job.parents]
    assert [job.job_id for job in first_two] == ["owners", "collect"]
    files = [TitanJob(**{**vars(job), "filename": EXAMPLES / GRAPHS / job.filename}) for job in first_two]
    with Cluster(tmp_path) as cluster, cluster.client() as client:
        run = client.submit_dag("first", files)
        cluster.start_worker(slots=1)
        jobs = by_id(run.result(RUN_S))
    assert jobs["collect"].finished_wall <= jobs["owners"].started_wall


def test_diamond_comes_to_the_same_total_twice(cluster: Cluster, client: TitanClient) -> None:
    run = client.apply(example(f"{GRAPHS}/diamond.yaml"))
    jobs = by_id(run.result(RUN_S))
    for half in ("by_region", "by_month"):
        assert jobs["extract"].finished_wall <= jobs[half].started_wall
        assert jobs[half].finished_wall <= jobs["reconcile"].started_wall
    totals = [json.loads(path.read_text()) for path in sorted(shared(cluster, run).glob("totals-*.json"))]
    assert [len(total) for total in totals] == [12, 4]
    assert sum(totals[0].values()) == sum(totals[1].values())
    assert client.fetch_logs(f"{run}/reconcile").startswith("region and month agree: ")


def test_fan_out_draws_a_picture(cluster: Cluster, client: TitanClient) -> None:
    run = client.apply(example(f"{GRAPHS}/fan_out.yaml"))
    jobs = by_id(run.result(RUN_S))
    strips = [job for name, job in jobs.items() if name.startswith("strip_")]
    assert len(strips) == 6
    assert max(job.finished_wall for job in strips) <= jobs["stitch"].started_wall
    assert min(job.finished_wall for job in strips) > max(job.started_wall for job in strips[:4]), "side by side"
    png = (shared(cluster, run) / "mandelbrot.png").read_bytes()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    pixels = zlib.decompress(png[png.index(b"IDAT") + 4 : png.index(b"IEND") - 8])
    assert len(pixels) == 240 * (1 + 360)


# ── jobs that not every worker can do ─────────────────────────────────────────────────────────────


def test_gpu_run_trains_where_the_gpu_is(cluster: Cluster, client: TitanClient) -> None:
    workers = {worker.capabilities: worker.worker_id for worker in client.workers()}
    run = client.apply(example(f"{SKILLS}/gpu_run.yaml"))
    placed = {name: job.worker for name, job in by_id(run.result(RUN_S)).items()}
    general, gpu = workers["GENERAL",], workers["GPU",]
    assert placed == {"prepare": general, "train": gpu, "score": general}
    score = re.match(r"R² = (0\.\d+) ", client.fetch_logs(f"{run}/score"))
    assert score and float(score[1]) > 0.9
    assert client.fetch_logs(f"{run}/train").startswith(f"on {gpu}: ")


def test_gpu_run_waits_for_a_worker_with_a_gpu(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster, cluster.client() as client:
        cluster.start_worker()
        run = client.apply(example(f"{SKILLS}/gpu_run.yaml"))
        client.wait_for_job(f"{run}/prepare", RUN_S)
        wait_until(lambda: client.get_job_status(f"{run}/train") == "QUEUED")
        assert "no worker has GPU" in client.explain("train").reasons[0]
        cluster.start_worker("GPU")
        assert run.result(RUN_S).state == "COMPLETED"


# ── three languages ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(
    not (shutil.which("javac") and shutil.which("jar")), reason="catalogue.jar needs a JDK: no javac and jar here"
)
def test_hybrid_hands_files_from_python_to_java_to_shell(
    cluster: Cluster, client: TitanClient, tmp_path: Path
) -> None:
    folder = shutil.copytree(EXAMPLES / "hybrid", tmp_path / "hybrid")
    (folder / "catalogue.jar").unlink(missing_ok=True)
    subprocess.run(["sh", folder / "build.sh"], check=True, capture_output=True, timeout=60)
    pipeline = example(folder / "hybrid.yaml")
    run = client.apply(pipeline)
    jobs = by_id(run.result(RUN_S))
    assert len({job.worker for job in jobs.values()}) == 1
    assert answer_of(port_of(pipeline, "catalogue"), "/apple") == "39\n"
    assert client.fetch_logs(f"{run}/clean_up").splitlines()[-2:] == [
        "an apple costs 39",
        "removed the suppliers' lists",
    ]
    assert sorted(path.name for path in shared(cluster, run).iterdir()) == ["catalogue.address", "prices.csv"]
    client.stop_service(f"{run}/catalogue")
    assert client.wait_for_job(f"{run}/catalogue", RUN_S).state == "COMPLETED"
    assert client.fetch_logs(f"{run}/catalogue").endswith("told to stop\n")


# ── graphs that are chosen, and that grow ─────────────────────────────────────────────────────────


def test_an_idle_cluster_gets_the_thorough_graph(cluster: Cluster, client: TitanClient) -> None:
    program = by_hand(cluster, "dynamic_dag_custom/dynamic_switch.py")
    assert program.returncode == 0, program.stderr
    assert "a thorough check" in program.stdout
    run = client.runs(1)[0]
    assert run.name == "check-thorough"
    assert len(client.run(run.run_id).jobs) == 6
    assert client.fetch_logs(f"{run.run_id}/sum_up") == "40 of 40 files are as they were saved\n"


def test_a_busy_cluster_gets_the_light_graph(cluster: Cluster, client: TitanClient, script: Script) -> None:
    gate = cluster.home / "gate"
    waits = script("waits.sh", f"while ! test -e {gate}; do sleep 0.05; done")
    blockers = [TitanJob(f"b{n}", waits, requirement="GPU" if n == 3 else "GENERAL") for n in range(4)]
    occupied = client.submit_dag("occupied", blockers)
    try:
        wait_until(lambda: sum(worker.used for worker in client.workers()) == 4)
        program = by_hand(cluster, "dynamic_dag_custom/dynamic_switch.py")
    finally:
        gate.touch()
    assert program.returncode == 0, program.stderr
    assert "50% of the slots are taken: a light check" in program.stdout
    run = next(run for run in client.runs() if run.name == "check-light")
    assert client.fetch_logs(f"{run.run_id}/sample") == "4 of 40 files checked, 0 damaged\n"
    occupied.result(RUN_S)


def test_a_job_may_decide_as_well(client: TitanClient) -> None:
    client.upload_project_folder(EXAMPLES / "dynamic_dag_custom", "switch")
    job = client.submit_job(job_id="switch", filename="switch.zip/dynamic_switch.py", is_archive=True)
    job.result(RUN_S)
    assert "check-thorough-" in job.logs()


@pytest.fixture
def without_rates(cluster: Cluster) -> Path:
    rates = cluster.home / "perm_files" / "rates.json"
    rates.unlink(missing_ok=True)
    return rates


def test_the_healer_heals_by_hand(cluster: Cluster, client: TitanClient, without_rates: Path) -> None:
    sick = client.submit_job(filename=EXAMPLES / "agents" / "import_orders.py")
    assert sick.wait(RUN_S).state == "DEAD"
    assert sick.logs() == "order A-2: no rate for CHF in rates.json\n"
    program = by_hand(cluster, "agents/agentic_healer.py", "import_orders")
    assert program.returncode == 0, program.stderr
    status = sick.result(RUN_S)
    assert [attempt.outcome for attempt in status.attempts] == ["FAILED", "FAILED", "SUCCEEDED"]
    assert sorted(json.loads(without_rates.read_text())) == ["CHF", "SEK"]


def test_the_healer_heals_the_run_it_is_a_job_of(client: TitanClient, without_rates: Path) -> None:
    run = client.apply(example("agents/nightly.yaml"))
    jobs = by_id(run.result(RUN_S))
    assert list(jobs) == ["import", "summary", "healer", "fix-CHF", "fix-SEK"]
    assert len(client.job(f"{run}/import").attempts) == 3
    assert client.fetch_logs(f"{run}/summary") == "4 orders, 241.00 EUR\n"
    assert jobs["fix-CHF"].worker == jobs["healer"].worker


def test_the_healer_says_when_it_knows_no_remedy(cluster: Cluster, client: TitanClient, script: Script) -> None:
    sick = client.submit_job(job_id="sick", filename=script("sick.sh", "echo a mystery; exit 1"))
    assert sick.wait(RUN_S).state == "DEAD"
    program = by_hand(cluster, "agents/agentic_healer.py", sick.key)
    assert program.returncode == 1
    assert program.stderr == f"no remedy is known for {sick.key}\n"
    assert len(client.job(sick.key).attempts) == 1


# ── services ──────────────────────────────────────────────────────────────────────────────────────


def port_of_service(client: TitanClient, key: str) -> int:
    """Where the first of its instances answers."""
    return int(client.service_addresses(key)[0].rpartition(":")[2])


def is_asked(port: int) -> bool:
    """Whether a connection to this port has been accepted."""
    connections = psutil.net_connections("tcp")
    return any(c.pid and c.laddr.port == port and c.status == psutil.CONN_ESTABLISHED for c in connections)


def test_a_job_asks_the_web_api_of_its_run(client: TitanClient) -> None:
    run = client.apply(example("services/web_api.yaml"))
    jobs = by_id(run.result(RUN_S))
    assert {name: job.state for name, job in jobs.items()} == {"api": "RUNNING", "client": "COMPLETED"}
    assert run.logs()["client"] == "360 = 2 · 2 · 2 · 3 · 3 · 5\n1001 = 7 · 11 · 13\n65537 = 65537\n"
    port = port_of_service(client, f"{run}/api")
    assert answer_of(port, "/health") == '"ok"'
    assert "14 digits" in answer_of(port, "/factors/-1")
    client.stop_service(run)


def test_the_web_api_answers_before_it_ends(client: TitanClient) -> None:
    run = client.apply(example("services/web_api.yaml"))
    run.result(RUN_S)
    port = port_of_service(client, f"{run}/api")
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(answer_of, port, "/factors/99999999999973")
        wait_until(lambda: is_asked(port))
        client.stop_service(f"{run}/api")
        assert json.loads(answer.result(RUN_S))["factors"] == [99999999999973]
    status = client.wait_for_job(f"{run}/api", RUN_S)
    assert (status.state, status.exit_code) == ("COMPLETED", 0)
    assert client.fetch_logs(f"{run}/api").endswith("every request is answered\n")


def test_services_that_die_come_back_until_they_are_given_up(tmp_path: Path) -> None:
    """By a master that loses its patience sooner than others."""
    (tmp_path / ".titan").mkdir(mode=0o700)
    (tmp_path / ".titan" / "config").write_text("master: {restart_max_s: 0.05, crash_loop_restarts: 3}\n")
    with Cluster(tmp_path) as cluster, cluster.client() as client:
        cluster.start_worker()
        run = client.apply(example("services/crashing.yaml"))
        with pytest.raises(ServiceFailed, match="CRASHLOOP"):
            client.wait_service(f"{run}/hopeless", RUN_S)
        shown = cluster.cli("services").stdout
        assert re.search(r"/hopeless +CRASHLOOP +0/1 +3 +crash loop: ended 4 times in a row, .* exit code 1;", shown)
        assert client.fetch_logs(f"{run}/hopeless").endswith("/hopeless.conf\n")
        wait_until(lambda: client.service(f"{run}/weary").instances[0].restarts, RUN_S)
        assert "attempt 2 works\n" in wait_until(lambda: client.fetch_logs(f"{run}/weary", 2))
        client.stop_service(run)


def test_two_instances_are_renewed_while_somebody_asks(cluster: Cluster, client: TitanClient, tmp_path: Path) -> None:
    pipeline = example("services/two_instances.yaml")
    key = f"{client.apply(pipeline)}/greeter"
    client.wait_service(key, RUN_S)
    answers = tmp_path / "answers"
    with answers.open("w") as output, subprocess.Popen(asking(key), env=cluster.environ, stdout=output) as asker:
        wait_until(lambda: both_have_said("hello", answers), RUN_S, explain=answers.read_text)
        client.restart_service(key)
        restarted = client.wait_service(key, RUN_S, since=1)
        politer = [replace(job, args=("good day",)) for job in pipeline.jobs]
        client.update_service(key, replace(pipeline, jobs=politer))
        assert client.wait_service(key, RUN_S, since=restarted.revision).ready == 2
        wait_until(lambda: both_have_said("good day", answers), RUN_S, explain=answers.read_text)
        asker.terminate()
    assert asker.returncode == 0, answers.read_text()
    client.stop_service(key)


def both_have_said(greeting: str, answers: Path) -> bool:
    heard = answers.read_text()
    return f" {greeting} from greeter, " in heard and f" {greeting} from greeter.2, " in heard


def asking(key: str) -> list[str]:
    return [sys.executable, str(EXAMPLES / "services" / "two_instances" / "ask.py"), key]


# ── a burst ───────────────────────────────────────────────────────────────────────────────────────


def test_each_job_of_a_burst_has_its_answer(cluster: Cluster, client: TitanClient) -> None:
    program = by_hand(cluster, "load_cycle/burst.py", "9", "0.1")
    assert program.returncode == 0, program.stderr
    run = client.wait_for_run(program.stdout.strip(), RUN_S)
    answers = (shared(cluster, run) / "answers").read_text().splitlines()
    assert sorted(answers) == [f"ask-{number:02} 1" for number in range(1, 10)]


# ── what is written about them ────────────────────────────────────────────────────────────────────


def test_every_folder_says_what_it_shows_and_names_files_that_are_there() -> None:
    beginnings = ("*.yaml", "dynamic_switch.py", "burst.py")
    folders = {path.parent for pattern in beginnings for path in EXAMPLES.rglob(pattern)}
    assert len(folders) == 8
    for folder in folders:
        text = (folder / "README.md").read_text()
        named = re.findall(r"titan_test_suite/examples/(\S+)", text)
        assert named, f"{folder}/README.md has no command to copy"
        assert [path for path in named if not (EXAMPLES / path).exists()] == []


# ── by the clock ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "path", "last", "told"),
    [
        ("gpu_hourly", "cron/gpu_hourly.yaml", "embed", "the hour before {slot} is embedded"),
        ("nightly_etl", "cron/nightly_etl.yaml", "load", "for the fire of {slot}"),
        ("quarter_hourly", "cron/fan_out.yaml", "report", "{slot}: 4203 primes in 4 shards"),
    ],
)
def test_a_schedule_fires_by_the_real_clock(client: TitanClient, name: str, path: str, last: str, told: str) -> None:
    """As it is applied, but for its time, which is the next second."""
    assert client.apply(EXAMPLES / path).outcome == "created"
    put = client.schedule(name, EXAMPLES / path, cron="* * * * * *", seconds=True, jitter=0, timezone="UTC")
    assert any(change.startswith("cron: ") for change in put.changes)
    done = wait_until(
        lambda: client.schedule_history(name, outcome="RAN")[-1:], RUN_S, lambda: client.schedule_history(name)
    )
    client.pause_schedule(name)
    (fire,) = done
    assert 0 <= fire.decided_wall - fire.slot_wall < 0.5
    run = client.wait_for_run(fire.run_id, RUN_S)
    assert (run.state, run.schedule, run.scheduled_wall) == ("COMPLETED", name, fire.slot_wall)
    slot = datetime.fromtimestamp(fire.slot_wall, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert told.format(slot=slot) in client.fetch_logs(f"{fire.run_id}/{last}")
    client.remove_schedule(name)


def test_a_night_that_fails_is_told(client: TitanClient, tmp_path: Path) -> None:
    folder = tmp_path / "cron"
    shutil.copytree(EXAMPLES / "cron", folder)
    (folder / "nightly_etl" / "transform.py").write_text("raise SystemExit('no such column')\n")
    pipeline = load(folder / "nightly_etl.yaml")
    pipeline = replace(pipeline, jobs=[replace(job, retries=0) for job in pipeline.jobs])
    client.apply(pipeline)
    fire = client.trigger_schedule("nightly_etl")
    assert client.wait_for_run(fire.run_id, RUN_S).state == "FAILED"
    (line,) = client.schedule_history("nightly_etl", 1)
    assert line.run_state == "FAILED" and line.alert.startswith("run nightly_etl.on_failure-")
    told = line.alert.removeprefix("run ")
    assert client.wait_for_run(told, RUN_S).state == "COMPLETED"
    assert f"failure; look at {fire.run_id}" in client.fetch_logs(f"{told}/tell")
    client.remove_schedule("nightly_etl")
