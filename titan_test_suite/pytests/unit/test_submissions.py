"""From a submission to its run."""

from __future__ import annotations

import hashlib

from titan_core.clock import FakeClock
from titan_core.master.engine import Engine
from titan_core.master.submissions import Submissions
from titan_core.protocol.messages import AssetContent, JobSpec, SubmitRun, Task
from titan_core.scheduler.core import Core
from titan_core.store.assets import AssetStore

SCRIPT = b"#!/bin/sh\n"
SHA256 = hashlib.sha256(SCRIPT).hexdigest()


def request(number: int) -> SubmitRun:
    jobs = (JobSpec("only", Task("only.sh", SHA256)),)
    return SubmitRun("busy", jobs, number.to_bytes(16, "big"), contents=(AssetContent(SHA256, SCRIPT),))


def test_many_runs_of_one_name_in_one_second(tmp_path):
    clock = FakeClock()  # it stands still: all run ids begin alike
    submissions = Submissions(Engine(Core(), clock), AssetStore(tmp_path / "perm_files", tmp_path / "assets"))
    accepted = [submissions.submit(request(number)).run_id for number in range(2000)]
    assert len(set(accepted)) == 2000


def test_the_same_submission_again_gets_the_same_run(tmp_path):
    submissions = Submissions(Engine(Core(), FakeClock()), AssetStore(tmp_path / "perm_files", tmp_path / "assets"))
    assert submissions.submit(request(1)) == submissions.submit(request(1))
