"""The judgement of a storm's schedules. Pure: evidence goes in, violations come out.

    C1   every slot has exactly one line of the ledger, and only slots have one
    C2   RAN: there is one run, and whatever ran for a schedule is the run of a line
    C3   nothing starts before its slot, and each job was told its slot
    C4   MISSED, or made up for: only where there was no master
    C5   what `catch_up` says is made up for is, and nothing else
    C6   what `overlap` says: who is skipped, who runs beside whom, in which order
    C7   at rest nothing waits, and the line of a run says how it ended
    C8   whoever is to be told of a fire was told, each time by the same id

Whether jobs of these runs began and ended as they must is judged as for any other run: see `oracle`, `promises_of`.
Who knows what ran is the jobs' ledger; who knows when there was no master is whoever has killed it.
"""

from __future__ import annotations

import bisect
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from titan_core.instants import utc_text
from titan_core.protocol.messages import FireStatus, JobStatus
from titan_sdk import TitanJob
from titan_test_suite.torture.ledger import Ledger, Line
from titan_test_suite.torture.oracle import Violation
from titan_test_suite.torture.plans import Plan
from titan_test_suite.torture.promises import Promise
from titan_test_suite.torture.schedules import Timed

LATE_S = 1.0
"""How long after its slot a fire may be on disk, when everything else wants the machine as well."""
DYING_S = 0.1
"""How long a master may still decide that is being killed."""
KEPT_LINES = 1000
"""As many the master keeps of a ledger; of a longer one, the beginning may be gone."""
_BY_HAND = ("paused", "the schedule was removed")
_SKIPPED_BECAUSE = {
    "skip": ("another fire waits already",),
    "queue": ("100 fires wait already",),
    "allow": (),
    "replace": ("replaced by the fire of ",),
}
"""How reasons begin, by `overlap`; besides those, `skip` may name the run that went on."""


@dataclass
class Chronicle:
    """One schedule, and what the master says of it in the end."""

    timed: Timed
    due: range
    until: int
    """Up to when its slots must have been decided on."""
    lines: Sequence[FireStatus]

    @property
    def name(self) -> str:
        return self.timed.name

    @cached_property
    def since(self) -> int:
        """Of what was before, lines may be gone."""
        return self.due.start if len(self.lines) < KEPT_LINES else min(int(line.slot_wall) for line in self.lines)

    @cached_property
    def by_slot(self) -> dict[int, FireStatus]:
        """What was due, without what people have fired."""
        return {int(line.slot_wall): line for line in self.lines if line.kind == "schedule"}

    @cached_property
    def runs(self) -> dict[str, FireStatus]:
        """By the ids of the runs, in the order in which they were started."""
        ran = (line for line in self.lines if line.outcome == "RAN")
        return {line.run_id: line for line in sorted(ran, key=lambda line: line.decided_wall)}

    def missed(self) -> list[list[FireStatus]]:
        """Lines that were MISSED, together with those that were at the same time; by slot."""
        groups: dict[float, list[FireStatus]] = defaultdict(list)
        for line in sorted(self.by_slot.values(), key=lambda line: line.slot_wall):
            if line.outcome == "MISSED":
                groups[line.decided_wall].append(line)
        return list(groups.values())


@dataclass
class FireEvidence:
    """All that is known of schedules after a storm."""

    chronicles: list[Chronicle]
    ledger: Ledger
    jobs: Mapping[str, Mapping[str, JobStatus]]
    """What the master says of their runs, by run id and job id."""
    kills: list[float]
    """Of the master, in seconds since the epoch, in their order."""
    told: list[dict[str, Any]] = field(default_factory=list)
    """What the webhook was told."""

    @cached_property
    def signs(self) -> list[float]:
        """Instants at which a master was at work, in order."""
        return sorted(line.decided_wall for chronicle in self.chronicles for line in chronicle.lines)

    @cached_property
    def starts(self) -> dict[str, list[Line]]:
        """What was started for each schedule, by its name, oldest first."""
        found: dict[str, list[Line]] = defaultdict(list)
        for lines in self.ledger.starts.values():
            for line in lines:
                found[line.schedule].append(line)
        return {name: sorted(lines, key=lambda line: line.wall) for name, lines in found.items()}


