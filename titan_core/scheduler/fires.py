"""Fires of schedules: offered, waiting for their turn, launched, over. Every step of one is a line of its ledger.

    offer ─▶ RAN                  no earlier run goes on, or `overlap: allow`
          ─▶ QUEUED ─▶ RAN        it waits: `overlap: queue`, `replace`; or its time was long ago
          ─▶ SKIPPED, FAILED      see `FireOutcome`

A launch is one step with the line that says RAN, and both are written at once or not at all; so whatever
happens to the master, a slot has one run at most. Ids and secrets of runs follow from the slot.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable

from titan_core.instants import stamp, utc_text
from titan_core.scheduler import by_hand, jobs, services
from titan_core.scheduler.actions import RecordFire, SendAlert
from titan_core.scheduler.model import JobSpec, Run
from titan_core.scheduler.schedule_model import AlertPolicy, Fire, Schedule
from titan_core.scheduler.state import State
from titan_core.scheduler.states import FireKind, FireOutcome, Overlap, RunState

MAX_WAITING = 100
"""Fires of one schedule that wait; with more, the next ones are skipped."""
MAX_LIVE = 1_000
"""Runs of one schedule at the same time, with `overlap: allow`."""
MADE_UP_AT_ONCE = 10
"""Of those, how many make up for the past."""
ALERT_DUE = "due"
MISSED, FAILURE = "missed", "failure"
"""What an alert is about."""
BY_HAND = 0x8000
"""The last four digits of a run's id are below, unless a schedule has started it: the two never meet."""
_KINDS = {FireKind.SCHEDULE.value: 0x8000, FireKind.TRIGGER.value: 0xA000, MISSED: 0xC000, FAILURE: 0xE000}
_SECRET_BYTES = 16


# ── turns ─────────────────────────────────────────────────────────────────────────────────────────


def offer(state: State, schedule: Schedule, fire: Fire) -> None:
    """Launch it, have it wait, or skip it: what `overlap` says."""
    overlap = schedule.definition.overlap
    regular = next((run for run, live in schedule.live.items() if not live.made_up), None)
    if overlap is Overlap.ALLOW:
        if len(schedule.live) >= MAX_LIVE:
            decide(state, schedule, fire, FireOutcome.SKIPPED, f"{MAX_LIVE} of its runs go on")
        else:
            _launch(state, schedule, fire)
    elif not schedule.live and not schedule.waiting:
        _launch(state, schedule, fire)
    elif overlap is Overlap.REPLACE:
        _replace(state, schedule, fire)
    elif overlap is Overlap.SKIP and (regular or schedule.waiting):
        why = f"run {regular.run_id} still goes on" if regular else "another fire waits already"
        decide(state, schedule, fire, FireOutcome.SKIPPED, why)
    else:
        _wait(state, schedule, fire)


def _replace(state: State, schedule: Schedule, fire: Fire) -> None:
    """What waits has lost its turn, what runs is cancelled; this one begins once that is over."""
    why = f"replaced by the fire of {utc_text(fire.slot)}"
    while schedule.waiting:
        decide(state, schedule, schedule.waiting.popleft(), FireOutcome.SKIPPED, why)
    _wait(state, schedule, fire)
    for run, live in list(schedule.live.items()):
        if not live.made_up and run.live_jobs:
            by_hand.cancel_run(state, run, why)


def _wait(state: State, schedule: Schedule, fire: Fire) -> None:
    if len(schedule.waiting) >= MAX_WAITING:
        decide(state, schedule, fire, FireOutcome.SKIPPED, f"{MAX_WAITING} fires wait already")
        return
    schedule.waiting.append(fire)
    decide(state, schedule, fire, FireOutcome.QUEUED, "waits for its turn")


def make_up(state: State, schedule: Schedule, made_up: Iterable[Fire], reason: str) -> None:
    """Have these run, one after the other, in order of their slots, behind all that is due."""
    for fire in made_up:
        fire.made_up = True
        schedule.made_up.append(fire)
        decide(state, schedule, fire, FireOutcome.QUEUED, reason)
    schedule.made_up = deque(sorted(schedule.made_up, key=lambda fire: fire.slot))
    advance(state, schedule)


