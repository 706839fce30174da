"""The services that last as long as the storm: clients scale and restart them, and they must be there in the end."""

from __future__ import annotations

import random
from collections.abc import Callable

from titan_core.protocol.messages import Ack, ListServices, RestartService, ScaleService, ServiceList, ServiceStatus
from titan_sdk.errors import Conflict
from titan_sdk.transport import Transport
from titan_test_suite.torture.plans import INSTANCES
from titan_test_suite.torture.promises import Promise

_MOST_INSTANCES = 4
Patiently = Callable[..., object]
"""`Client.patiently`: asks until there is an answer, or a refusal of one of the kinds that are given."""


def disturb(chance: random.Random, transport: Transport, promise: Promise, patiently: Patiently) -> str:
    """Ask for something; what. A refusal, such as of a service that is being renewed, is no matter."""
    key = key_of(promise)
    promise.disturbed = True
    try:
        if promise.plan.kind == "twin" and chance.random() < 0.5:
            patiently(lambda: transport.ask(ScaleService(key, chance.randint(1, _MOST_INSTANCES)), Ack), Conflict)
            return "scaled"
        patiently(lambda: transport.ask(RestartService(key), Ack), Conflict)
        return "restarted"
    except Conflict:
        return "refused"


def settle(transport: Transport, promise: Promise, patiently: Patiently) -> bool:
    """Have it scaled to what is wanted in the end; whether that was granted."""
    if promise.plan.kind != "twin":
        return True
    try:
        patiently(lambda: transport.ask(ScaleService(key_of(promise), INSTANCES), Ack), Conflict)
        return True
    except Conflict:  # it is still being renewed
        return False


def key_of(promise: Promise) -> str:
    return f"{promise.run_id}/{promise.plan.jobs[0].job_id}"


def present(transport: Transport, promise: Promise) -> ServiceStatus:
    (status,) = transport.ask(ListServices(key_of(promise)), ServiceList).services
    return status


def fault(status: ServiceStatus, wanted: int) -> str:
    """What is not as it is to be; empty: nothing."""
    ready = sum(one.ready for one in status.instances)
    if status.state == "READY" and ready == wanted == status.wanted:
        return ""
    instances = "; ".join(f"{one.job_id} {one.state}: {one.reason}" for one in status.instances)
    return f"is {status.state} with {ready} of {wanted} instances ready ({instances})"


def executions(status: ServiceStatus) -> set[str]:
    """What `evidence.processes_of_jobs` says of the processes that it is to have."""
    return {f"{status.run_id}/{one.job_id}#{one.attempt}" for one in status.instances if one.ready}
