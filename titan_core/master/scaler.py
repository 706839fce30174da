"""The scaler: at a fixed rate, has the core look whether workers are wanted, and asks for those it then wants.

What is wanted is the core's decision alone. Where workers start workers it needs nobody here; where somebody else
is to be asked, by a `Provisioner`, its orders are put into a queue by the engine, under its lock, and carried out
one at a time by the thread `provisioner`, which may block, so that the thread `scaler` never does.

Orders that wait for a slow provisioner become fewer: the core counts what it has asked for, and says only what
is wanted besides, so what waits for one capability is added up and asked for at once.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import replace

from titan_core.errors import ProvisioningFailed
from titan_core.lifecycle import Component
from titan_core.master.engine import Engine
from titan_core.master.provisioners import Provisioner
from titan_core.scheduler.actions import Provision, Release
from titan_core.scheduler.events import ProvisionFailed, ScalingDue

log = logging.getLogger("titan.master")

WAITING_MOST = 1_000
"""Orders that wait; beyond them one is let go, and the core asks again when nobody has come."""

Order = Provision | Release


class ScalerExecutor(Component):
    """`provisioner`: None where nobody outside of the cluster is asked."""

    def __init__(self, engine: Engine, scale_s: float, provisioner: Provisioner | None) -> None:
        super().__init__("scaler")
        self._engine = engine
        self._scale_s = scale_s
        self._provisioner = provisioner
        self._orders: dict[tuple[str, str], Order] = {}
        """By what they have in common with those they are added to; the oldest first."""
        self._filled = threading.Condition()

    def start(self) -> None:
        self.spawn("scaler", self._look)
        if self._provisioner is not None:
            self.spawn("provisioner", self._carry_out, self._provisioner)

    def put(self, order: Order) -> None:
        """Have it carried out, after those that wait. Never blocks; called under the engine's lock."""
        with self._filled:
            key = _key(order)
            waiting = self._orders.get(key)
            if isinstance(order, Provision) and isinstance(waiting, Provision):
                self._orders[key] = replace(order, count=waiting.count + order.count)
            elif len(self._orders) < WAITING_MOST:
                self._orders[key] = order
            self._filled.notify()

    def on_stop(self) -> None:
        if self._provisioner is not None:
            self._provisioner.stop()
        with self._filled:
            self._filled.notify_all()

    def _look(self) -> None:
        while not self.stopping.wait(self._scale_s):
            self._engine.submit(ScalingDue())

    def _carry_out(self, provisioner: Provisioner) -> None:
        while True:
            order = self._next()
            if order is None:
                return
            try:
                _ask(provisioner, order)
            except ProvisioningFailed as error:
                self._on_failure(order, error)
            else:
                log.info("%s", _described(order), extra={"action": "scaling.asked"})

    def _next(self) -> Order | None:
        """The oldest order, waited for; None: it is time to end."""
        with self._filled:
            self._filled.wait_for(lambda: self._orders or self.stopping.is_set())
            if self.stopping.is_set():
                return None
            return self._orders.pop(next(iter(self._orders)))

    def _on_failure(self, order: Order, error: ProvisioningFailed) -> None:
        """Tell the core, which waits before it asks again; a worker that is stopped is stopped all the same."""
        if self.stopping.is_set():  # it was cut
            return
        log.warning("%s", error, extra={"action": "scaling.failed"})
        if isinstance(order, Provision):
            self._engine.submit(ProvisionFailed(order.capability, error.message, order.count))


def _key(order: Order) -> tuple[str, str]:
    return ("add", order.capability) if isinstance(order, Provision) else ("remove", order.worker_id)


def _ask(provisioner: Provisioner, order: Order) -> None:
    if isinstance(order, Provision):
        provisioner.add(order.capability, order.count)
    else:
        provisioner.remove(order.worker_id, order.capability)


def _described(order: Order) -> str:
    if isinstance(order, Provision):
        return f"asked for {order.count} more with {order.capability}"
    return f"gave back worker {order.worker_id}"
