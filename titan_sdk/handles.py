"""What a submission gives back: the run or the job, to ask about, wait for, read and cancel.

A handle holds keys only; every question goes to the master. Prints as the accepted run id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from titan_core.protocol.messages import Cancelled, JobStatus, RunStatus
from titan_sdk.errors import InvalidRequest, JobFailed, RunFailed
from titan_sdk.fields import described

if TYPE_CHECKING:
    from titan_sdk.client import TitanClient

_NAMED_FAILURES = 3
"""How many jobs the message of a failed run names."""


class RunHandle:
    """A run that was accepted."""

    def __init__(self, client: TitanClient, run_id: str) -> None:
        self.client = client
        self.run_id = run_id

    @property
    def key(self) -> str:
        return self.run_id

    def __str__(self) -> str:
        return self.run_id

    def __repr__(self) -> str:
        return f"RunHandle({self.run_id!r})"

    def status(self) -> str:
        """`RUNNING`, `COMPLETED`, `FAILED` or `CANCELLED`."""
        return self.client.run(self.run_id).state

    def wait(self, timeout: float | None = None, jobs: bool = True) -> RunStatus:
        """The final status, with all jobs, or none (see `TitanClient.wait_for_run`). Raises WaitTimedOut after
        `timeout` seconds."""
        return self.client.wait_for_run(self.run_id, timeout, jobs)

    def result(self, timeout: float | None = None, jobs: bool = True) -> RunStatus:
        """Like `wait`, but raises RunFailed, whose status has all jobs, unless every job completed."""
        status = self.wait(timeout, jobs)
        if status.state != "COMPLETED" and not jobs:
            status = self.wait(timeout)  # which jobs it were; unless somebody has retried them meanwhile
        if status.state != "COMPLETED":
            raise RunFailed(_run_failure(status), status)
        return status

    def jobs(self) -> tuple[JobStatus, ...]:
        """Its jobs, in the order of submission."""
        return self.client.run(self.run_id).jobs

    def logs(self) -> dict[str, str]:
        """What the latest attempt of each job has printed, by job id."""
        return {job.job_id: self.client.fetch_logs(f"{self.run_id}/{job.job_id}") for job in self.jobs()}

    def cancel(self, reason: str = "") -> Cancelled:
        return self.client.cancel(self.run_id, reason)


class JobHandle:
    """A job that was accepted, in a run of its own."""

    def __init__(self, client: TitanClient, run_id: str, job_id: str) -> None:
        self.client = client
        self.run_id = run_id
        self.job_id = job_id

    @property
    def key(self) -> str:
        """`<run id>/<job id>`."""
        return f"{self.run_id}/{self.job_id}"

    def __str__(self) -> str:
        return self.run_id

    def __repr__(self) -> str:
        return f"JobHandle({self.key!r})"

    def status(self) -> str:
        """Its state, such as `QUEUED`, `RUNNING` or `COMPLETED`."""
        return self.client.job(self.key).state

    def wait(self, timeout: float | None = None) -> JobStatus:
        """The final status. Raises WaitTimedOut after `timeout` seconds."""
        return self.client.wait_for_job(self.key, timeout)

    def result(self, timeout: float | None = None) -> JobStatus:
        """Like `wait`, but raises JobFailed unless it completed."""
        status = self.wait(timeout)
        if status.state != "COMPLETED":
            raise JobFailed(_job_failure(status), status)
        return status

    def logs(self) -> str:
        """What its latest attempt has printed."""
        return self.client.fetch_logs(self.key)

    def cancel(self, reason: str = "") -> Cancelled:
        return self.client.cancel(self.key, reason)


Key = str | RunHandle | JobHandle
"""What a client's methods take for a run or a job."""


def key_of(key: Key) -> str:
    """The key as text. Raises InvalidRequest."""
    text = key.key if isinstance(key, RunHandle | JobHandle) else key
    if not isinstance(text, str) or not text:
        raise InvalidRequest(
            f"a run or job is named by a string or its handle, not by {described(text)}", field="key"
        )
    return text


def _job_failure(job: JobStatus) -> str:
    reason = f": {job.reason}" if job.reason else ""
    return f"job {job.run_id}/{job.job_id} is {job.state}{reason}"


def _run_failure(run: RunStatus) -> str:
    """Names the jobs that failed by themselves, else those that were cancelled."""
    culprits = [job for job in run.jobs if job.state == "DEAD"] or [
        job for job in run.jobs if job.state == "CANCELLED"
    ]
    named = [f"{job.job_id} is {job.state}" + (f" ({job.reason})" if job.reason else "") for job in culprits]
    more = [f"and {len(named) - _NAMED_FAILURES} more"] if len(named) > _NAMED_FAILURES else []
    return f"run {run.run_id} {run.state}: " + ", ".join(named[:_NAMED_FAILURES] + more)
