"""Two workers are cut off from the master, for less and for more than it takes to give them up, and return.

The cut is one in a network of namespaces: packets vanish, nobody is told. Times are a seventh of the real ones; with
TITAN_TORTURE=1 they are real: cuts of 20 s and 60 s, and the default settings.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from titan_core.protocol.messages import JobStatus
from titan_sdk import JobHandle, TitanClient
from titan_test_suite.pytests.support.cluster import Cluster
from titan_test_suite.pytests.support.namespaces import Network, refusal
from titan_test_suite.pytests.support.ports import free_port
from titan_test_suite.pytests.support.seeds import TORTURE
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.pytests.support.witnesses import ENDS, Witnesses

pytestmark = pytest.mark.e2e


class Scale(NamedTuple):
    short_s: float
    long_s: float
    flags: tuple[str, ...]
    """Of the master, which gives a worker up after 1.5 times `short_s`, half of `long_s`."""


SCALE = Scale(20.0, 60.0, ()) if TORTURE else Scale(2.8, 8.4, ("--heartbeat-s", "0.5", "--death-s", "4.2"))
END_S = 2 * SCALE.long_s + 20.0
CHATTERS = 'note start; until test -e "$GATE"; do echo here; read -rt 0.05 -u $never; done; note end'
EACH_ITS_GATE = 'GATE="$GATE-$TITAN_ATTEMPT"; note start; until_gate; note end'


class Field:
    """A master, two workers behind the network, and one beside the master that is never cut off."""

    def __init__(self, cluster: Cluster, network: Network, witnesses: Witnesses) -> None:
        self.cluster = cluster
        self.network = network
        self.witnesses = witnesses
        self.jobs: list[JobHandle] = []
        for seat in (0, 1):
            home = cluster.home / f"home-{seat}"
            flags = ("--hostname", f"far-{seat}")
            where = {"home": home, "master": network.address, "inside": network.inside(seat)}
            cluster.start_worker(f"GENERAL,FAR-{seat},MOVES-{seat}", *flags, slots=16, port=free_port(), **where)

    def submit(self, client: TitanClient, name: str, text: str = ENDS, **fields: object) -> JobHandle:
        """A job that has begun when this returns."""
        job = client.submit_job(self.witnesses.job(name, text, **fields))
        self.jobs.append(job)
        wait_until(self.witnesses.started(job.key), END_S, lambda: client.explain(job.key))
        return job

    def cut(self) -> float:
        """When that was."""
        self.network.cut()
        return time.monotonic()

    def wait_until(self, at: float) -> None:
        wait_until(lambda: time.monotonic() >= at, END_S)

    def wait_for_workers(self, client: TitanClient) -> float:
        """Until all are there again; how long that took."""
        begun_at = time.monotonic()
        is_there = lambda: [worker.state for worker in client.workers()].count("ONLINE") == len(self.cluster.workers)  # noqa: E731
        wait_until(is_there, END_S, client.workers)
        return time.monotonic() - begun_at

    def ended(self, job: JobHandle) -> list[int]:
        """The attempts of the job that ended by themselves."""
        return [line.number for line in self.witnesses.ends(job.key)]


@pytest.fixture
def field(tmp_path: Path) -> Iterator[Field]:
    if missing := refusal():
        pytest.skip(missing)
    with Network(2) as network, Cluster(tmp_path, "--host", "0.0.0.0", *SCALE.flags) as cluster:
        yield Field(cluster, network, Witnesses(tmp_path))


def final(client: TitanClient, job: JobHandle) -> JobStatus:
    return client.wait_for_job(job, END_S)


def outcomes(status: JobStatus) -> list[str]:
    return [attempt.outcome for attempt in status.attempts]


def test_what_two_workers_do_while_they_are_cut_off_is_counted_once(field: Field) -> None:
    with field.cluster.client() as client:
        a_short_cut_costs_nothing(field, client)
        a_long_cut_costs_attempts_and_no_job_counts_twice(field, client)
        nothing_was_counted_twice_and_nothing_is_left(field, client)


def a_short_cut_costs_nothing(field: Field, client: TitanClient) -> None:
    # The frames of the chatter are the last that the master hears, however long ago the last heartbeat was.
    chatter = [field.submit(client, f"chatter-{n}", CHATTERS, gate="chatter", requirement=f"FAR-{n}") for n in (0, 1)]
    through = [field.submit(client, f"through-{n}", gate="through", requirement=f"FAR-{n}") for n in (0, 1)]
    within = [field.submit(client, f"within-{n}", gate="within", requirement=f"FAR-{n}") for n in (0, 1)]
    cut_at = field.cut()
    field.witnesses.open("within")
    wait_until(lambda: all(map(field.ended, within)))  # they run on
    field.wait_until(cut_at + SCALE.short_s)
    assert {client.job(job).state for job in within} == {"RUNNING"}  # and nobody knows
    field.network.heal()
    for job in within:
        assert outcomes(final(client, job)) == ["SUCCEEDED"]
    late_s = time.monotonic() - cut_at - SCALE.short_s
    print(f"\nafter {SCALE.short_s:g} s, the results came {late_s:.2f} s after the healing")
    field.witnesses.open("through")
    field.witnesses.open("chatter")
    for job in through + chatter:
        assert outcomes(final(client, job)) == ["SUCCEEDED"]


def a_long_cut_costs_attempts_and_no_job_counts_twice(field: Field, client: TitanClient) -> None:
    revived = [field.submit(client, f"revived-{n}", gate="revived", requirement=f"FAR-{n}") for n in (0, 1)]
    late = [field.submit(client, f"late-{n}", gate="late", requirement=f"FAR-{n}") for n in (0, 1)]
    once = field.submit(client, "once", gate="never", requirement="FAR-0", max_attempts=1)
    # Not for both of the far ones: the first to be given up must not leave its jobs to the other.
    moved = field.submit(client, "moved", EACH_ITS_GATE, gate="moved", requirement="MOVES-0")
    refused = field.submit(client, "refused", EACH_ITS_GATE, gate="refused", requirement="MOVES-1")
    over = field.submit(client, "over", EACH_ITS_GATE, gate="over", requirement="MOVES-0")
    field.cluster.start_worker("GENERAL,MOVES-0,MOVES-1")  # only now, so that all of them are behind the cut
    cut_at = field.cut()
    field.witnesses.open("late")
    again = [moved.key, refused.key, over.key]
    wait_until(field.witnesses.started(*again, times=2), END_S, client.workers)
    print(f"given up, and begun elsewhere, {time.monotonic() - cut_at:.2f} s after the cut")
    field.witnesses.open("over-2")
    assert outcomes(final(client, over)) == ["LOST", "SUCCEEDED"]
    for gate in ("over-1", "refused-1"):
        field.witnesses.open(gate)
    wait_until(lambda: 1 in field.ended(over) and 1 in field.ended(refused))  # too late, and nobody knows
    assert all(map(field.ended, late))
    field.wait_until(cut_at + SCALE.long_s)
    field.network.heal()
    print(f"after {SCALE.long_s:g} s, the workers are back {field.wait_for_workers(client):.2f} s after the healing")

    # finished T, given up with no newer attempt: the result counts
    for job in late:
        assert outcomes(final(client, job)) == ["SUCCEEDED"]
    # running T, a newer attempt exists, or the job is final: it is ended
    for job in (moved, once):
        pid = field.witnesses.starts(job.key)[0].pid
        wait_until(lambda pid=pid: not psutil.pid_exists(pid), END_S, f"{job.key} still runs")
        assert field.ended(job) == []
    # finished T, a newer attempt exists: it does not count, whether that one has ended or not
    assert client.job(refused).state == "RUNNING"
    for gate in ("moved-2", "refused-2", "revived"):
        field.witnesses.open(gate)
    for job in (moved, refused):
        assert outcomes(final(client, job)) == ["LOST", "SUCCEEDED"]
    # running T, given up, no newer attempt: it goes on
    for job in revived:
        assert outcomes(final(client, job)) == ["SUCCEEDED"]
    dead = final(client, once)
    assert dead.state == "DEAD"
    assert "outcome unknown" in dead.reason


def nothing_was_counted_twice_and_nothing_is_left(field: Field, client: TitanClient) -> None:
    for job in field.jobs:
        status = client.job(job)
        ends = [event.after for event in client.events(job.key) if event.after in ("COMPLETED", "DEAD", "CANCELLED")]
        assert ends == [status.state]
        starts = field.witnesses.starts(job.key)
        assert len(starts) == len({line.number for line in starts}) <= len(status.attempts)
        for line in starts:
            wait_until(lambda pid=line.pid: not psutil.pid_exists(pid), END_S, f"{line} still runs")
    wait_until(lambda: not any(worker.used for worker in client.workers()), END_S, client.workers)
