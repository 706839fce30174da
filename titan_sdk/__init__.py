"""The Python SDK: submit jobs and pipelines to a Titan master, follow them, read what they print.

    from titan_sdk import TitanClient, TitanJob

    with TitanClient() as client:
        job = client.submit_job(TitanJob("hello", "hello.py", args="--name world"))
        job.result(timeout=60)
        print(job.logs())

What is exported is imported at its first use, so that a program that needs little starts at once.
"""
# ruff: noqa: F403, F405 (the errors are named below, once)

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from titan_sdk.client import TitanClient
    from titan_sdk.errors import *
    from titan_sdk.handles import JobHandle, RunHandle
    from titan_sdk.jobs import TitanJob

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
    "ServiceFailed",
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
