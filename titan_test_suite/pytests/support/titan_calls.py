"""Calling `titan` in this process against a scripted master, and what that has to tell of one run and one worker."""

from __future__ import annotations

import pytest

from titan_core.protocol import messages as m
from titan_sdk.cli.main import main
from titan_test_suite.pytests.support.scripted_master import ScriptedMaster

RUN = "etl-20260101t000000-abcd"
KEY = f"{RUN}/extract"


def job(job_id: str = "extract", state: str = "COMPLETED", **fields) -> m.JobStatus:
    final = state in ("COMPLETED", "DEAD", "CANCELLED")
    return m.JobStatus(RUN, job_id, state, final=final, **fields)


def run(state: str = "COMPLETED", *jobs: m.JobStatus, version: int = 1) -> m.RunStatus:
    counts = (m.StateCount("COMPLETED", 1), m.StateCount("DEAD", int(state == "FAILED")))
    return m.RunStatus(RUN, "etl", state, version, counts, 1.0, 2.0, jobs or (job(),), final=state != "RUNNING")


def log(data: bytes, offset: int = 0, **fields) -> m.LogChunk:
    return m.LogChunk(RUN, "extract", 1, offset, data, **fields)


WORKER = m.WorkerStatus("host:8081", "ONLINE", ("GENERAL", "GPU"), 4, 1, jobs=(KEY,), memory_total=1 << 30)


class Titan:
    """Calls `titan` in this process."""

    def __init__(self, master: ScriptedMaster, capsys: pytest.CaptureFixture[str]) -> None:
        self.master = master
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *words: str) -> int:
        code = main(["--master", address(self.master), *words])
        self.out, self.err = self._capsys.readouterr()
        assert "Traceback" not in self.err
        return code


def address(master: ScriptedMaster) -> str:
    return f"127.0.0.1:{master.port}"


def script(master: ScriptedMaster, request: type, answer) -> None:
    """Answer this kind of request with a message, an error, or what a function of the request gives."""

    def handler(stream, message):
        found = answer(message) if callable(answer) else answer
        if isinstance(found, Exception):
            raise found
        return found

    master.on(request, handler)
