"""Submitting: jobs, and the content of the files they need, so that both arrive together.

The master keeps content by its SHA-256. What this client has sent before is left out; should the
master not hold it any more (ASSET_MISSING), everything is sent, once. A submission carries an id, so
that one whose answer was lost can be sent again. Any thread.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from titan_core import collector
from titan_core.errors import AssetMissing, NotFound
from titan_core.protocol.messages import (
    Ack,
    AssetContent,
    JobSpec,
    PutSchedule,
    SchedulePut,
    SubmitRun,
    Submitted,
    UpdateService,
)
from titan_sdk.access import OwnAttempt
from titan_sdk.contents import Contents
from titan_sdk.jobs import TitanJob, job_spec
from titan_sdk.local_files import LocalFile
from titan_sdk.patience import submit_surely
from titan_sdk.schedule_fields import Schedule, schedule_spec
from titan_sdk.transfers import upload
from titan_sdk.transport import Transport

JOBS_PER_SECOND = 1000
"""Slowest acceptance that is still waited for."""

R = TypeVar("R")
Inline = tuple[AssetContent, ...]


class Submitter:
    """Sends submissions of one client, and remembers which content the master was sent."""

    def __init__(self, transport: Transport, own: OwnAttempt) -> None:
        self._transport = transport
        self._own = own
        self._known: set[str] = set()

    def submit(self, name: str, jobs: Iterable[TitanJob], run_id: str = "", folder: Path | None = None) -> Submitted:
        """Start a run of this name, or add the jobs to `run_id`. Their files are relative to `folder`.

        Returns when the master has accepted all of it. Raises InvalidRequest, InvalidGraph, NotFound,
        Conflict, mostly with `job` in the details; then nothing was queued. ConnectionLost leaves it open.
        """
        contents, all_jobs = Contents(folder), tuple(jobs)
        with collector.paused():
            specs = tuple(job_spec(job, contents) for job in all_jobs)
        request = SubmitRun(name, specs, secrets.token_bytes(16), run_id, self._own.token)
        return self._with_contents(contents, lambda inline: self._ask(replace(request, contents=inline)))

    def update(self, key: str, job: TitanJob, folder: Path | None = None) -> Ack:
        """Give the service `key` this definition. Sent once: when the answer is lost, ConnectionLost leaves it open.

        Raises InvalidRequest, NotFound, Conflict.
        """
        contents = Contents(folder)
        request = UpdateService(key, job_spec(job, contents))

        def send(inline: Inline) -> Ack:
            return self._transport.ask(replace(request, contents=inline), Ack, repeatable=False)

        return self._with_contents(contents, send)

    def put_schedule(
        self, name: str, schedule: Schedule, jobs: Iterable[TitanJob], update: bool, folder: Path | None = None
    ) -> SchedulePut:
        """Make a schedule, or with `update` change the one of this name. Sent once, as `update` is.

        Raises InvalidRequest, InvalidGraph, NotFound, Conflict.
        """
        contents = Contents(folder)
        spec = schedule_spec(name, schedule, jobs, contents)
        request = PutSchedule(spec, (), schedule.paused is True, schedule.paused is False, only_new=not update)
        wait_s = len(spec.jobs) / JOBS_PER_SECOND

        def send(inline: Inline) -> SchedulePut:
            filled = replace(request, contents=inline)
            return self._transport.ask(filled, SchedulePut, wait_s=wait_s, repeatable=False)

        return self._with_contents(contents, send)

    def submit_specs(
        self, name: str, specs: tuple[JobSpec, ...], contents: tuple[AssetContent, ...] = ()
    ) -> Submitted:
        """Start a run of jobs that are described already, with the contents of the files that came along."""
        request = SubmitRun(name, specs, secrets.token_bytes(16), spawner=self._own.token, contents=contents)
        return self._ask(request)

    def _with_contents(self, contents: Contents, send: Callable[[Inline], R]) -> R:
        """`send` what the master is not known to have; and once more with everything, should it miss something."""
        files = list(contents.by_sha256.values())
        unknown = [file for file in files if file.sha256 not in self._known]
        try:
            return self._send(unknown, send)
        except AssetMissing:
            if len(unknown) == len(files):
                raise
            return self._send(files, send)
        except NotFound as error:
            raise _nowhere(error, contents.folder.absolute()) from None

    def _send(self, files: list[LocalFile], send: Callable[[Inline], R]) -> R:
        inline = tuple(AssetContent(file.sha256, file.data) for file in files if file.data is not None)
        for file in files:
            if file.data is None:
                upload(self._transport, "", file)
        accepted = send(inline)
        self._known.update(file.sha256 for file in files)
        return accepted

    def _ask(self, request: SubmitRun) -> Submitted:
        return submit_surely(self._transport, request, Submitted, wait_s=len(request.jobs) / JOBS_PER_SECOND)


def _nowhere(error: NotFound, folder: Path) -> NotFound:
    """A file that the master does not have was looked for here before; say so."""
    if error.details.get("field") != "file":
        return error
    return NotFound(f"{error.message} (nor is there one in {folder})", **error.details)
