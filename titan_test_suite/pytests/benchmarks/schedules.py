"""Schedules: what many of them cost a master that has nothing to do, and how soon after its slot a fire is there.

Many: one master with none and one with thousands live side by side and take turns, so that what is measured of one
has the machine of the other. None of theirs is due meanwhile.

At once: a thousand schedules of two workers are due in the same second. When each was launched is in its ledger; when
its job ran is when its file was made. A client asks for something else all the time.

Alone: a schedule is due every second, so that each fire finds the master asleep; an instant worker (see `instant`)
says when it came.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path

from titan_core.instants import utc_text
from titan_sdk import TitanClient, TitanJob
from titan_test_suite.pytests.benchmarks.cluster import companion, running_cluster
from titan_test_suite.pytests.benchmarks.figures import Figure, Plan, at_most, p50_and_p99, percentile
from titan_test_suite.pytests.benchmarks.jobs import OneFileJobs
from titan_test_suite.pytests.benchmarks.processes import busy_percent, resident_mb
from titan_test_suite.pytests.support.cluster import Cluster
from titan_test_suite.pytests.support.waiting import wait_until

NONE = "with none"
FEW = "the first ones"
ADDED = 200
"""Schedules that are added to each of the two masters, in turns, once the one has its thousands."""
SETTLE_S = 3.0
DUE_IN_S = 2
"""From adding the last of those that are due at once until they are."""
LONGEST_S = 120.0


def measure(plan: Plan) -> list[Figure]:
    return [*_many(plan), *_at_once(plan), *_alone(plan)]


# ── many ──────────────────────────────────────────────────────────────────────────────────────────


def _many(plan: Plan) -> list[Figure]:
    count = plan.size(10_000, 1_000)
    few_s: list[float] = []
    many_s: list[float] = []
    with running_cluster(0) as empty, running_cluster(0) as full:
        plan.say(f"adding {count:,} schedules")
        with full.client() as client:
            for number in range(count):
                _add(client, number, full)
        seconds = plan.size(20, 5)
        plan.say(f"{count:,} schedules, and none, doing nothing for {seconds} s")
        busy = _busy(seconds, empty, full)
        resident = resident_mb(full.master.pid), resident_mb(empty.master.pid)
        restarts: list[tuple[float, float]] = []
        for number in range(plan.rounds):
            plan.say(f"restart with {count:,} schedules, and with none, round {number + 1} of {plan.rounds}")
            restarts.append((_restart_s(full), _restart_s(empty)))
        plan.say(f"adding {ADDED} more, and the first {ADDED}")
        with empty.client() as first, full.client() as last:
            for number in range(ADDED):
                few_s.append(_add(first, number, empty))
                many_s.append(_add(last, count + number, full))
    name = f"{count:,} schedules"
    return [
        Figure(f"{name}: CPU at rest", "% of a core", [busy[full]], [at_most(0.3)], {NONE: [busy[empty]]}),
        Figure(f"{name}: memory", "MB", [resident[0]], beside={NONE: [resident[1]]}),
        Figure(
            f"{name}: killed to listening", "s", [r[0] for r in restarts], beside={NONE: [r[1] for r in restarts]}
        ),
        _added(f"{name}: adding one, p50", 50, many_s, few_s),
        _added(f"{name}: adding one, p99", 99, many_s, few_s),
    ]


def _add(client: TitanClient, number: int, cluster: Cluster) -> float:
    """One that is due tomorrow; how many seconds that took."""
    job = TitanJob("job", str(_program(cluster)), args=[str(number)])
    begun_at = time.perf_counter()
    client.schedule(f"schedule-{number}", job, every="1d")
    return time.perf_counter() - begun_at


def _added(name: str, percent: float, many_s: list[float], few_s: list[float]) -> Figure:
    many, few = (1000 * percentile(samples, percent) for samples in (many_s, few_s))
    return Figure(name, "ms", [many], [at_most(5)], {FEW: [few]})


def _busy(seconds: float, *clusters: Cluster) -> dict[Cluster, float]:
    """What their masters compute meanwhile, in percent of a core."""
    time.sleep(SETTLE_S)
    busy = busy_percent([cluster.master.pid for cluster in clusters], seconds)
    return dict(zip(clusters, busy, strict=True))


def _restart_s(cluster: Cluster) -> float:
    port = str(cluster.port)
    cluster.master.kill()
    begun_at = time.perf_counter()
    cluster.start_master("--port", port)
    return time.perf_counter() - begun_at


def _program(cluster: Cluster) -> Path:
    directory = cluster.home / "program"
    if not directory.exists():
        OneFileJobs("shell", 0, directory)
    return directory / "touch-one"


# ── at once ───────────────────────────────────────────────────────────────────────────────────────


def _at_once(plan: Plan) -> list[Figure]:
    count = plan.size(1_000, 100)
    launched, started, waited = [], [], []
    for number in range(plan.rounds):
        plan.say(f"{count:,} schedules due in the same second, round {number + 1} of {plan.rounds}")
        with running_cluster() as cluster, cluster.client() as client:
            jobs = OneFileJobs("shell", count, cluster.home / "jobs")
            slot = _define(client, jobs)
            waited.append(1000 * _longest_wait_s(client, jobs))
            launches = [line.decided_wall - slot for status in client.schedules() for line in status.last]
            assert len(launches) == count, f"{len(launches)} of {count} have fired"
            launched.append(max(launches))
            started.append(max(Path(output).stat().st_mtime for output in jobs.outputs) - slot)
    name = f"{count:,} due at once"
    return [
        Figure(f"{name}: all launched", "s", launched, [at_most(2)]),
        Figure(f"{name}: all ran", "s", started),
        Figure(f"{name}: longest wait of a request", "ms", waited),
    ]


def _define(client: TitanClient, jobs: OneFileJobs) -> int:
    """All of them, for the same second; which."""
    took_s = 0.01 * len(jobs)
    slot = math.ceil(time.time() + took_s) + DUE_IN_S
    for number, output in enumerate(jobs.outputs):
        client.schedule(f"schedule-{number}", TitanJob("job", str(jobs.program), args=[output]), at=utc_text(slot))
    assert time.time() < slot, "adding them took too long"
    return slot


def _longest_wait_s(client: TitanClient, jobs: OneFileJobs) -> float:
    """Ask for something until all have run."""
    longest_s, until_at = 0.0, time.perf_counter() + LONGEST_S
    while not jobs.all_done():
        assert time.perf_counter() < until_at, "they did not all run"
        begun_at = time.perf_counter()
        client.get_schedule("schedule-0")
        longest_s = max(longest_s, time.perf_counter() - begun_at)
        time.sleep(0.005)
    return longest_s


# ── alone ─────────────────────────────────────────────────────────────────────────────────────────


def _alone(plan: Plan) -> list[Figure]:
    decided, came = [], []
    for number in range(plan.rounds):
        plan.say(f"a fire each second, round {number + 1} of {plan.rounds}")
        of_round = _lateness_s(plan.size(20, 5))
        decided.append(of_round[0])
        came.append(of_round[1])
    return [
        *p50_and_p99("a fire: slot → launched", decided, [], [at_most(5)]),
        *p50_and_p99("a fire: slot → on the worker", came, [], [at_most(5)]),
    ]


def _lateness_s(count: int) -> tuple[list[float], list[float]]:
    """Of so many fires: until each was launched, and until it was on the worker."""
    with running_cluster(workers=0) as cluster, cluster.client() as client:
        record = cluster.home / "came"
        with companion(cluster, "instant", cluster.home, cluster.port, 1, 4, record):
            wait_until(lambda: client.workers(), 20)
            job = TitanJob("job", str(_program(cluster)))
            client.schedule("each-second", job, every="1s", overlap="allow", end=utc_text(time.time() + count + 1))
            wait_until(lambda: client.get_schedule("each-second").state == "FINISHED", count + 30.0)
            lines = client.schedule_history("each-second", outcome="RAN")
            wait_until(lambda: len(list(_came(record))) == len(lines), 20)
        decided = [line.decided_wall - line.slot_wall for line in lines]
        late = [wall - int(line.slot_wall) for wall, line in zip(_came(record), reversed(lines), strict=True)]
        assert min(decided + late) >= 0, "one of them was early"
        return decided, late


def _came(record: Path) -> Iterator[float]:
    with contextlib.suppress(FileNotFoundError):
        yield from (float(line.split()[1]) for line in record.read_text().splitlines())
