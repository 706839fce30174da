"""The cluster in plain figures, in the shape of the STATS_JSON that text clients know, and a little more."""

from __future__ import annotations

from typing import Any

from titan_core.protocol.messages import ClusterStatus, PoolStatus, WorkerStatus


def figures(cluster: ClusterStatus) -> dict[str, Any]:
    """`active_workers`, `queue_size`, `jobs` (a count by state), `trouble` (why the master takes no submissions, or
    empty), `workers` and `pools` (a dict each)."""
    jobs = {item.state: item.count for item in cluster.counts}
    return {
        "active_workers": sum(worker.state != "DISCONNECTED" for worker in cluster.workers),
        "queue_size": jobs.get("QUEUED", 0),
        "jobs": jobs,
        "trouble": cluster.trouble,
        "workers": [_worker(worker) for worker in cluster.workers],
        "pools": [_pool(pool) for pool in cluster.pools],
    }


def _pool(pool: PoolStatus) -> dict[str, Any]:
    return {
        "capability": pool.capability,
        "workers": pool.workers,
        "load": f"{pool.slots - pool.free}/{pool.slots}",
        "waiting": pool.waiting,
        "starting": pool.starting,
        "trouble": pool.trouble,
    }


def _worker(worker: WorkerStatus) -> dict[str, Any]:
    return {
        "id": worker.worker_id,
        "port": int(worker.worker_id.rpartition(":")[2]),
        "state": worker.state,
        "capabilities": f"[{', '.join(worker.capabilities)}]",
        "load": f"{worker.used}/{worker.slots}",
        "active_job": worker.jobs[0] if worker.jobs else None,
        "jobs": list(worker.jobs),
        "services": list(worker.services),
        "history": [
            {"id": item.key, "status": item.state, "time": f"{item.duration_s * 1000:.0f}ms"}
            for item in worker.history
        ],
    }
