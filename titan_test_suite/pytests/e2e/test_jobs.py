"""Jobs on a real cluster: what they get, how they end, what is said of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from titan_core.net.credentials import find_token
from titan_core.net.dial import dial
from titan_core.net.stream import decode
from titan_core.protocol.messages import JobSpec, SubmitRun, Submitted, Task
from titan_sdk import TitanClient, TitanJob
from titan_sdk.errors import AssetMissing, Conflict, InvalidGraph, InvalidRequest, JobFailed, NotFound, TitanError
from titan_test_suite.pytests.support.cluster import Cluster
from titan_test_suite.pytests.support.waiting import wait_until

pytestmark = pytest.mark.e2e

Script = Callable[[str, str], str]


def test_a_graph_runs_in_order_and_its_jobs_share_files(client: TitanClient, script: Script) -> None:
    write = script("write.py", "open('numbers', 'a').write('1\\n2\\n')")
    add = script("add.sh", 'awk "{ s += \\$1 } END { print s }" numbers > "$TITAN_SHARED/sum"; cat sum')
    run = client.submit_dag("share", [TitanJob("write", write), TitanJob("add", add, parents=["write"])])
    assert run.result(timeout=20).state == "COMPLETED"
    assert run.logs()["add"] == "3\n"


def test_arguments_and_variables_reach_the_job_as_they_are(client: TitanClient, script: Script) -> None:
    show = script(
        "show.py", "import os, sys; print(sys.argv[1:], os.environ['GREETING'], os.environ['TITAN_JOB_ID'])"
    )
    job = client.submit_job(job_id="show", filename=show, args=["a b", "$HOME;`id`", "ü"], env={"GREETING": "hi *"})
    job.result(timeout=20)
    assert job.logs() == "['a b', '$HOME;`id`', 'ü'] hi * show\n"


def test_an_exit_code_is_a_failure_and_is_told(client: TitanClient, script: Script) -> None:
    job = client.submit_job(job_id="bad", filename=script("bad.sh", "echo why >&2; exit 3"))
    with pytest.raises(JobFailed, match="exit code 3"):
        job.result(timeout=20)
    status = client.job(job.key)
    assert (status.state, status.exit_code, status.attempts[0].outcome) == ("DEAD", 3, "FAILED")
    assert job.logs() == "why\n"
    assert status.attempts[0].peak_memory > 0


def test_a_failed_parent_cancels_its_descendants_with_the_reason(client: TitanClient, script: Script) -> None:
    bad, fine = script("bad.sh", "exit 1"), script("fine.sh", "true")
    jobs = [TitanJob("a", bad), TitanJob("b", fine, parents=["a"]), TitanJob("c", fine, parents=["b"])]
    run = client.submit_dag("cascade", jobs)
    assert run.wait(timeout=20).state == "FAILED"
    states = {job.job_id: (job.state, job.reason) for job in client.run(run.run_id).jobs}
    assert states["c"] == ("CANCELLED", "parent a is DEAD")


def test_a_retry_by_hand_finishes_the_run(client: TitanClient, script: Script, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    picky = script("picky.sh", f"test -e {flag}")
    jobs = [TitanJob("picky", picky), TitanJob("after", script("after.sh", "true"), parents=["picky"])]
    run = client.submit_dag("again", jobs)
    assert run.wait(timeout=20).state == "FAILED"
    flag.touch()
    client.retry(f"{run.run_id}/picky")
    assert run.wait(timeout=20).state == "COMPLETED"
    with pytest.raises(Conflict, match="COMPLETED"):
        client.retry(f"{run.run_id}/picky")


def test_retries_are_made_with_a_pause(client: TitanClient, script: Script, tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    flaky = script("flaky.sh", f'echo "$TITAN_ATTEMPT" >> {tries}; test "$(wc -l < {tries})" = 3')
    job = client.submit_job(job_id="flaky", filename=flaky, retries=3, retry_backoff=0.05)
    assert len(job.result(timeout=20).attempts) == 3
    assert tries.read_text().split() == ["1", "2", "3"]


def test_a_job_that_outlives_its_timeout_is_killed_with_all_it_started(
    client: TitanClient, script: Script, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    stubborn = script("stubborn.sh", f"trap '' TERM; sleep 600 & echo $$ $! > {pids}; wait; wait")
    job = client.submit_job(job_id="stubborn", filename=stubborn, timeout=0.3, stop_grace=0.2)
    status = job.wait(timeout=20)
    assert (status.state, status.attempts[0].outcome) == ("DEAD", "TIMED_OUT")
    assert not any(psutil.pid_exists(int(pid)) for pid in pids.read_text().split())


def test_cancel_ends_what_runs_and_what_waits(client: TitanClient, script: Script, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    long = script("long.sh", f"sleep 600 & (setsid sleep 601 & echo $! >> {pids}); echo $$ $! >> {pids}; wait")
    run = client.submit_dag("stop", [TitanJob("long", long), TitanJob("next", long, parents=["long"])])
    wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 3)
    assert "1 running job being stopped, 1 waiting job cancelled" in client.cancel(run.run_id).text
    assert run.wait(timeout=20).state == "CANCELLED"
    assert not any(psutil.pid_exists(int(pid)) for pid in pids.read_text().split())
    with pytest.raises(Conflict, match="CANCELLED already"):
        client.cancel(run.run_id)


def test_cancel_of_a_finished_job_is_refused(client: TitanClient, script: Script) -> None:
    job = client.submit_job(job_id="done", filename=script("done.sh", "true"))
    job.result(timeout=20)
    with pytest.raises(Conflict, match="COMPLETED already"):
        client.cancel(job.key)


def test_a_job_that_no_worker_can_run_waits_and_says_why(client: TitanClient, script: Script) -> None:
    job = client.submit_job(job_id="quantum", filename=script("q.sh", "true"), requirement="QPU")
    reasons = client.explain(job.key).reasons
    assert reasons[0] == "no worker has QPU; the known ones have GENERAL"
    other = client.submit_job(job_id="plain", filename=script("p.sh", "true"))
    assert other.result(timeout=20).state == "COMPLETED"
    client.cancel(job.key)


def test_a_delayed_job_is_never_early(client: TitanClient, script: Script, tmp_path: Path) -> None:
    stamp = tmp_path / "stamp"
    late = script("late.sh", f"date +%s.%N > {stamp}")
    before = time.time()
    job = client.submit_job(job_id="late", filename=late, delay=400)
    wait_until(lambda: client.job(job.key).state == "DELAYED")
    job.result(timeout=20)
    assert float(stamp.read_text()) - before >= 0.4


def test_a_running_job_grows_its_own_run(client: TitanClient, script: Script) -> None:
    child = script("child.sh", "echo grown")
    parent = script(
        "grow.py",
        "from titan_sdk import TitanClient, TitanJob\n"
        f"TitanClient().add_jobs([TitanJob('child', {child!r}, parents=['parent'])])\n",
    )
    run = client.submit_dag("grow", [TitanJob("parent", parent)])
    assert run.result(timeout=30).state == "COMPLETED"
    assert run.logs()["child"] == "grown\n"


def test_more_output_than_a_frame_holds_arrives_whole(client: TitanClient, script: Script) -> None:
    lines = 200_000
    job = client.submit_job(job_id="talk", filename=script("talk.py", f"for i in range({lines}): print('line', i)"))
    job.result(timeout=60)
    assert job.logs() == "".join(f"line {i}\n" for i in range(lines))


def test_a_log_is_followed_while_the_job_runs(client: TitanClient, script: Script, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    talk = script("talk.sh", f"echo first; while ! test -e {gate}; do sleep 0.02; done; echo last")
    job = client.submit_job(job_id="talk", filename=talk)
    lines: list[str] = []

    def follow() -> None:
        for line in client.stream_logs(job.key):
            lines.append(line.rstrip("\n"))
            gate.touch()

    follower = threading.Thread(target=follow)
    follower.start()
    follower.join(20)
    assert lines == ["first", "last"]


def test_a_service_runs_beside_the_slots_until_it_is_stopped(
    cluster: Cluster, client: TitanClient, script: Script, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    serve = script("serve.sh", f"echo $$ > {pid}; exec sleep 600")
    after = script("after.sh", "true")
    run = client.submit_dag(
        "service", [TitanJob("serve", serve, type="service"), TitanJob("after", after, parents=["serve"])]
    )
    assert run.wait(timeout=20).state == "COMPLETED"
    assert client.job(f"{run.run_id}/serve").state == "RUNNING"
    assert [job.job_id for job in client.jobs(services=True).jobs] == ["serve"]
    assert sum(worker.used for worker in client.workers()) == 0
    client.stop_service("serve")
    wait_until(lambda: client.job(f"{run.run_id}/serve").state == "COMPLETED")
    assert not psutil.pid_exists(int(pid.read_text()))


# ── what is refused, and how ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["a/b", "..", "", "a\0b", "a\nb", "x" * 10_000, "🚀", "-rf", ".hidden"])
def test_hostile_job_ids_are_refused(client: TitanClient, script: Script, name: str) -> None:
    before = client.runs()
    with pytest.raises(InvalidRequest, match=r"can not be used|must"):
        client.submit_dag("names", [TitanJob(name, script("x.sh", "true"))])
    assert client.runs() == before


def test_a_cycle_is_refused_as_a_whole_and_named(client: TitanClient, script: Script) -> None:
    x = script("x.sh", "true")
    before = client.runs()
    jobs = [TitanJob("a", x, parents=["c"]), TitanJob("b", x, parents=["a"]), TitanJob("c", x, parents=["b"])]
    with pytest.raises(InvalidGraph, match="cycle: a → c → b → a"):
        client.submit_dag("cycle", jobs)
    assert client.runs() == before


def test_files_that_are_not_there_are_refused_with_the_job(
    cluster: Cluster, client: TitanClient, script: Script
) -> None:
    Path(cluster.home / "perm_files" / "etl_daily.py").write_text("print(1)")
    Path(cluster.home / "perm_files" / "empty.py").touch()
    Path(cluster.home / "perm_files" / "folder.py").mkdir(exist_ok=True)
    with pytest.raises(NotFound, match=r"job 'a': .*etl_dayly\.py.*etl_daily\.py"):
        client.submit_dag("missing", [TitanJob("a", "etl_dayly.py")])
    with pytest.raises(TitanError, match="empty"):
        client.submit_dag("empty", [TitanJob("a", "empty.py")])
    with pytest.raises(TitanError, match="empty"):
        client.submit_dag("empty", [TitanJob("a", script("local-empty.sh", ""))])
    with pytest.raises(TitanError, match=r"directory|folder"):
        client.submit_dag("folder", [TitanJob("a", "folder.py")])


def test_unknown_keys_are_answered_with_what_to_do(client: TitanClient) -> None:
    for ask in (client.job, client.fetch_logs, client.explain, client.cancel):
        with pytest.raises(NotFound, match="titan ls"):
            ask("no-such-thing")


def test_a_script_without_execute_bit_is_refused_before_it_is_sent(client: TitanClient, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("echo hi\n")
    with pytest.raises(InvalidRequest, match="has no execute bit: set it with chmod"):
        client.submit_job(job_id="plain", filename=str(plain))


def test_a_missing_interpreter_is_named(client: TitanClient, script: Script) -> None:
    job = client.submit_job(job_id="odd", filename=script("odd", "#!/no/such/interpreter\n"))
    status = job.wait(timeout=20)
    assert (status.state, status.attempts[0].outcome) == ("DEAD", "NOT_STARTED")
    assert "/no/such/interpreter" in status.reason


def test_a_project_is_sent_once_and_its_entry_runs(cluster: Cluster, client: TitanClient, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "package").mkdir(parents=True)
    (project / "package" / "__init__.py").write_text("NAME = 'titan'\n")
    (project / "main.py").write_text("from package import NAME; print(NAME)\n")
    client.upload_project_folder(str(project), "project")
    jobs = [TitanJob(f"p{i}", "project.zip/main.py", is_archive=True) for i in range(6)]
    run = client.submit_dag("project", jobs)
    assert run.result(timeout=30).state == "COMPLETED"
    assert set(run.logs().values()) == {"titan\n"}
    with pytest.raises(InvalidRequest, match=r"no file 'absent\.py'"):
        client.submit_dag("project", [TitanJob("p", "project.zip/absent.py", is_archive=True)])


def test_content_the_master_does_not_hold_is_named(cluster: Cluster) -> None:
    token = find_token(home=cluster.home, environ={})
    stream = dial("127.0.0.1", cluster.port, token, "client")
    try:
        stream.send(SubmitRun("x", (JobSpec("a", Task("x.sh", sha256="0" * 64)),)))
        frame = stream.receive(5.0)
        assert frame is not None
        with pytest.raises(AssetMissing) as error:
            decode(frame, frame.payload, Submitted)
        assert error.value.details["missing"] == "0" * 64
    finally:
        stream.close()
