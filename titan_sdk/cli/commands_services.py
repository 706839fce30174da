"""The commands for services: services, start, stop, restart, scale, update; and the `--wait` of deploy.

Ctrl-C ends the waiting only; the service stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from titan_sdk.cli import rows
from titan_sdk.cli.commands_act import done
from titan_sdk.cli.exits import Exit
from titan_sdk.services import key_of

if TYPE_CHECKING:
    from titan_core.protocol.messages import Ack, ServiceStatus
    from titan_sdk.cli.context import Context


def services(context: Context) -> int:
    """The services; of one that is named, its instances."""
    out, key = context.out, context.options.key or ""
    found = context.client.services(key)
    if not key or len(found) != 1 or out.json:
        out.listing(found, key_of, rows.filled(found, rows.SERVICES), "services")
        return Exit.OK
    (service,) = found
    out.say(_heading(service))
    shown = rows.filled(service.instances, rows.INSTANCES)
    out.listing(service.instances, lambda item: f"{service.run_id}/{item.job_id}", shown, "instances")
    return Exit.OK


def start(context: Context) -> int:
    return _asked(context, context.client.start_service(context.options.key))


def stop(context: Context) -> int:
    return done(context, context.client.stop_service(context.options.key))


def scale(context: Context) -> int:
    return _asked(context, context.client.scale_service(context.options.key, context.options.instances))


def restart(context: Context) -> int:
    before = _revisions(context)
    return _asked(context, context.client.restart_service(context.options.key), before)


def update(context: Context) -> int:
    """Replace a service's definition by a file with flags, or by the job of its id in a pipeline."""
    from titan_core.protocol.checks import AUTO_PORT
    from titan_sdk.cli.commands_submit import is_pipeline, service_job
    from titan_sdk.fields import AUTO

    options, client = context.options, context.client
    before = _revisions(context)
    if is_pipeline(options.file):
        return _asked(context, client.update_service(options.key, options.file), before)
    service = client.service(options.key)
    port = options.port or (AUTO if service.port == AUTO_PORT else service.port)
    answer = client.update_service(key_of(service), service_job(context, service.job_id, port))
    return _asked(context, answer, before)


def wait_until_ready(context: Context, revisions: Mapping[str, int], accepted: str) -> int:
    """Show each service, by its key, until it is ready with a later revision than the given one."""
    from titan_sdk.cli.service_progress import show

    context.out.say(accepted)
    for key, since in revisions.items():
        try:
            status = show(context.out, context.client.watch_service(key, context.options.patience, since))
        except KeyboardInterrupt:
            context.connection.close()
            context.out.warn(f"{key} stays as it is; look at it with: titan services {key}")
            return Exit.INTERRUPTED
        context.out.done(_heading(status), [key], status)
    return Exit.OK


def _revisions(context: Context) -> dict[str, int]:
    """Before a change that is waited for: those of the services that are meant, by key."""
    found = context.client.services(context.options.key) if context.options.wait else ()
    return {key_of(service): service.revision for service in found}


def _asked(context: Context, answer: Ack, before: Mapping[str, int] = MappingProxyType({})) -> int:
    """Tell what the master answered, or wait until the services that it concerned are ready."""
    if not context.options.wait:
        return done(context, answer)
    return wait_until_ready(context, {key: before.get(key, 0) for key in answer.keys}, answer.text)


def _heading(service: ServiceStatus) -> str:
    """`site-…/web is READY, 2 of 2 ready: host:9100, host:9101`."""
    reason = f" ({service.reason})" if service.reason else ""
    where = rows.where(service) if service.ready else ""
    ready = f"{service.ready} of {service.wanted} ready" + (f": {where}" if where else "")
    return f"{key_of(service)} is {service.state}{reason}, {ready}"
