"""`make demo-scale`: the cluster grows and shrinks as it says, on a terminal with a picture; it leaves nothing."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from titan_test_suite.load_picture import bars, squeezed
from titan_test_suite.pytests.support.demos import DEMO_S, ROOT, demo, home_of, nothing_is_left, planned, shows

pytestmark = pytest.mark.e2e


def test_the_demo_holds_what_it_promises(tmp_path: Path) -> None:
    output = tmp_path / "output"
    with demo("demo_scale", output) as process:
        assert process.wait(DEMO_S) == 0, output.read_text()
    text = output.read_text()
    assert nothing_is_left(home_of(output))
    assert "\x1b" not in text
    assert not re.search(r"^FAILED", text, re.MULTILINE)
    lines = re.findall(r"^ +[\d.]+ s  (\d) workers? +(\d+) wait +(\d+) run +(\d+) done$", text, re.MULTILINE)
    assert len(set(lines)) == len(lines), "a line without news"
    assert (lines[0][0], max(line[0] for line in lines), lines[-1]) == ("1", "5", ("1", "0", "0", "60"))
    assert "all of it held" in text.splitlines()[-1]


def test_make_runs_it_and_lists_it() -> None:
    assert planned("demo-scale") == "python3 titan_test_suite/bootstrap.py titan_test_suite.demo_scale"
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.search(r"^ +make demo-scale\s+\S", listed, re.MULTILINE)


def test_ctrl_c_stops_the_workers_that_were_started_too(tmp_path: Path) -> None:
    output = tmp_path / "output"
    with demo("demo_scale", output) as process:
        shows(output, "5 workers")
        process.send_signal(signal.SIGINT)
        assert process.wait(DEMO_S) == 130, output.read_text()
    assert nothing_is_left(home_of(output))
    assert "Traceback" not in output.read_text()
    assert output.read_text().endswith("interrupted; everything was stopped\n")


@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}], ids=["colours", "no colours"])
def test_a_terminal_gets_a_picture_unless_it_wants_no_colours(variables: dict[str, str]) -> None:
    shown = on_a_terminal({"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40", **variables})
    pictured = all(part in shown for part in ("■■■■", "ephemeral", "jobs that wait", "█", "\x1b["))
    assert pictured == (not variables), shown
    assert "Traceback" not in shown
    assert shown.replace("\r", "").endswith("\ninterrupted; everything was stopped\n")


def on_a_terminal(variables: dict[str, str]) -> str:
    """What the demo writes to a terminal; it is interrupted when the cluster has grown."""
    ours, theirs = pty.openpty()
    environ = os.environ | variables
    command = [sys.executable, "-m", "titan_test_suite.demo_scale"]
    shown, interrupted = b"", False
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        with contextlib.suppress(OSError):  # nobody holds the other end any more
            while piece := os.read(ours, 65536):
                shown += piece
                if b"5 workers" in shown and not interrupted:
                    interrupted = True
                    process.send_signal(signal.SIGINT)
    os.close(ours)
    assert process.returncode == 130, shown.decode()
    return shown.decode()


def test_the_graph_keeps_what_was_seen_also_where_there_is_little_room() -> None:
    assert bars([0, 1, 4, 8], 8, 2) == ["   █", " ▂██"]
    assert bars([1], 1000, 1) == ["▁"]
    assert squeezed([1, 5, 2, 0, 0], 3) == [5, 2, 0]
    assert squeezed([1, 2], 100) == [1, 2]
