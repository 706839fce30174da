"""What a storm's outcome looks like: lines for people, one object for machines."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from titan_test_suite.torture.faults import NEAR_S
from titan_test_suite.torture.oracle import Evidence, Violation
from titan_test_suite.torture.recovery import percentile
from titan_test_suite.torture.storm import Outcome

_SHOWN = 20
"""Violations whose evidence is printed; of the others there is the sentence."""


def lines(outcome: Outcome) -> Iterator[str]:
    """What it did and what it found."""
    broken = Counter(violation.rule for violation in outcome.violations)
    yield f"kills          {sum(outcome.kills.values())} ({_listed(outcome.kills)})"
    yield f"spawned        {outcome.spawned} workers were seen that others had started"
    yield f"misfortunes    {sum(outcome.misfortunes.values())} ({_listed(outcome.misfortunes)})"
    yield f"jobs           {sum(outcome.states.values())} in {outcome.runs} runs ({_listed(outcome.states)})"
    yield f"requests       {outcome.counts['resent']} unanswered and sent again"
    yield f"services       {outcome.counts['restarted']} restarts and {outcome.counts['scaled']} scalings wanted"
    yield f"fires          {_fires(outcome)}"
    yield f"near a fire    {outcome.near} of the master's kills came within {1000 * NEAR_S:g} ms of when one was due"
    yield f"submissions    {outcome.counts['repeated']} sent again though they were answered"
    yield f"attempts lost  {outcome.lost_attempts}, each with its worker"
    yield f"lost           {broken['I1']} acknowledged jobs or runs"
    yield f"counted twice  {broken['I2']}"
    yield f"survivors      {broken['I7']} processes"
    yield f"master again   {_times(outcome.times.master)} from its kill to the first new job's start"
    yield f"jobs again     {_times(outcome.times.worker)} from their worker's kill to their next start"
    yield f"at rest        {outcome.rest_s:.1f} s after the last fault"
    yield f"violations     {len(outcome.violations)}{f' ({_listed(broken)})' if broken else ''}"


def violations(outcome: Outcome) -> Iterator[str]:
    """Each violation; with what the ledger and the events say about it, for the first ones."""
    for number, violation in enumerate(outcome.violations):
        yield str(violation)
        if number < _SHOWN:
            yield from (f"    {line}" for line in _told(outcome.evidence, violation))


def _fires(outcome: Outcome) -> str:
    told, late = outcome.fires, _times(outcome.fires.late_s)
    wanted = f"{_listed(outcome.wanted)} of what somebody wanted"
    return (
        f"{told.slots} slots ({_listed(told.outcomes)}), {told.made_up} made up for, {told.told} alerts; {wanted}; "
        f"decided {late} after their slots"
    )


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Everything `lines` says, in figures; durations in seconds."""
    return {
        "seed": outcome.plan.seed,
        "duration_s": outcome.plan.duration_s,
        "kills": dict(outcome.kills),
        "spawned": outcome.spawned,
        "misfortunes": dict(outcome.misfortunes),
        "runs": outcome.runs,
        "jobs": dict(outcome.states),
        "requests": dict(outcome.counts),
        "lost_attempts": outcome.lost_attempts,
        "master_again_s": _figures(outcome.times.master),
        "jobs_again_s": _figures(outcome.times.worker),
        "rest_s": outcome.rest_s,
        "fires": {
            "slots": outcome.fires.slots,
            "outcomes": dict(outcome.fires.outcomes),
            "made_up": outcome.fires.made_up,
            "alerts": outcome.fires.told,
            "wanted": dict(outcome.wanted),
            "late_s": _figures(outcome.fires.late_s),
            "kills_near": outcome.near,
        },
        "violations": [violation._asdict() for violation in outcome.violations],
    }


def _told(evidence: Evidence, violation: Violation) -> Iterator[str]:
    run_id, _, job_id = violation.key.partition("/")
    for line in evidence.ledger.of(violation.key) if job_id else ():
        yield f"ledger  {line}"
    for event in evidence.events.get(run_id, ()):
        if not job_id or event.job_id == job_id:
            change = event.after if event.before == event.after else f"{event.before} → {event.after}"
            yield f"event   {event.wall:.3f} {event.job_id} {change} attempt {event.attempt}: {event.reason}"
    for attempt in evidence.jobs[run_id][job_id].attempts if job_id in evidence.jobs.get(run_id, {}) else ():
        when = f"{attempt.started_wall:.3f} to {attempt.finished_wall:.3f}"
        yield f"attempt {attempt.number} {when} on {attempt.worker}: {attempt.outcome} {attempt.reason}"


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


JUDGED = 50
"""Recoveries that make a p99."""


def _times(values: Sequence[float]) -> str:
    if not values:
        return "never seen"
    p50, p99 = percentile(values, 0.5), percentile(values, 0.99)
    return f"p50 {p50:.2f} s, p99 {p99:.2f} s, most {max(values):.2f} s ({len(values)})"


def _figures(values: Sequence[float]) -> dict[str, float | None]:
    """JSON has no NaN: null where there is nothing to say."""
    found = {"count": len(values), "p50": percentile(values, 0.5), "p99": percentile(values, 0.99)}
    return {name: None if math.isnan(value) else value for name, value in found.items()}


def too_slow(outcome: Outcome, master_s: float, worker_s: float) -> Iterator[str]:
    """Sentences about recoveries whose p99 is beyond these. A few have none: it would be the worst of them."""
    for name, values, most_s in (
        ("master", outcome.times.master, master_s),
        ("worker", outcome.times.worker, worker_s),
    ):
        if len(values) >= JUDGED and percentile(values, 0.99) > most_s:
            yield f"recovery of the {name}: p99 is {percentile(values, 0.99):.2f} s, {most_s:g} s is the most"
