"""Contents come to a worker's home once; projects run in a copy of their own."""

from __future__ import annotations

import io
import os
import secrets
import zipfile
from pathlib import Path

import pytest

from titan_core.protocol.messages import Result, StartAttempt
from titan_test_suite.pytests.integration.worker.conftest import StartWorker
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.pytests.support.worker_master import WorkerMaster


def project(files: dict[str, str], *programs: str) -> bytes:
    """A zip archive of these files, of which `programs` may be executed."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o100755 if name in programs else 0o100644) << 16
            archive.writestr(info, content)
    return data.getvalue()


def log_of(master: WorkerMaster, content: bytes, **task: object) -> tuple[Result, str]:
    token = master.start(content, "project.zip", **task)
    result = master.result(token)
    return result, master.log(token).decode()


@pytest.mark.usefixtures("worker")
def test_four_jobs_at_once_fetch_their_script_once(master: WorkerMaster) -> None:
    master.fetch_gate.clear()
    tokens = [master.start("echo same") for _ in range(4)]
    wait_until(lambda: master.fetched)
    master.fetch_gate.set()
    assert {master.result(token).outcome for token in tokens} == {"SUCCEEDED"}
    assert len(master.fetched) == 1


def test_two_workers_of_one_home_fetch_once(master: WorkerMaster, start_worker: StartWorker) -> None:
    master.fetch_gate.clear()
    start_worker()
    master.wait_for_worker(1)
    first = [master.start("echo same") for _ in range(2)]
    wait_until(lambda: master.fetched)
    start_worker()
    master.wait_for_worker(2)
    second = [master.start("echo same") for _ in range(2)]
    master.fetch_gate.set()
    assert {master.result(token).outcome for token in first + second} == {"SUCCEEDED"}
    assert len(master.fetched) == 1


@pytest.mark.usefixtures("worker")
def test_a_large_content_comes_in_pieces(master: WorkerMaster) -> None:
    padding = "# " + "x" * (3 * 1024 * 1024) + "\n"
    token = master.start(padding + "print('large')\n", "job.py")
    assert master.result(token).exit_code == 0
    assert master.log(token) == b"large\n"


@pytest.mark.usefixtures("worker")
def test_other_bytes_than_those_announced_are_not_run(master: WorkerMaster) -> None:
    task = master.task("echo right")
    master._assets[task.sha256] = b"echo wrong"
    order = StartAttempt(secrets.token_bytes(16), "run", "job", 1, task)
    master.send(order)
    result = master.result(order.token)
    assert result.outcome == "INTERRUPTED"
    assert "other bytes" in result.reason
    master._assets[task.sha256] = b"echo right"
    assert master.run("echo right").outcome == "SUCCEEDED"


@pytest.mark.usefixtures("worker")
def test_a_master_that_is_away_is_waited_for(master: WorkerMaster, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[object] = []
    monkeypatch.setattr(master, "_serve_fetches", refused.append)  # hangs up
    first, second = master.start("echo first"), master.start("echo second")
    wait_until(lambda: len(refused) > 4)
    master.stop(first, "not wanted")
    result = master.result(first)
    assert (result.outcome, result.reason) == ("STOPPED", "not wanted")
    monkeypatch.undo()
    assert master.result(second).outcome == "SUCCEEDED"


@pytest.mark.usefixtures("worker")
def test_a_project_runs_in_a_copy_of_its_own(master: WorkerMaster, tmp_path: Path) -> None:
    main = """\
import helper, os
print(helper.WORD, os.getcwd(), open("data/in.txt").read())
open("data/in.txt", "w").write("spoilt")
"""
    content = project({"main.py": main, "helper.py": "WORD = 'helped'\n", "data/in.txt": "fresh"})
    for _ in range(2):
        result, log = log_of(master, content, entry="main.py")
        assert result.outcome == "SUCCEEDED", log
        word, cwd, data = log.split()
        assert (word, data) == ("helped", "fresh")
        assert cwd.startswith(f"{tmp_path}/titan_workspace/jobs/run-1/job-")
        assert cwd.endswith("/project-1")
        assert not Path(cwd).exists()
        assert (Path(cwd).parent / "attempt-1.log").exists()
    assert len(master.fetched) == 1


@pytest.mark.usefixtures("worker")
def test_a_project_finds_the_shared_directory(master: WorkerMaster, tmp_path: Path) -> None:
    result, _ = log_of(master, project({"run.sh": "echo out > $TITAN_SHARED/report"}), entry="run.sh")
    assert result.outcome == "SUCCEEDED"
    assert (tmp_path / "titan_workspace/shared/run-1/report").read_text() == "out\n"


@pytest.mark.usefixtures("worker")
def test_a_program_in_a_project(master: WorkerMaster) -> None:
    result, log = log_of(
        master, project({"bin/tool": "#!/bin/sh\necho $1\n"}, "bin/tool"), entry="bin/tool", args=("arg",)
    )
    assert (result.outcome, log) == ("SUCCEEDED", "arg\n")


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("tool", ["'tool' has no execute bit", "chmod +x tool"]),
        ("nothing.py", ["project.zip has no 'nothing.py'"]),
        ("sub", ["'sub' in project.zip is a directory"]),
        ("empty.py", ["'empty.py' in project.zip is empty"]),
    ],
)
def test_an_entry_that_can_not_be_run(master: WorkerMaster, entry: str, words: list[str]) -> None:
    content = project({"tool": "#!/bin/sh\n", "sub/file.py": "1", "empty.py": ""})
    result, _ = log_of(master, content, entry=entry)
    assert result.outcome == "NOT_STARTED"
    assert all(word in result.reason for word in words), result.reason


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"not a zip", ["project.zip: not a zip archive"]),
        (project({"../escape.py": "1"}), ["project.zip: entry '../escape.py'"]),
    ],
)
def test_an_archive_that_is_refused(master: WorkerMaster, content: bytes, words: list[str]) -> None:
    result, _ = log_of(master, content, entry="main.py")
    assert result.outcome == "NOT_STARTED"
    assert all(word in result.reason for word in words), result.reason


@pytest.mark.usefixtures("worker")
def test_programs_can_be_written_and_run_by_all_slots_at_once(master: WorkerMaster) -> None:
    """No slot's child holds another slot's program open for writing when that is executed."""
    tokens = [master.start(f"#!/bin/sh\n# {os.urandom(4).hex()}\nexit 0\n", "tool") for _ in range(200)]
    results = [master.result(token) for token in tokens]
    assert {(result.outcome, result.reason) for result in results} == {("SUCCEEDED", "")}
