"""Schedules: the list, one of them with what became of its fires and what is to come, and what a person may do to it.

The list comes from the snapshot; one schedule and its ledger are asked of the master.
"""

from __future__ import annotations

from typing import Any

from flask import request
from flask.typing import ResponseReturnValue

from dashboard import links
from dashboard.api import LAST_WALL, number
from dashboard.fires import Ledger, coming, due, kind, read_ledger, why
from dashboard.page import Page, act, confirm, render
from dashboard.parts import parts
from titan_core.protocol.messages import FireStatus, ScheduleStatus
from titan_sdk.cli import schedule_rows
from titan_sdk.cli.states import FIRE_OUTCOMES
from titan_sdk.cli.text import plural
from titan_sdk.errors import InvalidRequest, NotFound

page = Page("schedules", nav="Schedules")

STATES = ("ACTIVE", "PAUSED", "FINISHED")
_ELSEWHERE = ("schedule", "state", "next", "last", "running", "queued")
"""Facts that the page shows at a place of their own."""
_WORDS: dict[str, Any] = {
    "slot": schedule_rows.slot,
    "ahead": schedule_rows.ahead,
    "when": schedule_rows.when,
    "why": why,
    "due": due,
    "kind": kind,
    "reason": schedule_rows.reason,
    "outcome_of": schedule_rows.outcome,
}
"""What templates say about schedules with."""


@page.get("/schedules")
def listing() -> ResponseReturnValue:
    snapshot, state = parts().cluster.look(), request.args.get("state", "")
    shown = [schedule for schedule in snapshot.schedules if state in ("", schedule.state)]
    reasons = any(map(why, shown))
    return render("schedules.html", schedules=shown, state=state, states=STATES, reasons=reasons, **_WORDS)


@page.get("/schedules/<name>")
def one(name: str) -> ResponseReturnValue:
    """`outcome`: only such fires. `before`: only slots before this instant, in seconds."""
    outcome, before = _asked_outcome(), number("before", 0, LAST_WALL, least=0)
    schedule, ledger = _read(name, outcome, before)
    zone = schedule.timing.timezone if schedule else "UTC"
    slots, trouble = coming(schedule.timing) if schedule else ([], "")
    return render(
        "schedule.html",
        name=name,
        schedule=schedule,
        zone=zone,
        facts=_facts(schedule),
        job_columns=schedule_rows.JOBS,
        ledger=ledger,
        shown=_columns(ledger),
        older=_older(name, outcome, ledger),
        outcome=outcome,
        outcomes=FIRE_OUTCOMES,
        before=before,
        coming=slots,
        coming_trouble=trouble,
        coming_columns=[one for one in schedule_rows.UPCOMING if one.title != "UTC" or zone != "UTC"],
        **_WORDS,
    )


def _asked_outcome() -> str:
    """Raises InvalidRequest."""
    outcome = request.args.get("outcome", "")
    if outcome and outcome not in FIRE_OUTCOMES:
        raise InvalidRequest(f"outcome is {outcome[:40]!r}; use one of {', '.join(FIRE_OUTCOMES)}", field="outcome")
    return outcome


def _read(name: str, outcome: str, before_wall: float) -> tuple[ScheduleStatus | None, Ledger]:
    """The schedule, or None if it was removed and only its ledger is left. Raises NotFound."""
    client = parts().client
    try:
        schedule = client.get_schedule(name)
    except NotFound as error:
        ledger = read_ledger(client, name, outcome, before_wall)
        if not ledger.fires and not outcome and not before_wall:
            raise error
        return None, ledger
    return schedule, read_ledger(client, name, outcome, before_wall)


def _facts(schedule: ScheduleStatus | None) -> list[tuple[str, str]]:
    facts = schedule_rows.facts(schedule) if schedule else []
    return [(word, text) for word, text in facts if text and word not in _ELSEWHERE]


def _columns(ledger: Ledger) -> list[str]:
    """Those columns of fires that are not always there, and have something to show."""
    cells = {"How": kind, "Alert": lambda fire: fire.alert, "Why": schedule_rows.reason}
    return [word for word, cell in cells.items() if any(map(cell, ledger.fires))]


