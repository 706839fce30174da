"""The snapshot, and the dashboard itself, in the text format of Prometheus. Pure but for what it is handed.

While the master is away `titan_up` is 0 and the cluster's series are left out: an old value would look like new.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dashboard.cluster import Snapshot
from dashboard.rings import Figures
from titan_sdk.cli.states import JOB_STATES, RUN_STATES

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
WORKER_STATES = ("ONLINE", "DISCONNECTED", "DRAINING")
SERVICE_STATES = ("READY", "UPDATING", "STARTING", "WAITING", "DEGRADED", "CRASHLOOP", "DEAD", "STOPPED")
SCHEDULE_STATES = ("ACTIVE", "PAUSED", "FINISHED")

Labels = dict[str, str]


@dataclass(frozen=True, slots=True)
class Family:
    """A metric: its name, what it says, and a value for each set of labels."""

    name: str
    about: str
    samples: tuple[tuple[Labels, float], ...]
    kind: str = "gauge"


def written(families: Iterable[Family]) -> str:
    return "".join(f"{line}\n" for family in families for line in _lines(family))


def of_cluster(snapshot: Snapshot) -> Iterator[Family]:
    up = snapshot.known and not snapshot.trouble
    yield _one("titan_up", "Whether the master is reached.", float(up))
    yield _one("titan_snapshot_timestamp_seconds", "When the master was last reached.", snapshot.as_of)
    if up:
        yield from _workers(snapshot)
        yield from _pools(snapshot)
        yield from _work(snapshot)
        yield from _schedules(snapshot)


def of_dashboard(requests: dict[tuple[str, int], int], streams: int) -> Iterator[Family]:
    samples = tuple(
        ({"method": method, "status": str(status)}, float(count)) for (method, status), count in requests.items()
    )
    yield Family("titan_dashboard_requests_total", "Requests the dashboard has answered.", samples, "counter")
    yield _one("titan_dashboard_streams", "Browsers that are told of changes.", streams)


def of_collector(figures: Figures) -> Iterator[Family]:
    for name, about, count in (
        ("datagrams", "Datagrams with what jobs print that were taken.", figures.datagrams),
        ("bytes", "Bytes of logs in them.", figures.bytes),
        ("refused", "Datagrams that no worker of this cluster sent.", figures.refused),
        ("repeated", "Datagrams that brought nothing new.", figures.repeated),
        ("late", "Datagrams that came after later ones.", figures.late),
        ("gaps", "Times that something was missing before a datagram.", figures.gaps),
    ):
        yield Family(f"titan_dashboard_log_{name}_total", about, (({}, float(count)),), "counter")
    yield _one("titan_dashboard_log_attempts", "Attempts of which something is kept.", figures.attempts)
    yield _one("titan_dashboard_log_kept_bytes", "Bytes of logs that are kept.", figures.kept_bytes)


def _workers(snapshot: Snapshot) -> Iterator[Family]:
    workers = snapshot.cluster.workers
    yield _by_state("titan_workers", "Workers.", (worker.state for worker in workers), WORKER_STATES)
    yield _one("titan_workers_in_trouble", "Workers that can not run jobs.", sum(bool(w.trouble) for w in workers))
    yield _each("titan_worker_slots", "Slots of a worker.", ((w.worker_id, w.slots) for w in workers))
    yield _each("titan_worker_slots_used", "Slots in which a job runs.", ((w.worker_id, w.used) for w in workers))
    yield _each(
        "titan_worker_cpu_percent", "As the worker last said.", ((w.worker_id, w.cpu_percent) for w in workers)
    )
    yield _each(
        "titan_worker_memory_used_bytes", "As the worker last said.", ((w.worker_id, w.memory_used) for w in workers)
    )


def _pools(snapshot: Snapshot) -> Iterator[Family]:
    for name, about, value in (
        ("slots", "Slots of the workers with a capability.", "slots"),
        ("slots_free", "Those in which nothing runs.", "free"),
        ("waiting", "Jobs that wait for a slot, counted up to 10,000.", "waiting"),
        ("starting", "Workers that were asked for.", "starting"),
    ):
        samples = ((pool.capability, getattr(pool, value)) for pool in snapshot.cluster.pools)
        yield _each(f"titan_pool_{name}", about, samples, "capability")


def _work(snapshot: Snapshot) -> Iterator[Family]:
    jobs = tuple(({"state": state}, float(snapshot.counts.get(state, 0))) for state in JOB_STATES)
    yield Family("titan_jobs", "Jobs that the master remembers.", jobs)
    yield _one("titan_queue_size", "Jobs that are ready and wait for a slot.", snapshot.waiting.total)
    yield _one("titan_dead_jobs", "Dead jobs, also of past runs.", snapshot.dead.total)
    about = f"The newest runs, {len(snapshot.runs)} of them."
    yield _by_state("titan_recent_runs", about, (run.state for run in snapshot.runs), RUN_STATES)
    states = (service.state for service in snapshot.services)
    yield _by_state("titan_services", "Services that are wanted.", states, SERVICE_STATES)


def _schedules(snapshot: Snapshot) -> Iterator[Family]:
    states = (schedule.state for schedule in snapshot.schedules)
    yield _by_state("titan_schedules", "Schedules.", states, SCHEDULE_STATES)
    missed = sum(fire.outcome == "MISSED" for fire in snapshot.fires)
    yield _one("titan_fires_missed_last_day", "Lines of ledgers: fires that were missed.", missed)
    yield _one("titan_fires_failed_last_day", "Fires whose run failed or never was.", len(snapshot.fires) - missed)


# ── the format ────────────────────────────────────────────────────────────────────────────────────


def _one(name: str, about: str, value: float) -> Family:
    return Family(name, about, (({}, value),))


def _each(name: str, about: str, values: Iterable[tuple[str, float]], label: str = "worker") -> Family:
    return Family(name, about, tuple(({label: key}, value) for key, value in values))


def _by_state(name: str, about: str, states: Iterable[str], known: tuple[str, ...]) -> Family:
    """Also those that are 0, so that an alarm has something to compare."""
    counts = Counter(states)
    names = dict.fromkeys((*known, *sorted(counts)))
    return Family(name, about, tuple(({"state": state}, float(counts[state])) for state in names))


def _lines(family: Family) -> Iterator[str]:
    about = family.about.replace("\\", "\\\\").replace("\n", "\\n")
    yield f"# HELP {family.name} {about}"
    yield f"# TYPE {family.name} {family.kind}"
    for labels, value in family.samples:
        named = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
        yield f"{family.name}{{{named}}} {_number(value)}" if named else f"{family.name} {_number(value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "NaN"
    return str(int(value)) if value == int(value) else repr(float(value))