class Figures(NamedTuple):
    """What there was to judge."""

    slots: int
    outcomes: Counter[str]
    """Of lines; `by hand`: of those that were RAN, what people have fired."""
    made_up: int
    told: int
    """Alerts."""
    late_s: list[float]
    """From the slot to the decision, where nothing was in the way."""


def judge(evidence: FireEvidence) -> list[Violation]:
    """Everything that is not as it was promised."""
    found = [violation for chronicle in evidence.chronicles for violation in _of_schedule(evidence, chronicle)]
    return found + [Violation("C8", "", text) for text in _of_alerts(evidence)]


def promises_of(chronicle: Chronicle) -> list[Promise]:
    """Its runs, as if somebody had submitted them."""
    timed = chronicle.timed
    jobs = tuple(
        TitanJob(name, "tick.sh", parents=before)
        for name, before in zip(timed.jobs, ((), *((name,) for name in timed.jobs)), strict=False)
    )
    plan = Plan("fire", jobs, replaced=timed.overlap == "replace")
    return [Promise(plan, run_id, run_id, line.decided_wall) for run_id, line in chronicle.runs.items()]


def figures(evidence: FireEvidence) -> Figures:
    lines = [line for chronicle in evidence.chronicles for line in chronicle.lines]
    outcomes = Counter(line.outcome for line in lines)
    outcomes["by hand"] = sum(line.kind == "trigger" and line.outcome == "RAN" for line in lines)
    late_s = [
        line.decided_wall - line.slot_wall
        for chronicle in evidence.chronicles
        if chronicle.timed.overlap == "allow" and not chronicle.timed.jitter_s
        for line in chronicle.by_slot.values()
        if line.outcome == "RAN" and not line.made_up and not line.reason
    ]
    slots = sum(slot <= chronicle.until for chronicle in evidence.chronicles for slot in chronicle.due)
    return Figures(slots, outcomes, sum(line.made_up for line in lines), len(evidence.told), late_s)


def _of_schedule(evidence: FireEvidence, chronicle: Chronicle) -> Iterator[Violation]:
    for rule, found in (
        ("C1", _slots(chronicle)),
        ("C2", _one_run(evidence, chronicle)),
        ("C3", _on_time(evidence, chronicle)),
        ("C4", _no_master(evidence, chronicle)),
        ("C5", _caught_up(chronicle)),
        ("C6", _skipped(chronicle)),
        ("C6", _turns(evidence, chronicle)),
        ("C7", _at_rest(evidence, chronicle)),
    ):
        for text in found:
            yield Violation(rule, chronicle.name, text)


# ── slots and runs ────────────────────────────────────────────────────────────────────────────────


def _covered(chronicle: Chronicle, line: FireStatus) -> list[int]:
    """The slots that a line, which is not a person's, stands for."""
    return [slot for slot in chronicle.due if line.slot_wall <= slot <= (line.until_wall or line.slot_wall)]


def _slots(chronicle: Chronicle) -> Iterator[str]:
    lines = [line for line in chronicle.lines if line.kind != "trigger"]
    spanned = {slot for line in lines if line.kind == "span" for slot in _covered(chronicle, line)}
    count = Counter(int(line.slot_wall) for line in lines if line.kind == "schedule")
    count.update(spanned - count.keys())
    for slot in chronicle.due:
        if chronicle.since <= slot <= chronicle.until and count[slot] != 1:
            yield f"{utc_text(slot)} has {count[slot]} lines of the ledger"
    yield from (f"{_said(line)}: there is no such slot" for line in lines if not _covered(chronicle, line))


