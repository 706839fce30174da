"""What becomes of one attempt: commands, environment, exit codes, and why some never start."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from titan_core.protocol.checks import MAX_DELAY_S
from titan_core.protocol.messages import StartAttempt
from titan_core.worker.app import Worker
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.pytests.support.worker_master import TOKEN, WorkerMaster

pytestmark = pytest.mark.usefixtures("worker")

ECHO_ARGS = 'for argument in "$@"; do printf "<%s>" "$argument"; done'


# ── how it ends ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("script", "outcome", "exit_code", "reason"),
    [
        ("true", "SUCCEEDED", 0, ""),
        ("exit 3", "FAILED", 3, "exit code 3"),
        ("exit 255", "FAILED", 255, "exit code 255"),
        ("kill -SEGV $$", "FAILED", 128 + signal.SIGSEGV, "ended by SIGSEGV"),
        ("kill -KILL $$", "FAILED", 128 + signal.SIGKILL, "ended by SIGKILL"),
    ],
)
def test_exit_codes_and_signals(master: WorkerMaster, script: str, outcome: str, exit_code: int, reason: str) -> None:
    result = master.run(script)
    assert (result.outcome, result.exit_code, result.reason) == (outcome, exit_code, reason)


def test_a_result_says_when_and_how_much_memory(master: WorkerMaster) -> None:
    # The kernel counts from before the program begins, while the process is a copy of this one: so it holds more.
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + 100_000_000
    result = master.run(f"block = bytearray({held})\nfor i in range(0, len(block), 4096): block[i] = 1\n", "big.py")
    assert result.outcome == "SUCCEEDED"
    assert held < result.peak_memory < held + 80_000_000
    assert 0 < result.started_wall < result.finished_wall < result.started_wall + 20


def test_stdout_and_stderr_are_one_log_in_the_order_they_were_written(master: WorkerMaster) -> None:
    token = master.start("echo one; echo two >&2; echo three")
    master.result(token)
    assert master.log(token) == b"one\ntwo\nthree\n"


# ── what is run ───────────────────────────────────────────────────────────────────────────────────


def test_python_is_the_workers_own_and_unbuffered(master: WorkerMaster) -> None:
    token = master.start("import os, sys\nprint(sys.executable, end='')\nos._exit(0)\n", "job.py")
    assert master.result(token).exit_code == 0
    assert master.log(token).decode() == sys.executable


def test_shell_scripts_run_in_bash_without_an_execute_bit(master: WorkerMaster) -> None:
    token = master.start("echo ${BASH_VERSION:0:1}; [[ a == a ]]")
    assert master.result(token).exit_code == 0
    assert master.log(token).strip().isdigit()


def test_a_script_with_an_interpreter_line_is_a_program(master: WorkerMaster) -> None:
    token = master.start(f"#!{sys.executable}\nprint('from python')\n", "tools/report")
    assert master.result(token).exit_code == 0
    assert master.log(token) == b"from python\n"


def test_a_binary_is_a_program(master: WorkerMaster) -> None:
    token = master.start(Path("/bin/echo").read_bytes(), "echo", args=("hello",))
    assert master.result(token).exit_code == 0
    assert master.log(token) == b"hello\n"


@pytest.mark.skipif(not shutil.which("javac"), reason="there is no javac here to build a jar with")
def test_a_jar_is_run_by_java(master: WorkerMaster, tmp_path: Path) -> None:
    (tmp_path / "Main.java").write_text("""
