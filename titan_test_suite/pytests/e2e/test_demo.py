"""`make demo`: it does what it says, answers Ctrl-C, fails when something does, and leaves nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from titan_test_suite.pytests.support.demos import DEMO_S, ROOT, demo, home_of, nothing_is_left, planned, shows

pytestmark = pytest.mark.e2e


def test_the_demo_holds_what_it_promises(tmp_path: Path) -> None:
    output = tmp_path / "output"
    with demo("demo", output) as process:
        assert process.wait(DEMO_S) == 0, output.read_text()
    text = output.read_text()
    assert nothing_is_left(home_of(output))
    assert "\x1b" not in text
    assert not re.search(r"^FAILED", text, re.MULTILINE)
    assert len(re.findall(r"^ok .* is COMPLETED$", text, re.MULTILINE)) == 4
    for job in ("collect", "late", "reconcile", "stitch", "train"):
        assert re.search(rf"^\d\d:\d\d:\d\d  {job}  COMPLETED", text, re.MULTILINE), f"no progress of {job}"
        assert re.search(rf"^(agent|diamond|fan_out|gpu_run) +{job} +COMPLETED", text, re.MULTILINE), (
            f"no row of {job}"
        )
    assert re.search(r"^GET http://127.0.0.1:\d+/\n\{\n", text, re.MULTILINE)
    assert "all of it held" in text.splitlines()[-1]


def test_make_demo_runs_it() -> None:
    assert planned("demo ARGS=--keep") == "python3 titan_test_suite/bootstrap.py titan_test_suite.demo --keep"


def test_ctrl_c_in_the_middle_stops_everything(tmp_path: Path) -> None:
    output = tmp_path / "output"
    with demo("demo", output) as process:
        shows(output, "collect  RUNNING")
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        assert process.wait(DEMO_S) == 130, output.read_text()
    assert nothing_is_left(home_of(output))
    assert "Traceback" not in output.read_text()
    assert output.read_text().endswith("interrupted; everything was stopped\n")


def test_a_cluster_that_was_kept_can_be_used_until_ctrl_c(tmp_path: Path) -> None:
    output = tmp_path / "output"
    with demo("demo", output, "--keep") as process:
        shows(output, "curl ")
        command = [sys.executable, "-m", "titan_sdk.titan_cli", "logs", "report"]
        environ = {**os.environ, "TITAN_HOME": str(home_of(output))}
        used = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=20, check=False)
        assert used.stdout.startswith("team"), used.stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(DEMO_S) == 0, output.read_text()
    assert nothing_is_left(home_of(output))


def test_a_pipeline_that_fails_makes_the_demo_fail(tmp_path: Path) -> None:
    (tmp_path / "bad.sh").write_text("echo out of paper; exit 3\n")
    (tmp_path / "bad.yaml").write_text("jobs:\n  - {id: print, file: bad.sh}\n")
    code = f"import sys; from titan_test_suite import demo; demo.PIPELINES = ({str(tmp_path / 'bad.yaml')!r},); "
    command = [sys.executable, "-c", code + "sys.exit(demo.main([]))"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEMO_S, check=False)
    assert ended.returncode == 1, ended.stderr
    assert "out of paper\n" in ended.stdout
    assert re.search(r"^FAILED  run bad-\S+ FAILED: print is DEAD \(exit code 3\)$", ended.stdout, re.MULTILINE)
    assert "Traceback" not in ended.stdout + ended.stderr
    assert re.search(r"^ok +everything is gone, the home too$", ended.stdout, re.MULTILINE)
