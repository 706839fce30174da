"""Collects what is known once a storm is over: the ledger, the clients' books, the master's word, the processes.

The master is asked without the proxy, by a few threads at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from titan_core.protocol.messages import (
    EventList,
    FireStatus,
    GetJob,
    GetRun,
    JobEvent,
    JobStatus,
    ListEvents,
    ListWorkers,
    RunStatus,
    WorkerList,
)
from titan_sdk.access import Access
from titan_sdk.errors import NotFound
from titan_sdk.schedules import history
from titan_sdk.transport import Transport
from titan_test_suite.torture.faults import Kill
from titan_test_suite.torture.ledger import Ledger
from titan_test_suite.torture.oracle import Evidence, Fault
from titan_test_suite.torture.promises import Promise
from titan_test_suite.torture.scripts import LEDGER_VARIABLE

_THREADS = 4
_ANSWER_S = 30.0
_ALL = 1_000_000
"""More lines than there are in any ledger."""


class Witness:
    """Asks the master at `access`. Close it."""

    def __init__(self, access: Access) -> None:
        self._transport = Transport(access, _ANSWER_S)

    def close(self) -> None:
        self._transport.close()

    def workers(self) -> dict[str, tuple[str, int]]:
        """(state, slots in use) by worker."""
        listed = self._transport.ask(ListWorkers(), WorkerList).workers
        return {worker.worker_id: (worker.state, worker.used) for worker in listed}

    def jobs(self, run_ids: Iterable[str]) -> dict[str, dict[str, JobStatus]]:
        """All jobs with their attempts, by run and job; what the master does not know is left out."""
        with ThreadPoolExecutor(_THREADS, "witness") as pool:
            return {run_id: jobs for run_id, jobs in pool.map(self._jobs_of, run_ids) if jobs}

    def events(self, run_ids: Iterable[str]) -> dict[str, tuple[JobEvent, ...]]:
        """All that happened to the jobs of each run, oldest first."""
        with ThreadPoolExecutor(_THREADS, "witness") as pool:
            return dict(pool.map(lambda run_id: (run_id, tuple(self._events_of(run_id))), run_ids))

    def fires(self, schedule: str) -> tuple[FireStatus, ...]:
        """The whole ledger of a schedule, newest first."""
        return history(self._transport, schedule, _ALL)

    def _jobs_of(self, run_id: str) -> tuple[str, dict[str, JobStatus]]:
        try:
            run = self._transport.ask(GetRun(run_id), RunStatus)
        except NotFound:
            return run_id, {}
        asked = (self._transport.ask(GetJob(f"{run_id}/{job.job_id}"), JobStatus) for job in run.jobs)
        return run_id, {job.job_id: job for job in asked}

    def _events_of(self, run_id: str) -> Iterator[JobEvent]:
        after, more = 0, True
        while more:
            answer = self._transport.ask(ListEvents(run_id, after), EventList)
            yield from answer.events
            more = answer.more and bool(answer.events)
            after = answer.events[-1].number if answer.events else after


def faults_of(
    kills: Sequence[Kill],
    partitions: Sequence[tuple[str, float, float]],
    workers: dict[str, str],
    spawned: dict[str, set[str]],
) -> list[Fault]:
    """What hit workers; `workers` are the names of their programs by `host:port`, `spawned` those of the programs
    that may have started a worker, and whose way to the master such a one has."""
    ids = {name: worker_id for worker_id, name in workers.items()}
    found = [Fault(ids.get(k.member, k.member), k.wall, k.wall) for k in kills if k.member != "master"]
    for name, begun, ended in partitions:
        cut_off = [worker_id for worker_id, names in spawned.items() if name in names]
        cut_off += [ids[name]] if name in ids else []
        found += [Fault(worker_id, begun, ended) for worker_id in cut_off]
    return found


def processes_of_jobs(ledger: Path) -> dict[int, str]:
    """`run id/job id#attempt` of every live process that a job of this ledger's storm has started, by pid."""
    found = {}
    marker = f"{LEDGER_VARIABLE}={ledger}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            variables = _environment(entry)
            if marker in variables:
                names = ("TITAN_RUN_ID", "TITAN_JOB_ID", "TITAN_ATTEMPT")
                run_id, job_id, number = (_value(variables, name) for name in names)
                found[int(entry.name)] = f"{run_id}/{job_id}#{number}"
    return found


def gather(
    witness: Witness, promises: list[Promise], ledger: Path, faults: list[Fault], survivors: list[str]
) -> Evidence:
    run_ids = [promise.run_id for promise in promises]
    jobs = witness.jobs(run_ids)
    events = witness.events(jobs)
    used = {worker: slots for worker, (_, slots) in witness.workers().items()}
    return Evidence(promises, Ledger.read(ledger), jobs, events, faults, survivors, used)


def _environment(entry: Path) -> list[bytes]:
    """Of a process; empty when it is gone, somebody else's, or a zombie."""
    try:
        return (entry / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _value(variables: list[bytes], name: str) -> str:
    prefix = f"{name}=".encode()
    return next((item[len(prefix) :].decode() for item in variables if item.startswith(prefix)), "?")
