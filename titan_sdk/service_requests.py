"""The requests of a client that concern services; a `key` names one as a person may type it, or by its handle."""

from __future__ import annotations

from collections.abc import Iterator

from titan_core.protocol.messages import (
    Ack,
    ListServices,
    RestartService,
    ServiceList,
    ServiceStatus,
    StartService,
    StopService,
)
from titan_sdk import services
from titan_sdk.handles import Key, key_of
from titan_sdk.jobs import TitanJob
from titan_sdk.pipeline import Pipeline, load
from titan_sdk.requests import Pathname, Requests


class ServiceRequests(Requests):
    """The part of a TitanClient for services."""

    def services(self, key: Key = "") -> tuple[ServiceStatus, ...]:
        """The services that are wanted; with a `key`, that service, or those of that run. Raises NotFound."""
        return self._ask(ListServices(key_of(key) if key else ""), ServiceList).services

    def service(self, key: Key) -> ServiceStatus:
        """A service with its instances. Raises NotFound; InvalidRequest for a run with several services."""
        return services.find(self._transport, key_of(key))

    def service_addresses(self, key: Key) -> list[str]:
        """`host:port` of each instance of a service that is ready. Raises NotFound."""
        return services.addresses(self.service(key))

    def wait_service(self, key: Key, timeout: float | None = None, since: int = 0) -> ServiceStatus:
        """The service once it is READY; with `since`, the `revision` it had before an update, once a later one is.

        Raises WaitTimedOut after `timeout` seconds, NotFound; ServiceFailed as soon as it is CRASHLOOP, DEAD or
        STOPPED, or the later revision was taken back.
        """
        *_, status = self.watch_service(key, timeout, since)
        return status

    def watch_service(self, key: Key, timeout: float | None = None, since: int = 0) -> Iterator[ServiceStatus]:
        """The service as it changes; ends once it is READY. Raises as `wait_service` does."""
        return services.until_ready(self._transport, key_of(key), timeout, since)

    def start_service(self, key: Key) -> Ack:
        """Want a stopped service again, or those of a run; try one in a crash loop now. Raises NotFound, Conflict."""
        return self._ask(StartService(key_of(key)), Ack)

    def stop_service(self, key: Key) -> Ack:
        """Stop a service, or those of a run; which, and a sentence. Raises NotFound, Conflict."""
        return self._ask(StopService(key_of(key)), Ack)

    def restart_service(self, key: Key) -> Ack:
        """Restart a service, or those of a run, one instance after the other. Raises NotFound, Conflict."""
        return self._transport.ask(RestartService(key_of(key)), Ack, repeatable=False)

    def scale_service(self, key: Key, instances: int) -> Ack:
        """Have so many instances of a service. Raises InvalidRequest, NotFound, Conflict."""
        return services.scale(self._transport, key_of(key), instances)

    def update_service(self, key: Key, job: TitanJob | Pipeline | Pathname) -> Ack:
        """Replace the definition of a service, one instance after the other: by `job`, or by the job of its name in a
        pipeline. Its id, parents, instances and scope stay. Raises InvalidRequest, NotFound, Conflict, PipelineError.
        """
        if isinstance(job, TitanJob):
            return self._submitter.update(key_of(key), job)
        pipeline = job if isinstance(job, Pipeline) else load(job)
        return services.update(self._submitter, self.service(key), pipeline)
