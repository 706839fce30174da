"""Exit codes: one per kind of end, fixed."""

from __future__ import annotations

import pytest

from titan_core.protocol.messages import JobStatus, RunStatus, ServiceStatus
from titan_sdk import errors
from titan_sdk.cli import exits
from titan_sdk.cli.main import explain


def job(state: str, exit_code: int = -1, **fields) -> JobStatus:
    return JobStatus(
        "r", "j", state, exit_code=exit_code, final=state in ("COMPLETED", "DEAD", "CANCELLED"), **fields
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.TitanError(), 1),
        (errors.ConnectionFailed(), 1),
        (errors.ConnectionLost(), 1),
        (errors.ProtocolError(), 1),
        (errors.InternalError(), 1),
        (ValueError("a defect"), 1),
        (OSError(28, "no space left"), 1),
        (errors.ServiceFailed("r/web is DEAD", ServiceStatus("r", "web", "DEAD")), 1),
        (errors.ConfigError(), 2),
        (errors.InvalidRequest(), 3),
        (errors.InvalidGraph(), 3),
        (errors.PipelineError("cycle", "a.yaml", 3), 3),
        (errors.Conflict(), 3),
        (errors.Unavailable(), 3),
        (errors.AssetMissing(), 3),
        (errors.ArchiveRefused(), 3),
        (errors.NotFound(), 4),
        (FileNotFoundError(2, "no such file"), 4),
        (errors.NotAuthorised(), 5),
        (errors.WaitTimedOut(), 6),
        (KeyboardInterrupt(), 130),
    ],
)
def test_of_errors(error, code):
    assert exits.code_for_error(error) == code


@pytest.mark.parametrize(("state", "code"), [("COMPLETED", 0), ("FAILED", 1), ("CANCELLED", 7)])
def test_of_runs(state, code):
    assert exits.code_for_run(RunStatus("r", "n", state, 1, final=True)) == code


@pytest.mark.parametrize(
    ("status", "code", "own"),
    [
        (job("COMPLETED", 0), 0, 0),
        (job("DEAD", 3), 1, 3),
        (job("DEAD", 137), 1, 137),
        (job("DEAD"), 1, 1),
        (job("DEAD", 0), 1, 1),
        (job("CANCELLED", 143), 7, 7),
        (job("RUNNING", service=True), 0, 0),
    ],
)
def test_of_jobs(status, code, own):
    assert (exits.code_for_job(status), exits.own_code(status)) == (code, own)


def test_an_error_is_one_sentence():
    assert explain(errors.NotFound("there is no job 'x'")) == "there is no job 'x'"
    assert explain(PermissionError(13, "Permission denied", "/root/x")) == "/root/x: Permission denied"
    assert len(explain(OSError(36, "File name too long", "x" * 10_000))) < 300
    assert explain(OSError(28, "No space left on device")) == "No space left on device"
    assert "a defect in titan: KeyError" in explain(KeyError("x"))
