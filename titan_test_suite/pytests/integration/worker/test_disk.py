"""A disk that fills up under a worker, and is freed; and the files of runs that are over."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

import pytest

from titan_core.net.dial import dial
from titan_core.protocol.messages import ClusterStatus, ForgetRuns, GetClusterStatus, Heartbeat, ResultAck
from titan_core.worker.app import Worker
from titan_core.worker.disk_watch import DiskWatch
from titan_core.worker.journal import Journal
from titan_test_suite.pytests.integration.worker.conftest import StartWorker
from titan_test_suite.pytests.integration.worker.test_assets import project
from titan_test_suite.pytests.support.disks import SmallDisk
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.pytests.support.worker_master import TOKEN, WorkerMaster

WAIT = "echo up; while [ ! -e go ]; do sleep 0.01; done; echo done"


def troubles(master: WorkerMaster) -> list[str]:
    return [beat.trouble for beat in master.of(Heartbeat)]  # type: ignore[attr-defined]


# ── a full disk ───────────────────────────────────────────────────────────────────────────────────


def test_a_full_disk_is_told_before_the_attempt_that_met_it(
    small_disk: SmallDisk, master: WorkerMaster, start_worker: StartWorker
) -> None:
    worker = start_worker(home=small_disk.path)
    master.wait_for_worker()
    running = master.start(WAIT)
    wait_until(lambda: master.log(running) == b"up\n")
    small_disk.fill()
    result = master.run("true")
    assert result.outcome == "INTERRUPTED"
    assert "No space left on device" in result.reason
    beat = master.received[master.received.index(result) - 1]
    assert isinstance(beat, Heartbeat)
    assert beat.trouble == f"can not write to {small_disk.path}/titan_workspace: No space left on device"
    assert running in beat.running
    refused = master.run("true")
    assert (refused.outcome, refused.reason) == ("INTERRUPTED", f"this worker {beat.trouble}")
    assert _status(worker) == beat.trouble

    master.drop_session()  # the next session begins with it
    assert master.wait_for_worker(2).trouble == beat.trouble

    small_disk.clear()
    wait_until(lambda: troubles(master)[-1] == "")
    assert master.run("true").outcome == "SUCCEEDED"


def _status(worker: Worker) -> str:
    stream = dial("127.0.0.1", worker.port, TOKEN, "client")
    try:
        stream.send(GetClusterStatus())
        frame = stream.receive(5)
        assert frame is not None
        return ClusterStatus.decode(frame.payload).workers[0].trouble
    finally:
        stream.close()


def test_what_runs_when_the_disk_is_full_ends_and_is_told(
    small_disk: SmallDisk, master: WorkerMaster, start_worker: StartWorker, tmp_path: Path
) -> None:
    """Its result is in memory only, until there is room: then a successor would find it."""
    start_worker(home=small_disk.path)
    master.wait_for_worker()
    token = master.start("echo up; exec sleep 600")
    wait_until(lambda: master.log(token) == b"up\n")
    small_disk.fill()
    master.acknowledges = False
    master.stop(token, "x" * 20_000)  # more than what the end of the attempt frees
    assert master.result(token).outcome == "STOPPED"
    assert "No space left on device" in troubles(master)[-1]
    assert not in_the_journal(small_disk.path, tmp_path / "before")
    small_disk.clear()
    wait_until(lambda: troubles(master)[-1] == "")
    assert in_the_journal(small_disk.path, tmp_path / "after") == [token]
    master.drop_session()
    assert [result.token for result in master.wait_for_worker(2).finished] == [token]
    wait_until(lambda: len(master.results(token)) == 3)  # at its end, in the registration, and after its log
    for _ in ("registration", "result"):
        master.send(ResultAck((token,)))
    wait_until(lambda: not next(small_disk.path.glob("*/results/*/journal")).stat().st_size)


def in_the_journal(disk: Path, copy: Path) -> list[bytes]:
    """What a worker would find that was started now."""
    (place,) = disk.glob("titan_workspace/results/*")
    shutil.copytree(place, copy)
    journal = Journal(copy)
    try:
        return [entry.result.token for entry in journal.recover()]
    finally:
        journal.close()


def test_a_disk_that_is_nearly_full_is_noticed_by_a_heartbeat(
    small_disk: SmallDisk, master: WorkerMaster, start_worker: StartWorker
) -> None:
    master.heartbeat_s = 0.05
    start_worker(home=small_disk.path)
    master.wait_for_worker()
    assert master.run("true").outcome == "SUCCEEDED"
    small_disk.ballast.write_bytes(bytes(int(3.5 * 1024 * 1024)))
    sentence = f"can not write to {small_disk.path}/titan_workspace: less than 1 MiB is free"
    wait_until(lambda: troubles(master)[-1:] == [sentence])
    os.truncate(small_disk.ballast, int(2.5 * 1024 * 1024))  # more than 1 MiB is not enough to end it
    beats = len(troubles(master))
    wait_until(lambda: len(troubles(master)) > beats + 30)
    assert {*troubles(master)[beats:]} == {sentence}
    small_disk.clear()
    wait_until(lambda: troubles(master)[-1] == "")


def test_a_disk_that_is_full_when_the_worker_starts(
    small_disk: SmallDisk, master: WorkerMaster, start_worker: StartWorker
) -> None:
    (small_disk.path / "titan_workspace").mkdir()
    small_disk.ballast.write_bytes(bytes(int(3.5 * 1024 * 1024)))
    start_worker(home=small_disk.path)
    sentence = f"can not write to {small_disk.path}/titan_workspace: less than 1 MiB is free"
    assert master.wait_for_worker().trouble == sentence
    small_disk.clear()
    wait_until(lambda: troubles(master)[-1:] == [""])


@pytest.mark.parametrize("name", ["job.sh", "project.zip"])
def test_files_of_a_job_for_which_there_is_no_room(
    small_disk: SmallDisk, master: WorkerMaster, start_worker: StartWorker, name: str
) -> None:
    """What was written of them is taken away, so that there is room again if there was before."""
    start_worker(home=small_disk.path)
    master.wait_for_worker()
    if name == "project.zip":
        content, entry = project({"main.sh": "true\n", "ballast": secrets.token_hex(900_000)}), "main.sh"
    else:
        content, entry = b"true\n" + b"#" * 5 * 1024 * 1024, ""
    result = master.run(content, name, entry=entry)
    assert result.outcome == "INTERRUPTED"
    assert "No space left on device" in result.reason
    assert "No space left on device" in troubles(master)[-1]
    if entry:  # what was fetched, and unpacked once, is still there
        assert not list(small_disk.path.glob("titan_workspace/jobs/*/*/project-*"))
    else:
        wait_until(lambda: troubles(master)[-1] == "")
        assert master.run("true").outcome == "SUCCEEDED"


def test_what_is_trouble_with_a_disk_and_what_is_not(tmp_path: Path) -> None:
    told: list[str] = []
    watch = DiskWatch(tmp_path, lambda: told.append(watch.trouble))
    watch.suspect(shutil.Error([("a", "b", "[Errno 13] Permission denied")]))
    watch.suspect(PermissionError(13, "Permission denied"))
    watch.suspect(OSError("something"))
    assert not watch.trouble
    watch.suspect(shutil.Error([("a", "b", "[Errno 28] No space left on device")]))
    assert told == [f"can not write to {tmp_path}: No space left on device"]
    watch.suspect(OSError(5, "Input/output error"))
    assert len(told) == 1


# ── runs that are over ────────────────────────────────────────────────────────────────────────────


def test_the_files_of_forgotten_runs_are_deleted(master: WorkerMaster, worker: Worker, tmp_path: Path) -> None:
    workspace = tmp_path / "titan_workspace"
    master.run("mkdir -p deep/er; echo x > deep/er/file; chmod 500 deep")
    assert (workspace / "shared" / "run-1" / "deep").exists()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    (workspace / "shared" / "link").symlink_to(outside)
    (workspace / "shared" / "run-1" / "link").symlink_to(outside)
    master.send(ForgetRuns(("run-1", "never-seen", "link")))
    wait_until(lambda: not {"run-1", "link"} & {path.name for path in workspace.glob("*/*")})
    assert (outside / "precious").exists()


@pytest.mark.parametrize(
    "hostile",
    ["..", ".", "", "/", "../outside", "a/../../outside", "/etc", "run-1/..", "-x", "a\0b", "x" * 200, "a\nb"],
)
def test_what_is_no_run_id_deletes_nothing(
    master: WorkerMaster, worker: Worker, tmp_path: Path, hostile: str
) -> None:
    master.run("touch kept")
    (tmp_path / "outside").mkdir()
    before = {path for path in tmp_path.rglob("*") if "results" not in path.parts}
    (tmp_path / "titan_workspace" / "shared" / "last").mkdir()
    master.send(ForgetRuns((hostile, "last")))
    wait_until(lambda: not (tmp_path / "titan_workspace" / "shared" / "last").exists())
    assert before <= set(tmp_path.rglob("*"))


def test_a_run_of_which_something_runs_is_deleted_when_it_has_ended(
    master: WorkerMaster, worker: Worker, tmp_path: Path
) -> None:
    shared = tmp_path / "titan_workspace" / "shared"
    token = master.start(WAIT)
    wait_until(lambda: master.log(token) == b"up\n")
    (shared / "other").mkdir()
    master.send(ForgetRuns(("run-1", "other")))
    wait_until(lambda: not (shared / "other").exists())
    assert (shared / "run-1").exists()
    (shared / "run-1" / "go").touch()
    assert master.result(token).outcome == "SUCCEEDED"
    wait_until(lambda: not (shared / "run-1").exists())
