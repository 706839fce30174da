"""The state of the cluster as clients of the Java system expect it: the monitor text, and their JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from titan_core.protocol.messages import ClusterStatus, WorkerHistory, WorkerStatus
from titan_core.protocol.text import ID_PREFIX

_RULE = "-" * 31
_TIMED = ("DELAYED", "FAILED", "CRASHLOOP")
"""States of jobs that wait for their time: the last two for their next attempt."""
_LOCAL = ("localhost", "127.0.0.1", "::1", "[::1]")


def stats_text(cluster: ClusterStatus) -> str:
    """The monitor block: counts, then each worker with its load, skills and services."""
    return "\n".join(_monitor_lines(cluster)) + "\n"


def stats_json(cluster: ClusterStatus) -> str:
    """The cluster as one JSON object; jobs and services go by their `DAG-` ids."""
    value = {
        "active_workers": _active(cluster),
        "queue_size": _counts(cluster).get("QUEUED", 0),
        "workers": [_worker_json(worker) for worker in cluster.workers],
    }
    return json.dumps(value, ensure_ascii=False)


def _monitor_lines(cluster: ClusterStatus) -> Iterator[str]:
    counts = _counts(cluster)
    waiting = sum(counts.get(state, 0) for state in _TIMED)
    yield "--- TITAN SYSTEM MONITOR ---"
    yield f"Active Workers:    {_active(cluster)}"
    yield f"Execution Queue:   {counts.get('QUEUED', 0)} jobs"
    yield f"Delayed (Time):    {waiting} jobs"
    yield f"Blocked (DAG):     {counts.get('BLOCKED', 0)} jobs"
    yield f"Dead Letter (DLQ): {counts.get('DEAD', 0)} jobs"
    if cluster.trouble:
        yield f"Trouble:           {cluster.trouble}"
    yield _RULE
    yield "Worker Status:" if cluster.workers else "Worker Status: no worker is connected"
    for worker in cluster.workers:
        yield _worker_line(worker)
        yield from (f"    └── Service ID: {key}" for key in worker.services)


def _worker_line(worker: WorkerStatus) -> str:
    host, port = _address(worker)
    percent = 100 * worker.used // worker.slots if worker.slots else 0
    line = f" • [{port}] Load: {worker.used}/{worker.slots} ({percent}%) | Skills: {_skills(worker)}"
    if host not in _LOCAL:
        line += f" | Host: {host}"
    return line if worker.state == "ONLINE" else f"{line} | {worker.state}"


def _worker_json(worker: WorkerStatus) -> dict[str, Any]:
    return {
        "port": _address(worker)[1],
        "capabilities": _skills(worker),
        "load": f"{worker.used}/{worker.slots}",
        "active_job": _prefixed(worker.jobs[0]) if worker.jobs else None,
        "history": [_entry(attempt) for attempt in worker.history],
        "services": [_prefixed(key) for key in worker.services],
    }


def _entry(attempt: WorkerHistory) -> dict[str, str]:
    status = "COMPLETED" if attempt.state == "SUCCEEDED" else attempt.state
    return {"id": _prefixed(attempt.key), "status": status, "time": f"{attempt.duration_s * 1000:.0f}ms"}


def _prefixed(key: str) -> str:
    return ID_PREFIX + key.rpartition("/")[2]


def _skills(worker: WorkerStatus) -> str:
    return f"[{', '.join(worker.capabilities)}]"


def _address(worker: WorkerStatus) -> tuple[str, int]:
    host, _, port = worker.worker_id.rpartition(":")
    return host, int(port) if port.isdecimal() else 0


def _active(cluster: ClusterStatus) -> int:
    return sum(worker.state != "DISCONNECTED" for worker in cluster.workers)


def _counts(cluster: ClusterStatus) -> dict[str, int]:
    return {count.state: count.count for count in cluster.counts}
