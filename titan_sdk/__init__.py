"""The Python SDK: submit jobs and pipelines to a Titan master, follow them, read what they print.

    from titan_sdk import TitanClient, TitanJob

    with TitanClient() as client:
        job = client.submit_job(TitanJob("hello", "hello.py", args="--name world"))
        job.result(timeout=60)
        print(job.logs())

What is exported is imported at its first use, so that a program that needs little starts at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from titan_sdk.client import TitanClient as TitanClient
    from titan_sdk.errors import (
        ArchiveRefused as ArchiveRefused,
    )
    from titan_sdk.errors import (
        AssetMissing as AssetMissing,
    )
    from titan_sdk.errors import (
        ChecksumMismatch as ChecksumMismatch,
    )
    from titan_sdk.errors import (
        ClientClosed as ClientClosed,
    )
    from titan_sdk.errors import (
        ConfigError as ConfigError,
    )
    from titan_sdk.errors import (
        Conflict as Conflict,
    )
    from titan_sdk.errors import (
        ConnectionFailed as ConnectionFailed,
    )
    from titan_sdk.errors import (
        ConnectionLost as ConnectionLost,
    )
    from titan_sdk.errors import (
        InternalError as InternalError,
    )
    from titan_sdk.errors import (
        InvalidGraph as InvalidGraph,
    )
    from titan_sdk.errors import (
        InvalidRequest as InvalidRequest,
    )
    from titan_sdk.errors import (
        JobFailed as JobFailed,
    )
    from titan_sdk.errors import (
        NotAuthorised as NotAuthorised,
    )
    from titan_sdk.errors import (
        NotFound as NotFound,
    )
    from titan_sdk.errors import (
        PipelineError as PipelineError,
    )
    from titan_sdk.errors import (
        ProtocolError as ProtocolError,
    )
    from titan_sdk.errors import (
        RequestRefused as RequestRefused,
    )
    from titan_sdk.errors import (
        RunFailed as RunFailed,
    )
    from titan_sdk.errors import (
        TitanError as TitanError,
    )
    from titan_sdk.errors import (
        Unavailable as Unavailable,
    )
    from titan_sdk.errors import (
        WaitTimedOut as WaitTimedOut,
    )
    from titan_sdk.handles import JobHandle as JobHandle
    from titan_sdk.handles import RunHandle as RunHandle
    from titan_sdk.jobs import TitanJob as TitanJob

_HOMES = {"TitanClient": "client", "TitanJob": "jobs", "RunHandle": "handles", "JobHandle": "handles"}

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
    "JobHandle",
    "NotAuthorised",
    "NotFound",
    "PipelineError",
    "ProtocolError",
    "RequestRefused",
    "RunFailed",
    "RunHandle",
    "TitanClient",
    "TitanError",
    "TitanJob",
    "Unavailable",
    "WaitTimedOut",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'titan_sdk' has no attribute {name!r}")
    return getattr(import_module(f"titan_sdk.{_HOMES.get(name, 'errors')}"), name)
