"""The `titan>` prompt on a terminal, in front of a scripted master."""

from __future__ import annotations

import os
import stat
from argparse import Namespace
from pathlib import Path

import pytest

from titan_core.protocol import messages as m
from titan_sdk.cli.completion import Completer
from titan_sdk.cli.context import Connection
from titan_test_suite.pytests.support.scripted_master import TOKEN, ScriptedMaster
from titan_test_suite.pytests.support.terminal import Terminal

SCRIPT = Path(__file__).resolve().parents[3] / "titan_sdk" / "titan_cli.py"
RUN = "etl-20260101t000000-abcd"
CTRL_C, CTRL_D, TAB = "\x03", "\x04", "\t"


@pytest.fixture
def master(master: ScriptedMaster) -> ScriptedMaster:
    master.answer(m.ListWorkers, m.WorkerList((m.WorkerStatus("host:8081", "ONLINE"),)))
    jobs = (m.JobStatus(RUN, "extract", "RUNNING"), m.JobStatus(RUN, "web", "RUNNING", service=True))
    master.answer(m.ListRuns, m.RunList((m.RunStatus(RUN, "etl", "RUNNING", 1),)))
    master.answer(m.ListJobs, m.JobList(jobs, 2))
    master.answer(m.GetRun, m.RunStatus(RUN, "etl", "RUNNING", 1, jobs=jobs))
    master.answer(m.ListServices, m.ServiceList((m.ServiceStatus(RUN, "web", "READY"),)))
    master.answer(m.ListAssets, m.AssetList((m.AssetInfo("train.py", "", 1),)))
    return master


@pytest.fixture
def home(tmp_path) -> Path:
    (tmp_path / ".titan").mkdir()
    return tmp_path


def prompt(master: ScriptedMaster, home: Path) -> Terminal:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("TITAN_")}
    environ |= {"TITAN_TOKEN": TOKEN, "TITAN_HOME": str(home), "TITAN_MASTER": f"127.0.0.1:{master.port}"}
    return Terminal(SCRIPT, environ=environ, cwd=home)


def test_a_session_at_the_prompt(master, home):
    with prompt(master, home) as terminal:
        banner = terminal.expect("titan> ")
        assert f"127.0.0.1:{master.port}" in banner and "help lists the commands" in banner
        assert len(banner.strip().splitlines()) <= 8
        terminal.type("workers -q\n")
        terminal.expect("host:8081")
        terminal.type("frobnicate\n")
        terminal.expect("there is no command 'frobnicate'")
        terminal.type("ls --state what\n")
        terminal.expect("invalid choice")
        terminal.expect("titan> ")
        terminal.type("half a li" + CTRL_C)
        terminal.expect("titan> ")
        terminal.type("wor" + TAB + "-q\n")
        terminal.expect("host:8081")
        terminal.expect("titan> ")
        terminal.type("help wait\n")
        terminal.expect("example: titan wait")
        terminal.expect("titan> ")
        terminal.type(CTRL_D)
        assert terminal.end() == 0
        assert "Traceback" not in terminal.screen
    history = home / ".titan" / "history"
    assert history.read_text().splitlines()[:2] == ["workers -q", "frobnicate"]
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


def test_ctrl_c_ends_a_wait_but_neither_the_run_nor_the_prompt(master, home):
    def endless(stream, asked):
        if asked.wait_s:
            assert stream.receive() is None  # the waiting side hangs up
            return None
        return m.RunStatus(RUN, "etl", "RUNNING", 1, jobs=(m.JobStatus(RUN, "extract", "RUNNING"),))

    master.on(m.GetRun, endless)
    with prompt(master, home) as terminal:
        terminal.expect("titan> ")
        terminal.type("wait last\n")
        terminal.expect("extract")
        terminal.type(CTRL_C)
        terminal.expect(f"{RUN} goes on; follow it with: titan wait {RUN}")
        terminal.expect("titan> ")
        terminal.type("workers -q\n")
        terminal.expect("host:8081")
        terminal.type("exit\n")
        assert terminal.end() == 0


@pytest.mark.parametrize(
    ("before", "text", "offers"),
    [
        ("", "st", ["status ", "stats ", "start ", "stop "]),
        ("ls ", "", ["last ", f"{RUN} "]),
        ("ls ", "--js", ["--json "]),
        ("status ", "e", ["extract ", f"{RUN} "]),
        ("logs -f ", f"{RUN}/", [f"{RUN}/extract ", f"{RUN}/web "]),
        ("shutdown ", "h", ["host:8081 "]),
        ("stop ", "w", ["web "]),
        ("scale ", f"{RUN}/", [f"{RUN}/web "]),
        ("fetch ", "", ["train.py "]),
        ("help ", "ver", ["version "]),
        ("upload ", "sub", ["sub/"]),
        ("upload ", "sub/a", ["sub/a.py "]),
        ("version ", "", []),
        ("nothing ", "", []),
        ("logs 'x ", "", []),
    ],
)
def test_completion(master, tmp_path, monkeypatch, before, text, offers):
    monkeypatch.setenv("TITAN_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.py").touch()
    connection = Connection(Namespace(master=f"127.0.0.1:{master.port}", token_file=None, home=None))
    assert Completer(connection).offers(before, text) == offers
    connection.close()


def test_completion_without_a_master_offers_nothing(monkeypatch):
    monkeypatch.setenv("TITAN_TOKEN", TOKEN)
    connection = Connection(Namespace(master="127.0.0.1:1", token_file=None, home=None))
    assert Completer(connection).offers("status ", "") == []
    connection.close()
