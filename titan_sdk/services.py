"""Services: which there are, where they answer, and waiting until they do.

The master does not hold back what it knows of services, so whoever waits looks at them again and again;
one that is away for a moment is waited for. Any thread.
"""

from __future__ import annotations

from collections.abc import Iterator

from titan_core.errors import InvalidRequest, NotFound
from titan_core.protocol.checks import check_instances, shown
from titan_core.protocol.messages import Ack, ListServices, ScaleService, ServiceList, ServiceStatus
from titan_sdk.errors import ServiceFailed, WaitTimedOut
from titan_sdk.fields import read_field
from titan_sdk.jobs import TitanJob
from titan_sdk.patience import Deadline, ask_patiently
from titan_sdk.pipeline import Pipeline, located, prepared
from titan_sdk.polling import LOOK_S
from titan_sdk.submission import Submitter
from titan_sdk.transport import Transport

HOPELESS = ("CRASHLOOP", "DEAD", "STOPPED")
"""States of a service that it does not leave for READY by itself, or not soon."""


def find(transport: Transport, key: str) -> ServiceStatus:
    """The service that `key` names. Raises NotFound; InvalidRequest for a run with several services."""
    return _only(transport.ask(ListServices(key), ServiceList), key)


def addresses(service: ServiceStatus) -> list[str]:
    """`host:port` of each instance that is ready, in the order of the instances."""
    return [instance.address for instance in service.instances if instance.ready and instance.address]


def scale(transport: Transport, key: str, instances: int) -> Ack:
    """Ask for so many instances. Raises InvalidRequest, NotFound."""
    check_instances(read_field("instances", instances))
    return transport.ask(ScaleService(key, instances), Ack)


def update(submitter: Submitter, service: ServiceStatus, pipeline: Pipeline) -> Ack:
    """Give a service the definition that the job of its name has in a pipeline. Raises PipelineError, NotFound."""
    with located(pipeline), prepared(pipeline) as ready:
        return submitter.update(key_of(service), _named(service.job_id, ready), ready.folder)


def watch(transport: Transport, key: str, timeout_s: float | None = None) -> Iterator[ServiceStatus]:
    """The service as it is, then whenever something about it changed, for ever. Raises WaitTimedOut, NotFound."""
    deadline = Deadline(timeout_s)
    status = find(transport, key)
    told = None
    while True:
        if told != (told := _telling(status)):
            yield status
        if deadline.passed:
            raise WaitTimedOut(f"after {timeout_s:g} s, {key_of(status)} is still {_state(status)}")
        transport.pause(deadline.left_s(LOOK_S))
        question = ListServices(key_of(status))  # from now on this one, whatever `last` may become
        status = _only(ask_patiently(transport, question, ServiceList, deadline=deadline), question.key)


def until_ready(
    transport: Transport, key: str, timeout_s: float | None = None, since: int = 0
) -> Iterator[ServiceStatus]:
    """The service as it changes; the last is READY. With `since`, READY with a later revision than this one.

    Raises ServiceFailed as soon as it is CRASHLOOP, DEAD or STOPPED, or READY with an earlier revision again, as a
    later one was taken back; WaitTimedOut, NotFound.
    """
    newest = since + 1 if since else 0
    for status in watch(transport, key, timeout_s):
        yield status
        newest = max(newest, status.revision)
        ready = status.state == "READY"
        if status.state in HOPELESS or (ready and status.revision < newest):
            raise ServiceFailed(f"{key_of(status)} is {_state(status)}", status)
        if ready:
            return


def key_of(service: ServiceStatus) -> str:
    return f"{service.run_id}/{service.job_id}"


def _only(found: ServiceList, key: str) -> ServiceStatus:
    if not found.services:
        raise NotFound(f"there is no service {shown(key)}")
    if len(found.services) > 1:
        names = ", ".join(service.job_id for service in found.services[:10])
        raise InvalidRequest(f"{shown(key)} has {len(found.services)} services, say which: {names}", field="key")
    return found.services[0]


def _named(job_id: str, pipeline: Pipeline) -> TitanJob:
    for job in pipeline.jobs:
        if job.job_id == job_id:
            return job
    raise NotFound(f"{pipeline.source} has no job {shown(job_id)}, which is the service to update")


def _telling(status: ServiceStatus) -> object:
    """What about a service is worth telling when it changes: not what it takes."""
    instances = [(item.job_id, item.state, item.ready, item.address, item.attempt) for item in status.instances]
    return status.state, status.reason, status.wanted, status.revision, instances


def _state(status: ServiceStatus) -> str:
    return status.state + (f": {status.reason}" if status.reason else "")