def _older(name: str, outcome: str, ledger: Ledger) -> str:
    """The address of the page with older fires; empty: there are none."""
    return links.fires(name, outcome=outcome, before=ledger.next_before) if ledger.next_before else ""


# ── actions ───────────────────────────────────────────────────────────────────────────────────────


@page.get("/schedules/<name>/pause")
def ask_pause(name: str) -> ResponseReturnValue:
    sentence = "It starts nothing until it is resumed; what comes due meanwhile is SKIPPED. What runs goes on."
    return confirm(f"Pause {name}?", sentence, "Pause", links.schedule(name), "schedule_pause.html")


@page.post("/schedules/<name>/pause")
def pause(name: str) -> ResponseReturnValue:
    reason = request.form.get("reason", "").strip()

    def done() -> str:
        parts().client.pause_schedule(name, reason)
        return f"schedule {name} is paused"

    return act(done, links.schedule(name))


@page.get("/schedules/<name>/resume")
def ask_resume(name: str) -> ResponseReturnValue:
    return confirm(f"Resume {name}?", "It starts runs again when they are due.", "Resume", links.schedule(name))


@page.post("/schedules/<name>/resume")
def resume(name: str) -> ResponseReturnValue:
    def done() -> str:
        parts().client.resume_schedule(name)
        return f"schedule {name} is resumed"

    return act(done, links.schedule(name))


@page.get("/schedules/<name>/trigger")
def ask_trigger(name: str) -> ResponseReturnValue:
    sentence = "It fires once, now, whatever its time, also while it is paused."
    return confirm(f"Fire {name} now?", sentence, "Fire it", links.schedule(name))


@page.post("/schedules/<name>/trigger")
def trigger(name: str) -> ResponseReturnValue:
    return act(lambda: _triggered(parts().client.trigger_schedule(name)), links.schedule(name))


def _triggered(fire: FireStatus) -> str:
    if fire.outcome == "QUEUED":
        return f"{fire.schedule} fires once the runs before it are over"
    return f"{fire.schedule} has started the run {fire.run_id}"


@page.get("/schedules/<name>/backfill")
def ask_backfill(name: str) -> ResponseReturnValue:
    zone = parts().client.get_schedule(name).timing.timezone
    sentence = "What was due from the one instant to the other, and has not run, is run now, oldest first."
    back = links.schedule(name)
    return confirm(f"Backfill {name}?", sentence, "Backfill", back, "schedule_backfill.html", zone=zone)


@page.post("/schedules/<name>/backfill")
def backfill(name: str) -> ResponseReturnValue:
    first, last = (request.form.get(word, "").strip() for word in ("from", "to"))

    def done() -> str:
        if not (first and last):
            raise InvalidRequest("a backfill needs both instants, from and to", field="first")
        found = parts().client.backfill_schedule(name, first, last)
        return found.text or f"{plural(len(found.run_ids), 'run')} will make up for what was due"

    return act(done, links.schedule(name))


@page.get("/schedules/<name>/backfill/cancel")
def ask_cancel_backfill(name: str) -> ResponseReturnValue:
    sentence = "Nothing waits any more that was to be made up for. What runs goes on."
    return confirm(f"Cancel the backfill of {name}?", sentence, "Cancel the backfill", links.schedule(name))


@page.post("/schedules/<name>/backfill/cancel")
def cancel_backfill(name: str) -> ResponseReturnValue:
    return act(lambda: parts().client.cancel_backfill(name).text, links.schedule(name))


@page.get("/schedules/<name>/remove")
def ask_remove(name: str) -> ResponseReturnValue:
    sentence = "It fires no more. Its runs go on, and what became of its fires can still be read."
    return confirm(f"Remove {name}?", sentence, "Remove", links.schedule(name))


@page.post("/schedules/<name>/remove")
def remove(name: str) -> ResponseReturnValue:
    return act(lambda: parts().client.remove_schedule(name), links.schedules())