def _one_run(evidence: FireEvidence, chronicle: Chronicle) -> Iterator[str]:
    ran = [line.run_id for line in chronicle.lines if line.outcome == "RAN"]
    yield from (f"run {run_id} is that of {n} fires" for run_id, n in Counter(ran).items() if n > 1)
    for run_id, line in chronicle.runs.items():
        jobs = evidence.jobs.get(run_id, {})
        if sorted(jobs) != sorted(chronicle.timed.jobs):
            yield f"{_said(line)}: its run {run_id} has the jobs {sorted(jobs)}"
    starts = (start for start in evidence.starts.get(chronicle.name, ()) if start.slot >= chronicle.since)
    strangers = {start.run_id for start in starts}.difference(ran)
    yield from (f"run {run_id} was started, and is that of no fire" for run_id in sorted(strangers))


def _on_time(evidence: FireEvidence, chronicle: Chronicle) -> Iterator[str]:
    for start in evidence.starts.get(chronicle.name, ()):
        line = chronicle.runs.get(start.run_id)
        if line is None:
            continue
        if start.slot != line.slot_wall:
            yield f"{start.key} was told {utc_text(start.slot)}, it is that of {utc_text(line.slot_wall)}"
        if line.kind == "schedule" and start.wall < line.slot_wall:
            yield f"{start.key} was started {line.slot_wall - start.wall:.3f} s before it was due"


# ── no master ─────────────────────────────────────────────────────────────────────────────────────


def _no_master(evidence: FireEvidence, chronicle: Chronicle) -> Iterator[str]:
    for line in chronicle.lines:
        if line.outcome == "MISSED" or line.made_up:
            for slot in _covered(chronicle, line):
                if not _was_away(evidence, slot, slot + chronicle.timed.jitter_s):
                    yield f"{_said(line)}: there was a master at {utc_text(slot)}"


def _was_away(evidence: FireEvidence, first_wall: float, last_wall: float) -> bool:
    """Whether what was due between these instants may have found no master: the last one was killed before it was on
    disk, and the next one gave no sign of life until shortly before."""
    place = bisect.bisect(evidence.kills, last_wall + LATE_S)
    if not place:
        return False
    killed_wall = evidence.kills[place - 1]
    sign = bisect.bisect(evidence.signs, killed_wall + DYING_S)
    return sign == len(evidence.signs) or evidence.signs[sign] >= first_wall - LATE_S


def _caught_up(chronicle: Chronicle) -> Iterator[str]:
    policy = chronicle.timed.catch_up
    if policy == "none":
        yield from (f"{_said(line)}: made up for" for line in chronicle.by_slot.values() if line.made_up)
    for group in chronicle.missed():
        newest = group[-1]
        if policy == "all":
            yield f"{_said(newest)}: it is to be made up for"
        elif policy == "last":
            following = chronicle.by_slot.get(int(newest.slot_wall) + chronicle.due.step)
            if following is None or not following.made_up:
                yield f"{_said(newest)}: the last one that was missed, and it was not made up for"


# ── turns ─────────────────────────────────────────────────────────────────────────────────────────


def _skipped(chronicle: Chronicle) -> Iterator[str]:
    for line in chronicle.lines:
        if line.outcome == "FAILED":
            yield f"{_said(line)}: nothing was in its way"
        elif line.outcome == "SKIPPED" and not _may_be_skipped(chronicle, line):
            yield f"{_said(line)}: that is no reason"


def _may_be_skipped(chronicle: Chronicle, line: FireStatus) -> bool:
    overlap = chronicle.timed.overlap
    if line.reason.startswith((*_BY_HAND, *_SKIPPED_BECAUSE[overlap])):
        return True
    words = line.reason.split()
    other = chronicle.runs.get(words[1]) if overlap == "skip" and line.reason.endswith(" still goes on") else None
    return other is not None and other.decided_wall <= line.decided_wall <= (other.finished_wall or line.decided_wall)