public class Main {
    public static void main(String[] args) { System.out.println("jar " + args[0]); System.exit(4); }
}
""")
    subprocess.run(["javac", "Main.java"], cwd=tmp_path, check=True)
    (tmp_path / "manifest").write_text("Main-Class: Main\n")
    subprocess.run(["jar", "cfm", "app.jar", "manifest", "Main.class"], cwd=tmp_path, check=True)
    token = master.start((tmp_path / "app.jar").read_bytes(), "app.jar", args=("x",))
    assert master.result(token).exit_code == 4
    assert master.log(token) == b"jar x\n"


def test_arguments_never_meet_a_shell(master: WorkerMaster) -> None:
    args = ("a b", "$HOME", "`id`", "; rm -rf /", "*", "", "\u00e9\u4e16\U0001f600", "'\"\\", "line\nbreak")
    token = master.start(ECHO_ARGS, args=args)
    assert master.result(token).exit_code == 0
    assert master.log(token).decode() == "".join(f"<{arg}>" for arg in args)


def test_nothing_is_on_stdin(master: WorkerMaster) -> None:
    token = master.start("cat; echo end")
    assert master.result(token).exit_code == 0
    assert master.log(token) == b"end\n"


# ── what it finds ─────────────────────────────────────────────────────────────────────────────────


def test_the_environment_is_clean_and_says_who_the_job_is(
    master: WorkerMaster, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = StartAttempt(
        b"\x01" * 16, "etl-7", "load", 3, master.task("env", env=(("GREETING", "hi there"),), port=8123)
    )
    master.send(order)
    assert master.result(order.token).exit_code == 0
    seen = dict(line.split("=", 1) for line in master.log(order.token).decode().splitlines())
    home = worker.config.home
    expected = {
        "GREETING": "hi there",
        "TITAN_RUN_ID": "etl-7",
        "TITAN_JOB_ID": "load",
        "TITAN_ATTEMPT": "3",
        "TITAN_ATTEMPT_TOKEN": "01" * 16,
        "TITAN_IDEMPOTENCY_KEY": "etl-7/load",
        "TITAN_MASTER": f"127.0.0.1:{master.port}",
        "TITAN_WORKER": f"here:{worker.port}",
        "TITAN_SHARED": f"{home}/titan_workspace/shared/etl-7",
        "TITAN_TOKEN_FILE": f"{home}/.titan/token",
        "PORT": "8123",
        "TITAN_PORT": "8123",
    }
    assert seen.items() >= expected.items()
    kept = {"PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "JAVA_HOME", "PYTHONPATH"}
    own_of_bash = {"PWD", "SHLVL", "_", "OLDPWD"}
    assert not {name for name in seen if not name.startswith("LC_")} - kept - own_of_bash - expected.keys()


def test_scripts_run_in_the_shared_directory_as_a_copy_of_their_own(master: WorkerMaster, tmp_path: Path) -> None:
    token = master.start("pwd; echo $0; echo changed >> $0; exit")
    assert master.result(token).exit_code == 0
    cwd, script = master.log(token).decode().splitlines()
    assert cwd == f"{tmp_path}/titan_workspace/shared/run-1"
    assert script.startswith(f"{tmp_path}/titan_workspace/jobs/run-1/job-")
    token = master.start("pwd; echo $0; echo changed >> $0; exit")
    assert master.result(token).exit_code == 0
    assert b"changed" not in master.log(token)


def test_a_second_attempt_gets_the_script_as_it_was(master: WorkerMaster) -> None:
    task = master.task("cat $0; echo changed > $0; exit")
    logs = []
    for number in (1, 2):
        order = StartAttempt(bytes([number]) * 16, "run", "job", number, task)
        master.send(order)
        master.result(order.token)
        logs.append(master.log(order.token))
    assert logs == [b"cat $0; echo changed > $0; exit"] * 2


def test_a_script_may_have_the_name_of_a_log(master: WorkerMaster) -> None:
    token = master.start("#!/bin/sh\necho fine\n", "attempt-1.log")
    assert master.result(token).exit_code == 0
    assert master.log(token) == b"fine\n"


def test_jobs_of_a_run_pass_files_in_the_shared_directory(master: WorkerMaster) -> None:
    master.run("echo data > $TITAN_SHARED/handover")
    token = master.start("cat handover")
    assert master.result(token).exit_code == 0
    assert master.log(token) == b"data\n"


# ── what never starts ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        ("", "job.py", ["'job.py' is empty"]),
        ("", "tool", ["'tool' is empty"]),
        ("print(1)", "notes.txt", ["'notes.txt' is not a program", ".py, .sh or .jar", "#!/bin/sh"]),
        ("PK\x03\x04", "tool.zip", ["'tool.zip' is an archive", "tool.zip/main.py"]),
        ("#!/opt/none/ruby -w\nputs 1", "tool", ["'tool' asks for /opt/none/ruby", "not on this worker"]),
        ("#!/bin/sh\r\necho 1\r\n", "tool", ["carriage return", "Unix line ends"]),
        (b"\x7fELF\x02\x01\x01 not really", "tool", ["not a program that this machine can run"]),
    ],
)
def test_what_can_not_be_run_is_answered_with_a_sentence(
    master: WorkerMaster, content: bytes | str, name: str, words: list[str]
) -> None:
    result = master.run(content, name)
    assert (result.outcome, result.exit_code) == ("NOT_STARTED", -1)
    assert all(word in result.reason for word in words), result.reason


def test_a_jar_without_java(master: WorkerMaster) -> None:
    result = master.run(b"PK", "app.jar", env=(("PATH", "/nowhere"), ("JAVA_HOME", "/nowhere")))
    assert result.outcome == "NOT_STARTED"
    assert "'app.jar' needs java, which is not on this worker" in result.reason


def test_arguments_that_the_system_does_not_take(master: WorkerMaster) -> None:
    result = master.run("true", args=("x" * 200_000,))
    assert result.outcome == "NOT_STARTED"
    assert "too long" in result.reason


def test_an_asset_that_the_master_has_no_longer(master: WorkerMaster) -> None:
    order = StartAttempt(os.urandom(16), "run", "job", 1, master.task("true"))
    master._assets.clear()
    master.send(order)
    result = master.result(order.token)
    assert result.outcome == "NOT_STARTED"
    assert "no asset with SHA-256" in result.reason


def test_a_worker_that_can_not_write_says_so_and_does_not_blame_the_job(master: WorkerMaster, tmp_path: Path) -> None:
    master.run("true")
    shutil.rmtree(tmp_path / "titan_workspace" / "jobs")
    (tmp_path / "titan_workspace" / "jobs").write_text("in the way")
    result = master.run("true")
    assert result.outcome == "INTERRUPTED"
    assert "this worker could not run it" in result.reason


# ── when it is ended ──────────────────────────────────────────────────────────────────────────────


def test_a_job_that_runs_too_long(master: WorkerMaster) -> None:
    result = master.run("exec sleep 60", timeout_s=0.2)
    assert (result.outcome, result.exit_code) == ("TIMED_OUT", 128 + signal.SIGTERM)
    assert result.reason == "ran longer than its timeout of 0.2 s"


def test_a_time_out_may_be_years(master: WorkerMaster) -> None:
    assert master.run("true", timeout_s=MAX_DELAY_S).outcome == "SUCCEEDED"


def test_a_cancelled_job(master: WorkerMaster) -> None:
    token = master.start("echo up; exec sleep 60")
    wait_until(lambda: master.log(token))
    master.stop(token, "nobody wants it")
    result = master.result(token)
    assert (result.outcome, result.exit_code, result.reason) == ("STOPPED", 143, "nobody wants it")


def test_a_job_may_use_its_grace(master: WorkerMaster) -> None:
    token = master.start("trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.01; done")
    wait_until(lambda: master.log(token))
    master.stop(token)
    assert (master.result(token).outcome, master.result(token).exit_code) == ("STOPPED", 9)
    assert master.log(token).startswith(b"up\n")
    assert master.log(token).endswith(b"bye\n")


def test_the_job_chooses_its_stop_signal(master: WorkerMaster) -> None:
    token = master.start("trap 'exit 7' INT; echo up; while :; do sleep 0.01; done", stop_signal=int(signal.SIGINT))
    wait_until(lambda: master.log(token))
    master.stop(token)
    assert master.result(token).exit_code == 7


@pytest.mark.parametrize(
    "script", ["trap '' TERM; echo up; while :; do sleep 1; done", "echo up; kill -STOP $$; sleep 60"]
)
def test_a_job_that_does_not_react_is_killed(master: WorkerMaster, script: str) -> None:
    token = master.start(script, stop_grace_s=0.2)
    wait_until(lambda: master.log(token))
    master.stop(token)
    result = master.result(token)
    assert result.outcome == "STOPPED"
    assert result.exit_code in (128 + signal.SIGKILL, 128 + signal.SIGTERM)


def test_a_job_that_is_stopped_while_its_files_are_fetched_never_starts(master: WorkerMaster, worker: Worker) -> None:
    master.fetch_gate.clear()
    token = master.start("echo never")
    wait_until(lambda: master.fetched)
    master.stop(token, "too late")
    wait_until(lambda: any(control.request for control in worker._foreman.slots.all()))
    master.fetch_gate.set()
    result = master.result(token)
    assert (result.outcome, result.exit_code, result.reason) == ("STOPPED", -1, "too late")
    assert master.log(token) == b""


def test_four_at_a_time_and_all_of_them_once(master: WorkerMaster, tmp_path: Path) -> None:
    tokens = [master.start(f"echo {n} >> ledger; sleep 0.02") for n in range(40)]
    assert {master.result(token).outcome for token in tokens} == {"SUCCEEDED"}
    ledger = (tmp_path / "titan_workspace/shared/run-1/ledger").read_text().split()
    assert sorted(map(int, ledger)) == list(range(40))


def test_a_service_is_announced_and_takes_no_slot(master: WorkerMaster, worker: Worker) -> None:
    services = [master.start("exec sleep 60", service=True) for _ in range(6)]
    pids = {master.started(token).pid for token in services}
    assert len(pids) == 6
    assert master.run("true").outcome == "SUCCEEDED"
    for token in services:
        master.stop(token)
    assert {master.result(token).outcome for token in services} == {"STOPPED"}


def test_more_services_than_the_worker_takes(master: WorkerMaster, start_worker: object) -> None:
    start_worker(max_services=1)  # type: ignore[operator]
    master.wait_for_worker(2)
    first = master.start("exec sleep 60", service=True)
    result = master.run("exec sleep 60", service=True)
    assert result.outcome == "INTERRUPTED"
    assert "1 services already" in result.reason
    master.stop(first)
    master.result(first)


def test_the_token_file_is_that_of_the_worker(master: WorkerMaster, start_worker: object, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(TOKEN)
    start_worker(token_file=str(tmp_path / "secret"))  # type: ignore[operator]
    master.wait_for_worker(2)
    token = master.start("echo $TITAN_TOKEN_FILE $TITAN_TOKEN")
    master.result(token)
    assert master.log(token).decode() == f"{tmp_path}/secret\n"
