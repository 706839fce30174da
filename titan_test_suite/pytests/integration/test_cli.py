"""Commands against a scripted master: what they ask, what they print, and how they exit."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from titan_core.errors import ConnectionFailed, InvalidGraph, InvalidRequest, NotAuthorised, NotFound, Unavailable
from titan_core.protocol import messages as m
from titan_core.protocol.opcodes import Opcode
from titan_core.protocol.wire import encode_body
from titan_sdk.cli.main import main
from titan_test_suite.pytests.support.scripted_master import ScriptedMaster, send
from titan_test_suite.pytests.support.titan_calls import (
    KEY,
    RUN,
    WORKER,
    address,
    job,
    log,
    run,
    script,
)
from titan_test_suite.pytests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]
SHA = "ab" * 32


# ── looking ───────────────────────────────────────────────────────────────────────────────────────


def test_ls_lists_runs_and_passes_the_filters_on(titan, master):
    script(master, m.ListRuns, m.RunList((run(), run("FAILED"))))
    assert titan("ls", "--state", "failed", "--name", "etl", "-n", "7") == 0
    assert master.requests == [m.ListRuns(7, "FAILED", "etl")]
    heading, first, second = titan.out.splitlines()
    assert heading.split() == ["RUN", "STATE", "JOBS", "SUBMITTED", "TIME", "STATES"]
    assert first.startswith(f"{RUN}  COMPLETED") and "FAILED" in second


def test_ls_of_a_run_lists_its_jobs(titan, master):
    script(master, m.GetRun, run("FAILED", job("a"), job("b", "DEAD", exit_code=3, reason="exit code 3")))
    assert titan("ls", RUN) == 0
    assert [line.split()[:2] for line in titan.out.splitlines()] == [
        ["JOB", "STATE"],
        ["a", "COMPLETED"],
        ["b", "DEAD"],
    ]
    assert titan("ls", RUN, "--state", "dead", "-q") == 0
    assert titan.out == f"{RUN}/b\n"


def test_ls_by_a_state_of_jobs_lists_jobs_of_all_runs(titan, master):
    script(master, m.ListJobs, m.JobList((job("a", "DEAD"),), 900))
    assert titan("ls", "--state", "dead") == 0
    assert master.requests == [m.ListJobs(200, "DEAD")]
    assert f"{RUN}/a" in titan.out and "1 of 900 jobs" in titan.err


def test_status_of_a_run_of_a_job_and_of_the_cluster(titan, master):
    script(master, m.GetRun, lambda asked: run() if asked.key == "last" else NotFound("no such run"))
    attempts = (
        m.AttemptStatus(1, "host:1", "FAILED", 9, "exit code 9"),
        m.AttemptStatus(2, "host:1", "SUCCEEDED", 0),
    )
    script(master, m.GetJob, job(attempts=attempts, parents=("fetch",), worker="host:1", exit_code=0))
    script(master, m.GetClusterStatus, m.ClusterStatus((WORKER,), (m.StateCount("RUNNING", 1),)))
    assert titan("status", "last") == 0
    assert titan.out.startswith(f"{RUN}  COMPLETED") and "extract" in titan.out
    assert titan("status", "extract") == 0
    assert KEY in titan.out and "exit code 9" in titan.out and "fetch" in titan.out
    assert titan("status") == 0
    assert titan.out == "1 worker, 1 of 4 slots busy, 0 services\njobs: 1 RUNNING\n"
    assert titan("status", "last", "--json") == 0
    assert json.loads(titan.out)["run_id"] == RUN


def test_status_tells_of_pools_that_have_something_to_say(titan, master):
    pools = (
        m.PoolStatus("GENERAL", workers=1, slots=4, free=4),
        m.PoolStatus("GPU", waiting=3, starting=1, trouble="no more than 5 workers\x1b[2J"),
        m.PoolStatus("WEB", waiting=1),
    )
    script(master, m.GetClusterStatus, m.ClusterStatus((), (), pools=pools))
    assert titan("status") == 0
    assert titan.out.splitlines()[2:] == [
        "pool GPU: 3 jobs waiting, 1 worker starting, no more than 5 workers\\x1b[2J",
        "pool WEB: 1 job waiting",
    ]


def test_status_tells_of_workers_that_were_lost(titan, master):
    lost = (m.LostWorker("w:1", 1.0, "worker w:1 was not heard for 30 s\x1b[2J", 2), m.LostWorker("w:2", 1.0, "gone"))
    script(master, m.GetClusterStatus, m.ClusterStatus((), (), lost=lost))
    assert titan("status") == 0
    first, second = titan.out.splitlines()[2:]
    assert first.startswith("lost ") and first.endswith("was not heard for 30 s\\x1b[2J; it held 2 attempts")
    assert second.endswith(": gone")


def test_explain_prints_sentences(titan, master):
    reasons = ("No worker has GPU.", "It is first in line.")
    script(master, m.Explain, m.Explanation(RUN, "extract", "QUEUED", reasons))
    assert titan("explain", "extract") == 0
    assert titan.out == f"{KEY} is QUEUED\n  No worker has GPU.\n  It is first in line.\n"


def test_workers_and_assets(titan, master):
    script(master, m.ListWorkers, m.WorkerList((WORKER,)))
    script(master, m.ListAssets, m.AssetList((m.AssetInfo("train.py", SHA, 2048, 1.0),)))
    assert titan("workers") == 0
    assert "host:8081" in titan.out and "1/4" in titan.out and "GENERAL,GPU" in titan.out
    assert titan("assets") == 0
    assert "2.0 KiB" in titan.out
    assert titan("assets", "--json") == 0
    assert json.loads(titan.out)[0]["name"] == "train.py"


def test_stats_and_json(titan, master):
    script(master, m.GetStats, m.StatsText("--- TITAN SYSTEM MONITOR ---\n• [8081] Load: 1/4\x1b[2J\n"))
    script(master, m.GetClusterStatus, m.ClusterStatus((WORKER,), ()))
    assert titan("stats") == 0
    assert titan.out == "--- TITAN SYSTEM MONITOR ---\n• [8081] Load: 1/4\\x1b[2J\n"
    assert titan("json") == 0
    assert json.loads(titan.out)["active_workers"] == 1


# ── submitting ────────────────────────────────────────────────────────────────────────────────────


def accepting(master: ScriptedMaster) -> None:
    script(master, m.SubmitRun, lambda request: m.Submitted(RUN, len(request.jobs)))


def submitted(master: ScriptedMaster) -> m.SubmitRun:
    return master.asked(m.SubmitRun)[-1]  # type: ignore[return-value]


def test_run_submits_the_file_with_every_field(titan, master, tmp_path):
    accepting(master)
    (tmp_path / "extract.py").write_text("print(1)")
    words = (
        "run extract.py GPU --priority 5 --delay 2s --env A=1 --timeout 1m --retries 2 --retry-backoff 500ms "
        "--max-attempts 4 --stop-grace 3 --args=x -- -y"
    )
    assert titan(*words.split()) == 0
    assert titan.out == f"{KEY}\n"
    assert f"titan logs -f {KEY}" in titan.err
    (spec,) = submitted(master).jobs
    assert (spec.job_id, spec.requirement, spec.priority, spec.delay_s) == ("extract", "GPU", 5, 2.0)
    assert (spec.retries, spec.retry_backoff_s, spec.max_attempts) == (2, 0.5, 4)
    assert (spec.task.args, spec.task.env, spec.task.timeout_s) == (("x", "-y"), (("A", "1"),), 60.0)
    assert spec.task.stop_grace_s == 3.0 and not spec.service
    assert submitted(master).contents[0].data == b"print(1)"


def test_run_of_a_file_that_is_not_here_names_one_of_the_masters(titan, master):
    accepting(master)
    assert titan("run", "nightly/report.sh", "--name", "report", "-q") == 0
    assert titan.out == f"{RUN}/report\n" and titan.err == ""
    (spec,) = submitted(master).jobs
    assert (spec.task.asset, spec.task.sha256) == ("nightly/report.sh", "")


def test_run_refuses_what_it_can_not_run(titan, master, tmp_path):
    (tmp_path / "empty.py").touch()
    assert titan("run", "empty.py") == 3
    assert "empty" in titan.err
    assert titan("run", ".") == 3
    assert "titan apply ." in titan.err
    assert titan("run", "a.py", "GPU", "--requirement", "CPU") == 3
    assert "given twice" in titan.err
    assert master.requests == []


def test_deploy_starts_a_service_or_applies_a_pipeline(titan, master, tmp_path):
    accepting(master)
    (tmp_path / "web.py").write_text("serve()")
    assert titan("deploy", "web.py", "9100", "WEB") == 0
    (spec,) = submitted(master).jobs
    assert (spec.service, spec.task.port, spec.requirement) == (True, 9100, "WEB")
    (tmp_path / "etl.yaml").write_text("name: etl\nproject: false\njobs:\n  - id: a\n    file: web.py\n")
    for target in ("etl.yaml", "."):
        assert titan("deploy", target) == 0
        assert titan.out == f"{RUN}\n"
        assert [job.job_id for job in submitted(master).jobs] == ["a"]


def test_apply_names_file_and_line_of_a_mistake(titan, master, tmp_path):
    (tmp_path / "a.py").write_text("print(1)")
    pipeline = tmp_path / "etl.yaml"
    pipeline.write_text("name: etl\nproject: false\njobs:\n  - id: a\n    file: a.py\n    retires: 3\n")
    assert titan("apply", "etl.yaml") == 3
    assert "etl.yaml:6: " in titan.err and "retries" in titan.err
    assert titan("apply", "missing.yaml") == 4
    assert "missing.yaml" in titan.err
    assert master.requests == []
    script(master, m.SubmitRun, InvalidGraph("job 'a' waits for 'b', which does not exist", job="a"))
    pipeline.write_text("name: etl\nproject: false\njobs:\n  - id: a\n    file: a.py\n    depends_on: [b]\n")
    assert titan("apply", "etl.yaml") == 3
    assert "etl.yaml:" in titan.err and "'b', which does not exist" in titan.err


def test_dag_and_submit_take_the_text_forms(titan, master):
    accepting(master)
    assert titan("dag", "A|GENERAL|a.py|5|0|[] ; B|GPU|b.py|1|250|[A]") == 0
    assert titan.out == f"{RUN}\n"
    first, second = submitted(master).jobs
    assert (first.job_id, first.priority, second.parents, second.delay_s) == ("A", 5, ("A",), 0.25)
    assert titan("submit", "hello|hello.py|7|0") == 0
    assert submitted(master).name == submitted(master).jobs[0].job_id == "hello"
    assert titan("submit", "hello.py") == 0
    assert submitted(master).jobs[0].task.asset == "hello.py"
    assert titan("dag", "A|GENERAL") == 3
    assert "definition 1" in titan.err


# ── waiting ───────────────────────────────────────────────────────────────────────────────────────


def story(*statuses: m.RunStatus):
    """Answers GetRun with these, one after the other; the last one for ever."""
    left = list(statuses)
    return lambda asked: left.pop(0) if len(left) > 1 else left[0]


@pytest.mark.parametrize(("state", "code"), [("COMPLETED", 0), ("FAILED", 1), ("CANCELLED", 7)])
def test_wait_tells_the_changes_and_exits_as_the_run_ended(titan, master, state, code):
    ended = job(state="COMPLETED" if code == 0 else "DEAD" if code == 1 else "CANCELLED", reason="so it is")
    script(master, m.GetRun, story(run("RUNNING", job(state="RUNNING")), run(state, ended, version=2)))
    assert titan("wait", "last") == code
    assert titan.out == f"{RUN} {state}\n"
    assert "extract  RUNNING" in titan.err
    assert ("titan logs" in titan.err) == (state == "FAILED")


def test_wait_gives_up_after_its_timeout(titan, master):
    def still_running(asked: m.GetRun) -> m.RunStatus:
        time.sleep(asked.wait_s)  # the master holds the question back as long as it may
        return run("RUNNING", job(state="RUNNING"))

    script(master, m.GetRun, still_running)
    assert titan("wait", RUN, "--timeout", "50ms") == 6
    assert "RUNNING" in titan.err and titan.out == ""


def test_wait_for_a_job(titan, master):
    script(master, m.GetRun, NotFound("no such run"))
    script(master, m.GetJob, lambda asked: job(state="DEAD" if asked.wait_s else "QUEUED", reason="no GPU"))
    assert titan("wait", "extract") == 1
    assert titan.out == f"{KEY} DEAD\n"
    assert "QUEUED, no GPU" in titan.err


def test_apply_wait_prints_the_key_first_and_json_lines_if_asked(titan, master, tmp_path):
    accepting(master)
    (tmp_path / "a.py").write_text("1")
    (tmp_path / "etl.yaml").write_text("name: etl\nproject: false\njobs:\n  - id: extract\n    file: a.py\n")
    statuses = run("RUNNING", job(state="RUNNING")), run("COMPLETED", version=2)
    script(master, m.GetRun, story(*statuses))
    assert titan("apply", "etl.yaml", "--wait") == 0
    assert titan.out == f"{RUN}\n{RUN} COMPLETED\n"
    script(master, m.GetRun, story(*statuses))
    assert titan("apply", "etl.yaml", "--wait", "--json") == 0
    records = [json.loads(line) for line in titan.out.splitlines()]
    assert [record["state"] for record in records] == ["RUNNING", "COMPLETED", "COMPLETED"]


@pytest.mark.parametrize(
    ("state", "exit_code", "code"), [("COMPLETED", 0, 0), ("DEAD", 3, 3), ("DEAD", 137, 137), ("CANCELLED", 143, 7)]
)
def test_run_wait_streams_the_log_and_exits_with_the_jobs_code(titan, master, tmp_path, state, exit_code, code):
    accepting(master)
    (tmp_path / "extract.py").write_text("print(1)")
    began = job(state="RUNNING", started_wall=1.0)
    waits = job(state="QUEUED", reason="waits for a slot")
    script(master, m.GetRun, story(run("RUNNING", waits), run("RUNNING", began, version=2)))
    pieces = {0: log(b"one\n"), 4: log(b"two\n", 4, end=True, final=True)}
    script(master, m.GetLogs, lambda asked: pieces[asked.offset])
    script(master, m.GetJob, job(state=state, exit_code=exit_code, started_wall=1.0, finished_wall=2.5))
    assert titan("run", "extract.py", "--wait") == code
    assert titan.out == "one\ntwo\n"
    assert "QUEUED" in titan.err and f"{KEY} {state} in 1.5s" in titan.err


def test_logs(titan, master):
    data = b"first\nsecond\nthird\n"

    def serve(asked: m.GetLogs) -> m.LogChunk:
        offset = max(0, len(data) + asked.offset) if asked.offset < 0 else asked.offset
        return log(data[offset:], offset, end=True, final=True)

    script(master, m.GetLogs, serve)
    script(master, m.GetJob, job())
    for words, printed in (
        (("logs", "x"), data),
        (("logs", "-f", "x"), data),
        (("logs", "x", "-n", "1"), b"third\n"),
    ):
        assert titan(*words) == 0
        assert titan.out.encode() == printed
    assert titan("logs", "x", "--attempt", "2", "--json") == 0
    assert master.requests[-1] == m.GetLogs(KEY, 2)
    assert json.loads(titan.out.splitlines()[1])["line"] == "second"


def test_logs_of_a_job_that_has_not_begun_say_so(titan, master):
    script(master, m.GetJob, job(state="QUEUED", reason="no worker has GPU"))
    script(master, m.GetLogs, m.LogChunk(RUN, "extract", 0, 0, b""))
    assert titan("logs", "extract") == 0
    assert (titan.out, titan.err) == ("", f"{KEY} has written nothing yet: QUEUED, no worker has GPU\n")


# ── acting ────────────────────────────────────────────────────────────────────────────────────────


def test_cancel_retry_stop_and_shutdown(titan, master):
    keys = (KEY, f"{RUN}/load")
    script(master, m.CancelJob, m.Cancelled(keys, "2 jobs are cancelled"))
    script(master, m.RetryJob, m.Ack("extract is queued again", (KEY,)))
    script(master, m.StopService, m.Ack("web is being stopped", (f"{RUN}/web",)))
    script(master, m.ShutdownWorker, m.Ack("host:8081 is stopping", ("host:8081",)))
    assert titan("cancel", RUN, "--reason", "wrong data") == 0
    assert titan.out == "2 jobs are cancelled\n" and f"{RUN}/load" in titan.err
    assert titan("cancel", RUN, "-q") == 0
    assert titan.out.split() == list(keys)
    assert titan("retry", "extract") == 0
    assert titan.out == "extract is queued again\n"
    assert titan("stop", "web", "--json") == 0
    assert json.loads(titan.out) == {"message": "web is being stopped", "keys": [f"{RUN}/web"]}
    assert titan("retry", "extract", "-q") == 0
    assert titan.out == f"{KEY}\n"
    assert titan("shutdown", "host", "8081") == titan("shutdown", "host:8081", "--force", "--now") == 0
    assert master.asked(m.ShutdownWorker) == [
        m.ShutdownWorker("host:8081"),
        m.ShutdownWorker("host:8081", True, True),
    ]
    assert master.asked(m.CancelJob)[0] == m.CancelJob(RUN, "wrong data")


def test_upload_of_a_file_and_of_a_directory(titan, master, tmp_path):
    script(master, m.UploadAsset, m.UploadReply(True))
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "train.py").write_text("print(1)")
    assert titan("upload", "project/train.py", "jobs/train.py") == 0
    assert titan.out.startswith("jobs/train.py  8 B  sha256 ")
    assert titan("upload", "project", "-q") == 0
    assert titan.out == "project.zip\n"
    assert titan("upload", "nothing.py") == 4
    assert "nothing.py" in titan.err


def test_fetch_into_a_file_a_directory_and_stdout(titan, master, tmp_path):
    import hashlib

    data = b"\x00\xffreport"
    info = m.AssetInfo("out/report.bin", hashlib.sha256(data).hexdigest(), len(data))

    def serve(stream, asked):
        send(stream, info)
        stream.send_bytes(encode_body(Opcode.ASSET_DATA, data))

    master.on(m.FetchAsset, serve)
    assert titan("fetch", "out/report.bin") == 0
    assert (tmp_path / "report.bin").read_bytes() == data
    assert titan("fetch", "out/report.bin") == 3
    assert "exists already" in titan.err
    assert titan("fetch", "out/report.bin", ".", "--force") == 0
    assert titan("fetch", "out/report.bin", "named.bin") == 0
    assert (tmp_path / "named.bin").read_bytes() == data


# ── mistakes ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("there is no job 'x'"), 4),
        (InvalidRequest("the key is empty"), 3),
        (Unavailable("the master is stopping"), 3),
        (NotAuthorised("the token is wrong"), 5),
        (ConnectionFailed("somebody hung up"), 1),
    ],
)
def test_a_refusal_is_one_sentence_and_its_code(titan, master, error, code):
    script(master, m.Explain, error)
    assert titan("explain", "x") == code
    assert (titan.out, titan.err) == ("", f"titan: {error}\n")
    assert titan("explain", "x", "--json") == code
    assert json.loads(titan.err)["error"]["code"] == error.code


def test_no_master_no_token_wrong_token(titan, master, monkeypatch):
    monkeypatch.setenv("TITAN_TOKEN", "not-the-token-of-this-master")
    assert titan("workers") == 5
    assert "token is wrong" in titan.err
    monkeypatch.delenv("TITAN_TOKEN")
    assert titan("workers") == 5
    assert "--token-file" in titan.err
    assert titan("--master", "127.0.0.1:1", "workers") == 1
    assert "nobody answers at 127.0.0.1:1" in titan.err
    assert titan("--master", "127.0.0.1:many", "workers") == 2


def test_a_defect_is_told_without_its_traceback_unless_debugging(titan, master, monkeypatch, capsys):
    monkeypatch.setattr("titan_sdk.cli.commands_look.rows.WORKERS", None)
    script(master, m.ListWorkers, m.WorkerList((WORKER,)))
    assert titan("workers") == 1
    assert titan.err.startswith("titan: a defect in titan: TypeError")
    monkeypatch.setenv("TITAN_DEBUG", "1")
    assert main(["--master", address(master), "workers"]) == 1
    assert "Traceback" in capsys.readouterr().err


# ── as a process ──────────────────────────────────────────────────────────────────────────────────


def start(master: ScriptedMaster, *words: str, **options) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "titan_sdk" / "titan_cli.py"), "--master", address(master), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_a_reader_that_leaves_is_met_with_silence(titan, master):
    script(master, m.ListRuns, m.RunList(tuple(run() for _ in range(2000))))
    with start(master, "ls", "-n", "2000") as process:
        assert process.stdout.readline().startswith("RUN")
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(10) == 141


def test_ctrl_c_leaves_the_run_alone_and_says_how_to_go_on(titan, master):
    def endless(asked: m.GetRun) -> m.RunStatus:
        released.wait(10 if asked.wait_s else 0)
        return run("RUNNING", job(state="RUNNING"))

    import threading

    released = threading.Event()
    script(master, m.GetRun, endless)
    with start(master, "wait", "last") as process:
        try:
            wait_until(lambda: any(asked.wait_s for asked in master.asked(m.GetRun)), explain=lambda: master.asked)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=10)
        finally:
            released.set()
    assert process.returncode == 130
    assert out == ""
    assert f"{RUN} goes on; follow it with: titan wait {RUN}; cancel it with: titan cancel {RUN}" in err
    assert "Traceback" not in err
    assert master.asked(m.CancelJob) == []


def test_the_prompt_reads_commands_from_a_pipe(titan, master):
    script(master, m.ListWorkers, m.WorkerList((WORKER,)))
    script(master, m.Explain, NotFound("there is no job 'x'"))
    lines = "# a comment\n\nworkers -q\nfrobnicate\nls 'open\ntitan workers -q\nexplain x\n"
    with start(master, stdin=subprocess.PIPE) as process:
        out, err = process.communicate(lines, timeout=10)
    assert out == "host:8081\nhost:8081\n"
    assert "there is no command 'frobnicate'" in err and "no closing quotation" in err
    assert process.returncode == 4
    with start(master, stdin=subprocess.PIPE) as process:
        assert process.communicate("explain x\nexit\nworkers\n", timeout=10)[0] == ""
    assert process.returncode == 4


def test_the_prompt_keeps_one_connection(titan, master):
    from argparse import Namespace

    from titan_sdk.cli.context import Connection
    from titan_sdk.cli.prompt import Prompt

    options = Namespace(
        master=address(master), token_file=None, home=None, json=False, quiet=True, no_color=False, command=None
    )
    script(master, m.ListWorkers, m.WorkerList((WORKER,)))
    connection = Connection(options)
    prompt = Prompt(options, connection)
    assert prompt.carry_out("workers") == prompt.carry_out("workers --json") == 0
    client = connection.client
    assert prompt.carry_out("ls --help") == 0
    assert prompt.carry_out("--json") == 2
    assert prompt.carry_out("--master 127.0.0.1:1 workers") == 1
    assert connection.client is client
    connection.close()
