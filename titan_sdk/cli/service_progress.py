"""A service while one waits for it to be ready: its instances redrawn on a terminal, lines elsewhere, or nothing.

Knows no connection. On a terminal, rich redraws from a thread of its own, so that times tick; what it
draws is one value, which is replaced as a whole.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from titan_sdk.cli import rows
from titan_sdk.cli.progress import REFRESH_PER_S
from titan_sdk.cli.text import clock

if TYPE_CHECKING:
    from rich.console import Group

    from titan_core.protocol.messages import InstanceStatus, ServiceStatus
    from titan_sdk.cli.output import Output


def show(out: Output, statuses: Iterable[ServiceStatus]) -> ServiceStatus:
    """Follow a service to its last status, which is returned."""
    lines, live = Lines(out), Live(out) if out.live else None
    with live.redrawing() if live else contextlib.nullcontext():
        for status in statuses:
            (live or lines).update(status)
    return status


class Lines:
    """A line for each change of an instance, and for each step of a renewal."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._told: dict[str, str] = {}

    def update(self, status: ServiceStatus) -> None:
        for instance in status.instances:
            self._tell(instance.job_id, _line(instance))
        self._tell("", _renewal(status))

    def _tell(self, what: str, told: str) -> None:
        if self._told.get(what, "") != told:
            self._told[what] = told
            if told:
                self._out.say(f"{clock(time.time())}  {told}")


class Live:
    """A row for each instance, and how far a renewal is."""

    def __init__(self, out: Output) -> None:
        self._console = out.talk_console
        self._instances: tuple[InstanceStatus, ...] = ()
        self._renewal = ""

    def redrawing(self) -> AbstractContextManager[object]:
        from rich.live import Live as Redraw

        return Redraw(
            console=self._console, get_renderable=self._drawn, refresh_per_second=REFRESH_PER_S, redirect_stdout=False
        )

    def update(self, status: ServiceStatus) -> None:
        self._instances, self._renewal = status.instances, _renewal(status)

    def _drawn(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        from titan_sdk.cli.tables import drawn

        shown = self._instances[: max(3, self._console.height - 5)]
        table = drawn(shown, rows.filled(shown, rows.INSTANCES), self._console.width)
        return Group(table, Text(self._renewal)) if self._renewal else Group(table)


def _renewal(status: ServiceStatus) -> str:
    """`web is UPDATING: 1 of 2 renewed to revision 3`; empty: it is not being renewed."""
    return f"{status.job_id} is {status.state}: {status.reason}" if status.state == "UPDATING" else ""


def _line(instance: InstanceStatus) -> str:
    """`web.2  RUNNING  ready at host:9100  on host:8080`."""
    ready = "ready" + (f" at {instance.address}" if instance.address else "")
    worker = f"on {instance.worker}" if instance.worker and instance.state == "RUNNING" else ""
    parts = (instance.job_id, instance.state, ready if instance.ready else rows.instance_reason(instance), worker)
    return "  ".join(part for part in parts if part)
