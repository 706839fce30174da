"""The `titan` program as a user runs it: a process per command, against a real cluster."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from titan_sdk import TitanClient
from titan_test_suite.pytests.support.cluster import Cluster
from titan_test_suite.pytests.support.terminal import Terminal
from titan_test_suite.pytests.support.waiting import wait_until

pytestmark = pytest.mark.e2e

Script = Callable[[str, str], str]
TITAN_CLI = Path(__file__).resolve().parents[3] / "titan_sdk" / "titan_cli.py"


@pytest.fixture
def pipeline(tmp_path: Path, script: Script) -> Path:
    """Two jobs that succeed, one that dies, and one that waits for it."""
    script("ok.sh", "echo $TITAN_JOB_ID is fine")
    script("bad.sh", "echo about to fail; exit 3")
    path = tmp_path / "etl.yaml"
    path.write_text(
        "name: etl\nproject: false\njobs:\n"
        "  - {id: extract, file: ok.sh}\n"
        "  - {id: load, file: ok.sh, depends_on: [extract]}\n"
        "  - {id: check, file: bad.sh, depends_on: [extract]}\n"
        "  - {id: publish, file: ok.sh, depends_on: [check]}\n"
    )
    return path


def test_a_job_is_run_and_its_log_and_code_come_back(cluster: Cluster, script: Script) -> None:
    path = script("hello.py", "import sys\nprint('hello', *sys.argv[1:])\nsys.exit(len(sys.argv))")
    done = cluster.cli("run", path, "--wait", "--args", "'a b'", "--", "--flag")
    assert (done.returncode, done.stdout) == (3, "hello a b --flag\n")
    assert "DEAD" in done.stderr
    quiet = cluster.cli("run", script("fine.sh", "echo fine"), "--wait", "-q")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "fine\n", "")


def test_a_signal_is_128_and_its_number(cluster: Cluster, script: Script) -> None:
    assert cluster.cli("run", script("suicide.sh", "kill -KILL $$"), "--wait").returncode == 128 + signal.SIGKILL


def test_a_pipeline_is_followed_and_looked_at(cluster: Cluster, pipeline: Path) -> None:
    applied = cluster.cli("apply", str(pipeline), "--wait")
    assert applied.returncode == 1
    run_id, end = applied.stdout.splitlines()
    assert end == f"{run_id} FAILED"
    for told in ("load  COMPLETED", "check  DEAD", "publish  CANCELLED", f"titan logs {run_id}/check"):
        assert told in applied.stderr
    listed = cluster.cli("ls", run_id).stdout.splitlines()
    assert [line.split()[:2] for line in listed[1:]] == [
        ["extract", "COMPLETED"],
        ["load", "COMPLETED"],
        ["check", "DEAD"],
        ["publish", "CANCELLED"],
    ]
    assert cluster.cli("logs", f"{run_id}/check").stdout == "about to fail\n"
    assert "parent check is DEAD" in cluster.cli("explain", f"{run_id}/publish").stdout
    assert f"{run_id}/check" in cluster.cli("ls", "--state", "dead", "-q").stdout.split()
    assert cluster.cli("wait", run_id, "-q").returncode == 1
    assert json.loads(cluster.cli("status", run_id, "--json").stdout)["counts"]["DEAD"] == 1
    again = cluster.cli("retry", f"{run_id}/check")
    assert again.returncode == 0, again.stderr
    assert cluster.cli("wait", f"{run_id}/check").returncode == 1


def test_a_pipeline_comes_from_stdin_or_a_directory(cluster: Cluster, pipeline: Path) -> None:
    text = "name: one\njobs:\n  - {id: only, file: ok.sh}\n"
    piped = cluster.cli("apply", "-", "--wait", input=text, cwd=pipeline.parent)
    assert (piped.returncode, piped.stdout.split()[-1]) == (0, "COMPLETED"), piped.stderr
    command = [sys.executable, str(TITAN_CLI), "deploy", str(pipeline.parent)]
    deployed = subprocess.run(
        command, capture_output=True, text=True, env=cluster.environ, cwd="/", timeout=30, check=False
    )
    assert deployed.returncode == 0, deployed.stderr
    assert re.fullmatch(r"etl-\d{8}T\d{6}-[0-9a-f]{4}\n", deployed.stdout)


def test_a_job_that_can_not_be_placed_waits_says_why_and_is_cancelled(cluster: Cluster, script: Script) -> None:
    key = cluster.cli("run", script("gpu.sh", "true"), "QUANTUM", "-q").stdout.strip()
    assert "no worker has QUANTUM" in cluster.cli("explain", key).stdout
    assert cluster.cli("wait", key, "--timeout", "50ms").returncode == 6
    assert cluster.cli("cancel", key, "-q").stdout == f"{key}\n"
    assert cluster.cli("wait", key).returncode == 7
    refused = cluster.cli("cancel", key)
    assert refused.returncode == 3
    assert refused.stderr.count("\n") == 1


def test_ctrl_c_leaves_the_job_running(cluster: Cluster, client: TitanClient, script: Script, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    path = script("gated.sh", f"echo begun; while ! test -e {gate}; do sleep 0.02; done; echo over")
    command = [sys.executable, str(TITAN_CLI), "run", path, "--wait"]
    with subprocess.Popen(
        command, env=cluster.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "begun\n"
        waiting.send_signal(signal.SIGINT)
        _, told = waiting.communicate(timeout=10)
    assert waiting.returncode == 130
    key = re.search(r"follow it with: titan logs -f (\S+);", told)
    assert key, told
    assert client.job(key[1]).state == "RUNNING"
    gate.touch()
    followed = cluster.cli("logs", "-f", key[1])
    assert (followed.returncode, followed.stdout) == (0, "begun\nover\n")


def test_a_service_is_deployed_listed_and_stopped(cluster: Cluster, script: Script) -> None:
    key = cluster.cli("deploy", script("serve.sh", "exec sleep 600"), "9123", "-q").stdout.strip()
    wait_until(lambda: "STARTING" in cluster.cli("services").stdout)  # it never listens
    assert "9123" in cluster.cli("services").stdout
    assert cluster.cli("stop", key).returncode == 0
    wait_until(lambda: cluster.cli("services", "-q").stdout == "", explain=lambda: cluster.cli("services").stdout)


def test_artifacts_go_up_run_and_come_back(cluster: Cluster, script: Script, tmp_path: Path) -> None:
    path = script("stored.sh", "echo from perm_files; # " + "x" * 300_000)
    assert cluster.cli("upload", path, "tools/stored.sh").returncode == 0
    assert "tools/stored.sh" in cluster.cli("assets", "-q").stdout.split()
    assert cluster.cli("run", "tools/stored.sh", "--wait").stdout == "from perm_files\n"
    fetched = cluster.cli("fetch", "tools/stored.sh", "-")
    assert fetched.stdout == Path(path).read_text()
    assert cluster.cli("fetch", "absent.sh", str(tmp_path)).returncode == 4


def test_the_text_forms(cluster: Cluster, script: Script) -> None:
    cluster.cli("upload", script("step.sh", "echo step"))
    run_id = cluster.cli("dag", "A|GENERAL|step.sh|5|0|[] ; B|GENERAL|step.sh|1|50|[A]", "-q").stdout.strip()
    assert cluster.cli("wait", run_id).returncode == 0
    assert cluster.cli("logs", f"{run_id}/B").stdout == "step\n"
    assert cluster.cli("submit", "solo|step.sh|5|0").returncode == 0
    assert cluster.cli("wait", "solo").returncode == 0
    cyclic = cluster.cli("dag", "A|GENERAL|step.sh|1|0|[B] ; B|GENERAL|step.sh|1|0|[A]")
    assert cyclic.returncode == 3
    assert "cycle" in cyclic.stderr


def test_stats_workers_and_json(cluster: Cluster) -> None:
    assert "--- TITAN SYSTEM MONITOR ---" in cluster.cli("stats").stdout
    assert len(cluster.cli("workers", "-q").stdout.split()) == 2
    assert json.loads(cluster.cli("json").stdout)["active_workers"] == 2
    assert cluster.cli("status").stdout.startswith("2 workers, ")


def test_hostile_output_stays_text(cluster: Cluster, client: TitanClient, script: Script) -> None:
    path = script("hostile.sh", r"printf '\033[2J\033]0;owned\007[red]text\n'")
    assert cluster.cli("run", path, "--wait").stdout == "\x1b[2J\x1b]0;owned\x07[red]text\n"
    with Terminal(TITAN_CLI, "logs", "hostile", environ=cluster.environ, cwd=cluster.home) as terminal:
        assert terminal.end() == 0
        assert "[red]text" in terminal.screen
        assert "\x1b" not in terminal.screen and "\x07" not in terminal.screen


def test_progress_is_drawn_on_a_terminal(cluster: Cluster, pipeline: Path) -> None:
    arguments = ("apply", str(pipeline), "--wait", "--no-color")
    with Terminal(TITAN_CLI, *arguments, environ=cluster.environ, cwd=cluster.home) as terminal:
        assert terminal.end() == 1
        assert "4/4" in terminal.screen
        assert re.search(r"etl-\S+ FAILED", terminal.screen)


def test_the_prompt_serves_a_session(cluster: Cluster, script: Script) -> None:
    path = script("typed.sh", "echo typed at the prompt")
    with Terminal(TITAN_CLI, environ=cluster.environ, cwd=cluster.home) as terminal:
        terminal.expect("titan> ")
        terminal.type(f"run {path} --wait\n")
        terminal.expect("typed at the prompt")
        terminal.expect("titan> ")
        terminal.type("status typed\t\n")
        terminal.expect("COMPLETED")
        terminal.type("cancel last\n")
        terminal.expect("titan: ")
        terminal.type("exit\n")
        assert terminal.end() == 0
    assert (cluster.home / ".titan" / "history").stat().st_mode & 0o777 == 0o600


def test_help_starts_quickly_and_needs_no_master(tmp_path: Path) -> None:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("TITAN_")}
    command = [sys.executable, "-X", "importtime", str(TITAN_CLI), "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, env=environ, cwd=tmp_path, timeout=20, check=True)
    assert "apply" in shown.stdout
    for late in ("rich", "yaml", "socket", "titan_core.protocol.messages"):
        assert f" {late}\n" not in shown.stderr, f"{late} is imported for --help"
