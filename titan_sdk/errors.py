"""Everything a client call may raise: the tree of `titan_core.errors`, and what only a client can meet.

TitanError
├── …                 see titan_core.errors
├── ClientClosed      the TitanClient was closed
├── WaitTimedOut      the caller's own time-out passed first
├── JobFailed         a job ended DEAD or CANCELLED; `.status` is its JobStatus
├── RunFailed         a run ended FAILED or CANCELLED; `.status` is its RunStatus
├── ServiceFailed     a service that was waited for will not be ready; `.status` is its ServiceStatus
└── InvalidRequest
    └── PipelineError a pipeline file that can not be used; `.file` and `.line` say where
"""

from __future__ import annotations

from titan_core.errors import (
    ArchiveRefused,
    AssetMissing,
    ChecksumMismatch,
    ConfigError,
    Conflict,
    ConnectionFailed,
    ConnectionLost,
    InternalError,
    InvalidGraph,
    InvalidRequest,
    NotAuthorised,
    NotFound,
    ProtocolError,
    RequestRefused,
    TitanError,
    Unavailable,
)
from titan_core.protocol.messages import JobStatus, RunStatus, ServiceStatus

__all__ = [
    "ArchiveRefused",
    "AssetMissing",
    "ChecksumMismatch",
    "ClientClosed",
    "ConfigError",
    "Conflict",
    "ConnectionFailed",
    "ConnectionLost",
    "InternalError",
    "InvalidGraph",
    "InvalidRequest",
    "JobFailed",
    "NotAuthorised",
    "NotFound",
    "PipelineError",
    "ProtocolError",
    "RequestRefused",
    "RunFailed",
    "ServiceFailed",
    "TitanError",
    "Unavailable",
    "WaitTimedOut",
]


class ClientClosed(TitanError):
    """This TitanClient was closed; make a new one."""

    code = "CLIENT_CLOSED"


class WaitTimedOut(TitanError):
    """What was waited for did not happen in time; it may still happen."""

    code = "WAIT_TIMED_OUT"
    retryable = True


class JobFailed(TitanError):
    """The job did not complete."""

    code = "JOB_FAILED"

    def __init__(self, message: str, status: JobStatus) -> None:
        super().__init__(message, job=status.job_id)
        self.status = status


class RunFailed(TitanError):
    """The run did not complete."""

    code = "RUN_FAILED"

    def __init__(self, message: str, status: RunStatus) -> None:
        super().__init__(message)
        self.status = status


class ServiceFailed(TitanError):
    """The service will not be ready."""

    code = "SERVICE_FAILED"

    def __init__(self, message: str, status: ServiceStatus) -> None:
        super().__init__(message, job=status.job_id)
        self.status = status


class PipelineError(InvalidRequest):
    """The pipeline file can not be used."""

    def __init__(self, problem: str, file: str, line: int = 0, **details: str) -> None:
        super().__init__(f"{file}:{line}: {problem}" if line else f"{file}: {problem}", **details)
        self.problem = problem
        self.file = file
        self.line = line
        """Counted from 1; 0 = the file as a whole."""
