"""Workers: the list, one of them, and what a person may do to it."""

from __future__ import annotations

from flask import abort, request
from flask.typing import ResponseReturnValue

from dashboard import links
from dashboard.cluster import Snapshot
from dashboard.page import Page, act, confirm, render
from dashboard.parts import parts
from dashboard.present import since
from titan_core.protocol.messages import WorkerStatus
from titan_sdk.cli.text import plural

page = Page("workers", nav="Workers")


@page.get("/workers")
def listing() -> ResponseReturnValue:
    snapshot = parts().cluster.look()
    state, capability = request.args.get("state", ""), request.args.get("capability", "")
    shown = [worker for worker in snapshot.cluster.workers if _fits(worker, state, capability)]
    lost = [one for one in snapshot.cluster.lost if not capability or capability in one.capabilities]
    return render(
        "workers.html",
        workers=shown,
        lost=lost if state in ("", "lost") else [],
        state=state,
        capability=capability,
    )


@page.get("/workers/<worker_id>")
def one(worker_id: str) -> ResponseReturnValue:
    snapshot = parts().cluster.look()
    worker = snapshot.worker(worker_id)
    if worker is None:
        abort(404, _gone(worker_id, snapshot))
    return render("worker.html", worker=worker)


def _fits(worker: WorkerStatus, state: str, capability: str) -> bool:
    """`trouble` is a state here: of those that need a person."""
    troubled = worker.state == "DISCONNECTED" or bool(worker.trouble)
    in_state = troubled if state == "trouble" else state in ("", worker.state)
    return in_state and (not capability or capability in worker.capabilities)


def _gone(worker_id: str, snapshot: Snapshot) -> str:
    if snapshot.trouble:
        return f"worker {worker_id} is not known, and the master is not reached: {snapshot.trouble}"
    lost = next((one for one in snapshot.cluster.lost if one.worker_id == worker_id), None)
    if lost is not None:
        held = plural(lost.attempts, "attempt")
        return f"it was lost {since(lost.lost_wall)} ago, with {held}: {lost.reason}. It is back here when it is back"
    return f"worker {worker_id} is not in the cluster: it was stopped, or taken for dead more than a day ago"


# ── actions ───────────────────────────────────────────────────────────────────────────────────────


@page.get("/workers/<worker_id>/drain")
def ask_drain(worker_id: str) -> ResponseReturnValue:
    sentence = "It gets no more jobs, and finishes those that it runs. This can be undone."
    return confirm(f"Drain {worker_id}?", sentence, "Drain", links.worker(worker_id))


@page.post("/workers/<worker_id>/drain")
def drain(worker_id: str) -> ResponseReturnValue:
    return act(lambda: parts().client.drain_worker(worker_id), links.worker(worker_id))


@page.get("/workers/<worker_id>/undrain")
def ask_undrain(worker_id: str) -> ResponseReturnValue:
    return confirm(f"Give {worker_id} work again?", "It gets jobs again.", "Give it work", links.worker(worker_id))


@page.post("/workers/<worker_id>/undrain")
def undrain(worker_id: str) -> ResponseReturnValue:
    return act(lambda: parts().client.drain_worker(worker_id, undo=True), links.worker(worker_id))


@page.get("/workers/<worker_id>/shutdown")
def ask_shutdown(worker_id: str) -> ResponseReturnValue:
    worker = parts().cluster.look().worker(worker_id)
    busy = len(worker.jobs) if worker else 0
    sentence = f"It runs {plural(busy, 'job')} at present, and stops once they are over."
    back = links.worker(worker_id)
    return confirm(f"Stop {worker_id}?", sentence, "Stop it", back, "worker_shutdown.html", worker=worker)


@page.post("/workers/<worker_id>/shutdown")
def shutdown(worker_id: str) -> ResponseReturnValue:
    force, now = "force" in request.form, "now" in request.form
    return act(lambda: parts().client.shutdown_worker(worker_id, force, now), links.workers())
