"""Between the core, which decides that somebody is to be told of a fire, and the AlertSender, which tells them."""

from __future__ import annotations

from titan_core.instants import utc_text
from titan_core.master.alerts import AlertOrder
from titan_core.master.engine import Engine
from titan_core.scheduler.actions import SendAlert
from titan_core.scheduler.events import AlertSettled
from titan_core.scheduler.states import FireKind


def order_of(action: SendAlert) -> AlertOrder:
    """What is said, as the fire is now. Called under the engine's lock."""
    fire = action.fire
    body = {
        "event": action.about,
        "schedule": fire.schedule,
        "scheduled_for": utc_text(fire.slot),
        "kind": fire.kind.value,
        "outcome": fire.outcome.value,
        "reason": fire.reason,
        "run_id": fire.run_id,
        "run_state": fire.run_state.value if fire.run_state is not None else "",
    }
    return AlertOrder((fire.schedule, fire.kind.value, fire.slot), action.about, action.webhook, body)


def settle(engine: Engine, order: AlertOrder, problem: str) -> None:
    """It was heard, or `problem` says why it was given up."""
    schedule, kind, slot = order.key
    engine.submit(AlertSettled(schedule, FireKind(kind), slot, order.event, problem))