def advance(state: State, schedule: Schedule) -> None:
    """Launch what waits and may begin now. While it is paused, that is only what a person has asked for."""
    overlapping = schedule.definition.overlap is Overlap.ALLOW
    while (overlapping or not schedule.live) and (fire := _next_waiting(schedule)) is not None:
        _launch(state, schedule, fire)
    at_once = MADE_UP_AT_ONCE if overlapping else 1
    while not schedule.paused and schedule.made_up and not schedule.waiting and _fits(schedule, at_once):
        _launch(state, schedule, schedule.made_up.popleft())


def _next_waiting(schedule: Schedule) -> Fire | None:
    """The first that may begin, which waits no more."""
    able = (fire for fire in schedule.waiting if not schedule.paused or fire.kind is FireKind.TRIGGER)
    fire = next(able, None)
    if fire is not None:
        schedule.waiting.remove(fire)
    return fire


def _fits(schedule: Schedule, at_once: int) -> bool:
    """Whether one more run may make up for the past; where runs may overlap, the others do not count."""
    if at_once == 1:
        return not schedule.live
    return sum(fire.made_up for fire in schedule.live.values()) < at_once


def drop_made_up(state: State, schedule: Schedule, reason: str) -> int:
    """Let nothing wait any more that is long past; how many did."""
    dropped = len(schedule.made_up)
    while schedule.made_up:
        decide(state, schedule, schedule.made_up.popleft(), FireOutcome.SKIPPED, reason)
    return dropped


def drop_waiting(state: State, schedule: Schedule, reason: str) -> None:
    """Let nothing wait any more."""
    while schedule.waiting:
        decide(state, schedule, schedule.waiting.popleft(), FireOutcome.SKIPPED, reason)
    drop_made_up(state, schedule, reason)


# ── launch and end ────────────────────────────────────────────────────────────────────────────────


def _launch(state: State, schedule: Schedule, fire: Fire) -> None:
    run_id = run_id_of(schedule.name, fire.kind.value, fire.slot)
    if run_id in state.runs:
        decide(state, schedule, fire, FireOutcome.FAILED, f"there is a run {run_id} already")
        return
    run = _begin_run(state, schedule, run_id, schedule.name, schedule.definition.jobs, _variables(fire))
    run.fire = fire
    fire.run_state = RunState.RUNNING
    schedule.live[run] = fire
    decide(state, schedule, fire, FireOutcome.RAN, "made up for" if fire.made_up else "")


def _begin_run(
    state: State,
    schedule: Schedule,
    run_id: str,
    name: str,
    specs: tuple[JobSpec, ...],
    variables: tuple[tuple[str, str], ...],
) -> Run:
    secret = hashlib.blake2b(run_id.encode(), key=schedule.secret, digest_size=_SECRET_BYTES).digest()
    run = Run(run_id, name, secret, state.now, state.next_sequence())
    run.variables = variables
    state.runs[run_id] = run
    jobs.add(state, run, specs, b"", b"")
    return run


def run_id_of(name: str, kind: str, slot: int) -> str:
    """The id of the run for a slot of the schedule `name`; no other run has, had, or will have it."""
    digest = int.from_bytes(hashlib.blake2b(f"{name}/{kind}/{slot}".encode(), digest_size=2).digest(), "big")
    return f"{name}-{stamp(slot)}-{_KINDS[kind] | digest & 0x1FFF:04x}"


def _variables(fire: Fire) -> tuple[tuple[str, str], ...]:
    return ("TITAN_SCHEDULE", fire.schedule), ("TITAN_SCHEDULED_FOR", utc_text(fire.slot))


