"""From a submission to its run."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from titan_core.clock import FakeClock
from titan_core.errors import ArchiveRefused
from titan_core.master.engine import Engine
from titan_core.master.finder import Finder
from titan_core.master.submissions import Submissions
from titan_core.protocol.messages import AssetContent, JobSpec, SubmitRun, Task
from titan_core.scheduler.core import Core
from titan_core.scheduler.events import RunCancelRequested
from titan_core.scheduler.settings import Settings
from titan_core.store.archive import inspect
from titan_core.store.assets import AssetStore
from titan_core.store.durability import Durability
from titan_core.store.volatile import Volatile
from titan_test_suite.pytests.support.stored_cluster import open_store, volatile_store

SCRIPT = b"#!/bin/sh\n"
SHA256 = hashlib.sha256(SCRIPT).hexdigest()


def request(number: int) -> SubmitRun:
    jobs = (JobSpec("only", Task("only.sh", SHA256)),)
    return SubmitRun("busy", jobs, number.to_bytes(16, "big"), contents=(AssetContent(SHA256, SCRIPT),))


@pytest.fixture
def volatile() -> Iterator[Volatile]:
    with volatile_store(FakeClock()) as store:  # its clock stands still: all run ids begin alike
        yield store


def make(tmp_path: Path, store: Durability, engine: Engine | None = None) -> Submissions:
    engine = engine or Engine(Core(), FakeClock(), store)
    finder = Finder(engine, store.history)
    assets = AssetStore(tmp_path / "perm_files", tmp_path / "assets")
    return Submissions(engine, assets, finder, store.history, check_room=lambda: None)


def test_many_runs_of_one_name_in_one_second(tmp_path: Path, volatile: Volatile) -> None:
    submissions = make(tmp_path, volatile)
    accepted = [submissions.submit(request(number)).run_id for number in range(2000)]
    assert len(set(accepted)) == 2000


def test_no_run_gets_the_id_of_one_that_left_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    names = iter(["busy-1", "busy-1", "busy-2"])
    monkeypatch.setattr("titan_core.master.submissions.new_run_id", lambda name, clock: next(names))
    with open_store(tmp_path, clock) as store:
        engine = Engine(Core(Settings(runs_kept=0)), clock, store)
        submissions = make(tmp_path, store, engine)
        assert submissions.submit(request(1)).run_id == "busy-1"
        engine.submit(RunCancelRequested("busy-1", "over"))
        engine.settle(changed=True)
        assert submissions.submit(request(2)).run_id == "busy-2"
        engine.settle(changed=True)
        assert [run.run_id for run in store.history.runs(10)] == ["busy-2", "busy-1"]


def test_the_same_submission_again_gets_the_same_run(tmp_path: Path, volatile: Volatile) -> None:
    submissions = make(tmp_path, volatile)
    assert submissions.submit(request(1)) == submissions.submit(request(1))


def test_an_archive_is_looked_into_once_however_many_jobs_run_its_files(
    tmp_path: Path, volatile: Volatile, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Path] = []

    def look(path: Path, name: str) -> tuple[str, ...]:
        looked.append(path)
        return inspect(path, name=name)

    monkeypatch.setattr("titan_core.master.submissions.inspect", look)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(50):
            archive.writestr(f"step{number}.sh", SCRIPT)
    sha256 = hashlib.sha256(packed.getvalue()).hexdigest()
    jobs = tuple(JobSpec(f"j{n}", Task("project.zip", sha256, f"step{n}.sh")) for n in range(50))
    contents = (AssetContent(sha256, packed.getvalue()),)
    submissions = make(tmp_path, volatile)
    assert submissions.submit(SubmitRun("many", jobs, contents=contents)).job_count == 50
    assert len(looked) == 1


def test_an_archive_that_is_refused_is_called_by_its_name(tmp_path: Path, volatile: Volatile) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("../escape.sh", SCRIPT)
    sha256 = hashlib.sha256(packed.getvalue()).hexdigest()
    job = JobSpec("j", Task("project.zip", sha256, "main.sh"))
    submissions = make(tmp_path, volatile)
    with pytest.raises(ArchiveRefused, match=r"job 'j': project\.zip: entry '\.\./escape\.sh'"):
        submissions.submit(SubmitRun("bad", (job,), contents=(AssetContent(sha256, packed.getvalue()),)))
