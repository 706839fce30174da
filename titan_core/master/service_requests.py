"""What people ask of services: stop, start, restart, scale, update and list them.

Functions behind requests, called by the threads of connections, as in `operations`.
"""

from __future__ import annotations

from titan_core.errors import Conflict, InvalidRequest, NotFound
from titan_core.master.engine import Engine
from titan_core.master.finder import Finder
from titan_core.master.submissions import Submissions
from titan_core.master.views import Usage, Views, usage_of
from titan_core.protocol import messages
from titan_core.protocol.checks import check_instances, shown
from titan_core.scheduler.events import (
    ServiceRestartRequested,
    ServiceScaleRequested,
    ServiceStartRequested,
    ServiceStopRequested,
    ServiceUpdateRequested,
)
from titan_core.scheduler.model import Job, Service
from titan_core.scheduler.services import named
from titan_core.scheduler.state import State


class ServiceRequests:
    """Raises NotFound, Conflict, InvalidRequest."""

    def __init__(self, engine: Engine, finder: Finder, submissions: Submissions, views: Views) -> None:
        self._engine = engine
        self._finder = finder
        self._submissions = submissions
        self._views = views

    def stop(self, request: messages.StopService) -> messages.Ack:
        run_id, job_id = self._named(request.key)
        keys = self._keys(run_id, job_id)
        self._engine.submit(ServiceStopRequested(run_id, job_id, "stopped on request"))
        return _answer(keys, "stopping")

    def start(self, request: messages.StartService) -> messages.Ack:
        run_id, job_id = self._named(request.key)
        self._engine.submit(ServiceStartRequested(run_id, job_id))
        return _answer(self._keys(run_id, job_id), "starting")

    def restart(self, request: messages.RestartService) -> messages.Ack:
        run_id, job_id = self._named(request.key)
        self._engine.submit(ServiceRestartRequested(run_id, job_id))
        return _answer(self._keys(run_id, job_id), "restarting")

    def scale(self, request: messages.ScaleService) -> messages.Ack:
        check_instances(request.instances)
        run_id, job_id = self._named_service(request.key)
        self._engine.submit(ServiceScaleRequested(run_id, job_id, request.instances))
        return _answer(self._keys(run_id, job_id), f"scaled to {request.instances}")

    def update(self, request: messages.UpdateService) -> messages.Ack:
        """Raises also AssetMissing, Unavailable."""
        if not request.job.service:
            raise InvalidRequest(f"{shown(request.job.job_id)} is no service; add type: service", field="type")
        run_id, job_id = self._named_service(request.key)
        spec = self._submissions.definition(request.job, request.contents)
        self._engine.submit(ServiceUpdateRequested(run_id, job_id, spec))
        return _answer(self._keys(run_id, job_id), "being updated")

    def listing(self, request: messages.ListServices) -> messages.ServiceList:
        usage = usage_of(self._engine.sessions())
        found = self._of_key(request.key) if request.key else self._engine.read(_wanted)
        return messages.ServiceList(tuple(self._status(service, usage) for service in found))

    def _status(self, service: Service, usage: Usage) -> messages.ServiceStatus:
        """As it is when it is read: many together would hold the lock for too long."""
        return self._engine.read(lambda state: self._views.service(state, service, usage))

    def _of_key(self, key: str) -> list[Service]:
        """Those of a run, also of one that is history, or the one that a key names."""
        run, job = self._finder.run_or_job(key)
        if job is None:
            return list(run.services.values())
        return self._engine.read(lambda state: named(run, job.job_id))

    def _named(self, key: str) -> tuple[str, str]:
        """The run, and the job in it if one is meant; in memory, for a change."""
        run, job = self._finder.run_or_job_in_memory(key)
        if job is not None:
            _check_whole(job)
        return run.run_id, job.job_id if job else ""

    def _named_service(self, key: str) -> tuple[str, str]:
        """As `_named`, for what concerns one service. A run with one service stands for that."""
        run, job = self._finder.run_or_job_in_memory(key)
        if job is not None:
            _check_whole(job)
            return run.run_id, job.job_id
        names = list(run.services)
        if len(names) != 1:
            some = f"has {len(names)} services" if names else "has no service"
            raise NotFound(f"run {shown(run.run_id)} {some}; name one as {run.run_id}/<job id>")
        return run.run_id, names[0]

    def _keys(self, run_id: str, job_id: str) -> tuple[str, ...]:
        def look(state: State) -> tuple[str, ...]:
            return tuple(service.key for service in named(state.runs[run_id], job_id))

        return self._engine.read(look)


def _wanted(state: State) -> list[Service]:
    """Every service that somebody wants, oldest first."""
    return [service for run in state.runs.values() for service in run.services.values() if service.live]


def _check_whole(job: Job) -> None:
    """What concerns a service names it, not one of its further instances."""
    service = job.service
    if service is not None and service.head is not job:
        name = service.head.job_id
        raise Conflict(
            f"{job.key} is one instance of service {name}: name that one, or scale it: titan scale {name} N"
        )


def _answer(keys: tuple[str, ...], what: str) -> messages.Ack:
    if len(keys) == 1:
        return messages.Ack(f"service {keys[0]} is {what}", keys)
    return messages.Ack(f"{len(keys)} services are {what}", keys)