def settle(state: State) -> None:
    """Runs of fires that are over, or go on again: note it, and let the next one have its turn.

    Services come first: what is there for its run is stopped when that is over, and until then the run goes on.
    """
    services.settle(state)
    stirred, state.stirred = state.stirred, {}
    for run in stirred:
        fire = run.fire
        assert fire is not None, f"{run.run_id} was started by no schedule"
        if fire.run_state is not run.state:
            _note_run(state, run, fire)
    for name in dict.fromkeys(run.fire.schedule for run in stirred if run.fire is not None):
        if name in state.schedules:
            advance(state, state.schedules[name])


def _note_run(state: State, run: Run, fire: Fire) -> None:
    live, schedule = state.live_of(fire.schedule), state.schedules.get(fire.schedule)
    fire.run_state = run.state
    if run.open_jobs:
        live[run], fire.finished_wall = fire, 0.0
    else:
        live.pop(run, None)
        if schedule is None and not live:
            del state.live_fires[fire.schedule]
        fire.finished_wall = state.wall
        if run.state is RunState.FAILED and schedule is not None:
            raise_alert(state, schedule, fire, FAILURE)
    state.act(RecordFire(fire))


# ── the ledger ────────────────────────────────────────────────────────────────────────────────────


def decide(state: State, schedule: Schedule, fire: Fire, outcome: FireOutcome, reason: str) -> None:
    """The one door through which a line of the ledger gets its outcome."""
    is_new = fire not in schedule.recent
    fire.outcome, fire.reason, fire.decided_wall = outcome, reason, state.wall
    begins = outcome in (FireOutcome.RAN, FireOutcome.QUEUED)
    fire.run_id = run_id_of(fire.schedule, fire.kind.value, fire.slot) if begins else ""
    if is_new:
        schedule.recent.append(fire)
    if outcome is FireOutcome.FAILED:
        raise_alert(state, schedule, fire, FAILURE)
    state.act(RecordFire(fire))


def raise_alert(state: State, schedule: Schedule, fire: Fire, about: str) -> None:
    """Have somebody told of this fire, once. The caller records it."""
    definition = schedule.definition
    policy = definition.on_missed if about == MISSED else definition.on_failure
    if fire.alert:
        return
    if policy.webhook:
        fire.alert = ALERT_DUE
        state.alerts[*fire.key, about] = fire
        state.act(SendAlert(fire, about, policy.webhook))
    elif policy.job is not None and fire.outcome is FireOutcome.FAILED:
        fire.alert = "no job can tell of it, since no run can be made"
    elif policy.job is not None:
        fire.alert = _launch_alert(state, schedule, fire, about, policy)


def resend_alert(state: State, fire: Fire) -> None:
    """Of a fire whose alert was due when the master ended. Without its schedule there is nobody to be told."""
    schedule = state.schedules.get(fire.schedule)
    about = MISSED if fire.outcome is FireOutcome.MISSED else FAILURE
    fire.alert = ""
    if schedule is not None:
        raise_alert(state, schedule, fire, about)
    if not fire.alert:
        fire.alert = "nobody is to be told any more"
    state.act(RecordFire(fire))


def _launch_alert(state: State, schedule: Schedule, fire: Fire, about: str, policy: AlertPolicy) -> str:
    name = f"{schedule.name}.on_{about}"
    # A slot may be MISSED, or fail, again: after a clock was set back, or when it is made up for.
    run_id = f"{name}-{stamp(state.wall)}-{_KINDS[about] | state.last_sequence & 0x1FFF:04x}"
    if run_id in state.runs:
        return f"there is a run {run_id} already"
    facts = ("TITAN_ALERT", about), ("TITAN_ALERT_RUN", fire.run_id), ("TITAN_ALERT_REASON", fire.reason)
    assert policy.job is not None
    _begin_run(state, schedule, run_id, name, (policy.job,), (*_variables(fire), *facts))
    return f"run {run_id}"


def on_alert_settled(state: State, key: tuple[str, FireKind, int, str], problem: str) -> None:
    """Somebody was told, or could not be."""
    fire = state.alerts.pop(key, None)
    if fire is not None:
        fire.alert = problem or "sent"
        state.act(RecordFire(fire))