def _turns(evidence: FireEvidence, chronicle: Chronicle) -> Iterator[str]:
    """One after the other, and in order; where they may be beside each other, there is nothing to say."""
    if chronicle.timed.overlap == "allow":
        return
    for before, after in itertools.pairwise(chronicle.runs):
        end, begun = _last_end(evidence, before), _first_start(evidence, after)
        if end is not None and begun is not None and begun < end:
            yield f"run {after} began before {before} had ended"
    for made_up in (False, True):
        lines = [line for line in chronicle.runs.values() if line.kind == "schedule" and line.made_up == made_up]
        for one, other in itertools.pairwise(lines):
            if other.slot_wall < one.slot_wall:
                yield f"{_said(other)}: after the fire of {utc_text(one.slot_wall)}"


def _last_end(evidence: FireEvidence, run_id: str) -> float | None:
    """When the last of the attempts that count had ended, as the jobs say."""
    ends = [
        end.wall
        for job_id, job in evidence.jobs.get(run_id, {}).items()
        for attempt in job.attempts
        if attempt.outcome == "SUCCEEDED"
        and (end := evidence.ledger.end_of(f"{run_id}/{job_id}", attempt.number)) is not None
    ]
    return max(ends, default=None)


def _first_start(evidence: FireEvidence, run_id: str) -> float | None:
    starts = (evidence.ledger.starts.get(f"{run_id}/{job_id}", ()) for job_id in evidence.jobs.get(run_id, ()))
    return min((line.wall for line in itertools.chain.from_iterable(starts)), default=None)


# ── the end ───────────────────────────────────────────────────────────────────────────────────────


def _at_rest(evidence: FireEvidence, chronicle: Chronicle) -> Iterator[str]:
    for line in chronicle.lines:
        if line.outcome == "QUEUED":
            yield f"{_said(line)}: still, when everything is at rest"
        elif line.outcome == "RAN":
            states = {job.state for job in evidence.jobs.get(line.run_id, {}).values()}
            state = next((s for s, of in _RUN_STATES.items() if states & of), "COMPLETED")
            if line.run_state != state or not line.finished_wall:
                yield f"{_said(line)}: it says that its run is {line.run_state}, and it is {state}"


_RUN_STATES = {"RUNNING": {"QUEUED", "BLOCKED", "RUNNING", "FAILED"}, "FAILED": {"DEAD"}, "CANCELLED": {"CANCELLED"}}


def _of_alerts(evidence: FireEvidence) -> Iterator[str]:
    """Whoever is to be told: of the newest one that was missed at a time, and of every run that has failed."""
    heard: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for body in evidence.told:
        heard[body["schedule"], body["kind"], body["scheduled_for"]].add(body["id"])
    yield from (f"{' '.join(key)} was told as {len(ids)} alerts" for key, ids in heard.items() if len(ids) > 1)
    for chronicle in evidence.chronicles:
        newest = {group[-1] for group in chronicle.missed()}
        failed = {line for line in chronicle.lines if line.run_state == "FAILED" or line.outcome == "FAILED"}
        wanted = {(chronicle.name, line.kind, utc_text(line.slot_wall)) for line in newest | failed}
        told = {key for key in heard if key[0] == chronicle.name and key[2] >= utc_text(chronicle.since)}
        yield from (f"nobody was told of {' '.join(key)}" for key in sorted(wanted - told))
        yield from (f"somebody was told of {' '.join(key)}, for no reason" for key in sorted(told - wanted))
        noted = {
            (chronicle.name, line.kind, utc_text(line.slot_wall)) for line in chronicle.lines if line.alert == "sent"
        }
        yield from (f"{' '.join(key)} does not say that its alert was sent" for key in sorted(wanted - noted))


def _said(line: FireStatus) -> str:
    made_up = " (made up)" if line.made_up else ""
    reason = f", {line.reason}" if line.reason else ""
    return f"{line.kind} of {utc_text(line.slot_wall)} {line.outcome}{made_up}{reason}"
