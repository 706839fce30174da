"""Services: the list, one of them with its instances, and what a person may do to it.

Those that are wanted come from the snapshot; one that nobody wants any more is asked of the master.
"""

from __future__ import annotations

from flask import request
from flask.typing import ResponseReturnValue

from dashboard import links
from dashboard.api import is_number
from dashboard.page import Page, act, confirm, render
from dashboard.parts import parts
from titan_core.protocol.checks import MAX_INSTANCES
from titan_core.protocol.messages import JobStatus, ServiceStatus
from titan_sdk.cli import rows
from titan_sdk.cli.text import plural
from titan_sdk.errors import InvalidRequest
from titan_sdk.services import key_of

page = Page("services", nav="Services")

STATES = ("READY", "STARTING", "WAITING", "UPDATING", "DEGRADED", "CRASHLOOP", "DEAD", "STOPPED")
_ENDED = {"DEAD": ("DEAD",), "STOPPED": ("CANCELLED", "COMPLETED")}
"""States of services that may not be wanted any more: those of their jobs."""
MAX_ENDED = 50
"""Of each such state, the newest."""


@page.get("/services")
def listing() -> ResponseReturnValue:
    snapshot, state = parts().cluster.look(), request.args.get("state", "")
    shown = [service for service in snapshot.services if state in ("", service.state)]
    return render(
        "services.html",
        services=shown,
        ended=_ended(state, {key_of(service) for service in snapshot.services}),
        state=state,
        states=STATES,
        key_of=key_of,
        where=rows.where,
        workers=_workers,
    )


@page.get("/services/<run_id>/<job_id>")
def one(run_id: str, job_id: str) -> ResponseReturnValue:
    service = _found(f"{run_id}/{job_id}")
    reasons = any(map(rows.instance_reason, service.instances))
    return render("service.html", service=service, where=rows.where, why=rows.instance_reason, reasons=reasons)


def _found(key: str) -> ServiceStatus:
    """Raises NotFound, InvalidRequest."""
    known = (service for service in parts().cluster.look().services if key_of(service) == key)
    return next(known, None) or parts().client.service(key)


def _ended(state: str, wanted: set[str]) -> list[JobStatus]:
    """Services that nobody wants any more, if it is them that are looked for."""
    client = parts().client
    found = [job for word in _ENDED.get(state, ()) for job in client.jobs(word, services=True, limit=MAX_ENDED).jobs]
    return [job for job in found if not job.instance_of and rows.key(job) not in wanted]


def _workers(service: ServiceStatus) -> list[str]:
    """Where its instances are."""
    return sorted({instance.worker for instance in service.instances if instance.state == "RUNNING"})


# ── actions ───────────────────────────────────────────────────────────────────────────────────────


@page.get("/services/<run_id>/<job_id>/start")
def ask_start(run_id: str, job_id: str) -> ResponseReturnValue:
    sentence = "It is wanted again; where it rests in a crash loop it is tried now."
    return confirm(f"Start {job_id}?", sentence, "Start", links.service(f"{run_id}/{job_id}"))


@page.post("/services/<run_id>/<job_id>/start")
def start(run_id: str, job_id: str) -> ResponseReturnValue:
    key = f"{run_id}/{job_id}"
    return act(lambda: parts().client.start_service(key), links.service(key))


@page.get("/services/<run_id>/<job_id>/stop")
def ask_stop(run_id: str, job_id: str) -> ResponseReturnValue:
    sentence = "All its instances are ended, and none is started again until somebody starts it."
    return confirm(f"Stop {job_id}?", sentence, "Stop", links.service(f"{run_id}/{job_id}"))


@page.post("/services/<run_id>/<job_id>/stop")
def stop(run_id: str, job_id: str) -> ResponseReturnValue:
    key = f"{run_id}/{job_id}"
    return act(lambda: parts().client.stop_service(key), links.service(key))


@page.get("/services/<run_id>/<job_id>/restart")
def ask_restart(run_id: str, job_id: str) -> ResponseReturnValue:
    sentence = "Its instances are replaced one after the other, so that with several it answers all the time."
    return confirm(f"Restart {job_id}?", sentence, "Restart", links.service(f"{run_id}/{job_id}"))


@page.post("/services/<run_id>/<job_id>/restart")
def restart(run_id: str, job_id: str) -> ResponseReturnValue:
    key = f"{run_id}/{job_id}"
    return act(lambda: parts().client.restart_service(key), links.service(key))


@page.get("/services/<run_id>/<job_id>/scale")
def ask_scale(run_id: str, job_id: str) -> ResponseReturnValue:
    service = _found(f"{run_id}/{job_id}")
    sentence = f"It has {plural(service.wanted, 'instance')} now. What is beyond the new number is ended."
    back, most = links.service(f"{run_id}/{job_id}"), MAX_INSTANCES
    return confirm(
        f"Scale {job_id}?", sentence, "Scale", back, "service_scale.html", wanted=service.wanted, most=most
    )


@page.post("/services/<run_id>/<job_id>/scale")
def scale(run_id: str, job_id: str) -> ResponseReturnValue:
    key = f"{run_id}/{job_id}"
    return act(lambda: parts().client.scale_service(key, _instances()), links.service(key))


def _instances() -> int:
    """Those of the form. Raises InvalidRequest."""
    text = request.form.get("instances", "").strip()
    if not (is_number(text) and 1 <= int(text) <= MAX_INSTANCES):
        sentence = f"instances is {text[:40]!r}; use a number from 1 to {MAX_INSTANCES:,}"
        raise InvalidRequest(sentence, field="instances")
    return int(text)
