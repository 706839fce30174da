"""The judgement of a storm. Pure: evidence goes in, violations come out.

The rules bear the numbers of the invariants that design and tests speak of:

    I1   whatever was acknowledged is known, and final       I6   a child starts after its parents' counted ends
    I2   a job is counted as completed once                  I7   no process is alive that is not called running
    I3   a final state stays, for whoever was told of it     I8   no slot is taken
    I4   COMPLETED: the ledger has the counted attempt       I9   versions and attempt numbers only grow
    I5   no more starts than faults that hit the job         I10  a delayed job is not early
    end  a job ends as its plan says, or the faults that hit it excuse what it became

What lasts as long as the storm has also been seen to be there when it was over: see `storm`. Schedules are judged by
`fires`; what they have started, as a run like any other, here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from titan_core.protocol.messages import AttemptStatus, JobEvent, JobStatus
from titan_sdk import TitanJob
from titan_test_suite.torture.ledger import Ledger
from titan_test_suite.torture.plans import GROWN
from titan_test_suite.torture.promises import Promise

BUDGET = 3
"""Attempts that a job may lose with its workers; at one more, or at this many crashes, it is DEAD."""
SLACK_S = 5.0
"""How long the master may take to see that a worker was killed: its connections may be stalled just then."""
_LOST = ("LOST", "INTERRUPTED")
_GONE = ("DEAD", "CANCELLED")
_FINAL = ("COMPLETED", *_GONE)


class Violation(NamedTuple):
    rule: str
    key: str
    """Of the job or run; empty: of neither."""
    text: str

    def __str__(self) -> str:
        return f"{self.rule} {self.key}: {self.text}" if self.key else f"{self.rule} {self.text}"


class Fault(NamedTuple):
    """A worker was killed, or cut off from the master."""

    worker: str
    """`host:port`."""
    from_wall: float
    until_wall: float


@dataclass
class Evidence:
    """All that is known after a storm."""

    promises: list[Promise]
    ledger: Ledger
    jobs: dict[str, dict[str, JobStatus]]
    """What the master says in the end, with attempts, by run id and job id; a run that it denies is not in it."""
    events: dict[str, tuple[JobEvent, ...]] = field(default_factory=dict)
    """By run id."""
    faults: list[Fault] = field(default_factory=list)
    survivors: list[str] = field(default_factory=list)
    """Processes of jobs that are not called running."""
    used: dict[str, int] = field(default_factory=dict)
    """Slots in use at rest, by worker."""


def judge(evidence: Evidence) -> list[Violation]:
    """Everything that is not as it was promised."""
    found = [violation for promise in evidence.promises for violation in _of_run(evidence, promise)]
    found += _of_names(evidence)
    found += [Violation("I7", "", f"still alive: {process}") for process in evidence.survivors]
    found += [Violation("I8", "", f"{worker} uses {n} slots at rest") for worker, n in evidence.used.items() if n]
    return found


def _of_run(evidence: Evidence, promise: Promise) -> Iterator[Violation]:
    known = evidence.jobs.get(promise.run_id)
    if known is None:
        yield Violation("I1", promise.run_id, "was acknowledged, and the master knows nothing of it")
        return
    yield from (Violation("I3", promise.run_id, text) for text in promise.changed)
    yield from (
        Violation("I2", promise.run_id, f"was submitted again, and became {other}") for other in promise.doubled
    )
    for job_id, job in _planned(promise, known):
        status = known.get(job_id)
        key = f"{promise.run_id}/{job_id}"
        if status is None:
            yield Violation("I1", key, "was acknowledged, and the run does not have it")
        else:
            case = Case(evidence, promise, job_id, job, status, known)
            for rule, check in RULES:
                if text := check(case):
                    yield Violation(rule, key, text)
    services = {job.job_id for job in promise.plan.jobs if job.service and promise.disturbed}
    for text in _history_faults(evidence.events.get(promise.run_id, ()), services):
        yield Violation("I9", promise.run_id, text)


def _planned(promise: Promise, known: dict[str, JobStatus]) -> Iterator[tuple[str, TitanJob]]:
    """The jobs that must be there: those submitted, and what a grower has added, once it is COMPLETED; and those that
    are there as further instances of a service."""
    for job in promise.plan.jobs:
        yield job.job_id, job
        if job.service:
            yield from ((job_id, job) for job_id in known if job_id.startswith(f"{job.job_id}."))
    grower = known.get(promise.plan.grower)
    if grower is not None and grower.state == "COMPLETED":
        parents = (promise.plan.grower,)
        yield from ((f"grown-{n}", TitanJob(f"grown-{n}", "step.sh", parents=parents)) for n in range(GROWN))


def _of_names(evidence: Evidence) -> Iterator[Violation]:
    """A submission that was sent again must not have become a second run."""
    known = {promise.name: promise.run_id for promise in evidence.promises}
    for run_id in {key.partition("/")[0] for key in evidence.ledger.starts}:
        name = run_id.rsplit("-", 2)[0]
        if name in known and known[name] != run_id:
            yield Violation("I2", run_id, f"is a second run of the submission that became {known[name]}")


def _history_faults(events: tuple[JobEvent, ...], services: set[str]) -> Iterator[str]:
    """What is wrong with the events of a run, oldest first; `services` may be wanted again."""
    latest: dict[str, JobEvent] = {}
    number = 0
    for event in events:
        before = latest.get(event.job_id)
        if event.number <= number:
            yield f"event {event.number} follows {number}"
        if before is not None and event.attempt < before.attempt:
            yield f"{event.job_id}: attempt {event.attempt} follows {before.attempt}"
        again = event.job_id.partition(".")[0] in services
        if before is not None and before.after in _FINAL and event.after != before.after and not again:
            yield f"{event.job_id} was {before.after}, and then {event.after}"
        latest[event.job_id], number = event, event.number


# ── one job ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Case:
    """A job of an acknowledged run, with all that bears on it."""

    evidence: Evidence
    promise: Promise
    job_id: str
    job: TitanJob
    """As it was submitted; of a further instance of a service the first one."""
    status: JobStatus
    known: dict[str, JobStatus]
    """All jobs of its run."""

    @property
    def key(self) -> str:
        return f"{self.promise.run_id}/{self.job_id}"

    @property
    def counted(self) -> list[AttemptStatus]:
        return [attempt for attempt in self.status.attempts if attempt.outcome == "SUCCEEDED"]

    @property
    def lost(self) -> list[AttemptStatus]:
        return [attempt for attempt in self.status.attempts if attempt.outcome in _LOST]

    @property
    def failed(self) -> list[AttemptStatus]:
        return [attempt for attempt in self.status.attempts if attempt.outcome == "FAILED"]


def _final(case: Case) -> str:
    if case.status.final:
        return ""
    return f"is {case.status.state} when everything is at rest ({case.status.reason})"


def _once(case: Case) -> str:
    if case.job.service:
        return ""  # it may be wanted again
    completions = sum(
        event.job_id == case.job_id and event.after == "COMPLETED" != event.before
        for event in case.evidence.events.get(case.promise.run_id, ())
    )
    if max(len(case.counted), completions) > 1:
        return f"was counted {max(len(case.counted), completions)} times"
    return ""


def _stays(case: Case) -> str:
    told = case.promise.seen_final.get(case.job_id)
    if told is None or told == case.status.state:
        return ""
    return f"a client was told {told}, and now it is {case.status.state}"


def _witnessed(case: Case) -> str:
    """A COMPLETED job has a counted attempt, which truly ran from its start to its end."""
    if case.status.state != "COMPLETED" or case.job.service:
        return ""
    if not case.counted:
        return "is COMPLETED without an attempt that succeeded"
    number = case.counted[-1].number
    started = any(line.number == number for line in case.evidence.ledger.starts.get(case.key, ()))
    end = case.evidence.ledger.end_of(case.key, number)
    if started and end is not None and end.exit_code == 0:
        return ""
    return f"attempt {number} counts, but it never ran to its end"


def _starts(case: Case) -> str:
    """Each attempt starts once at most, and whatever was lost was hit by a fault."""
    starts = case.evidence.ledger.starts.get(case.key, [])
    if len({line.token for line in starts}) < len(starts):
        return "an attempt was started twice"
    unknown = {line.number for line in starts} - {attempt.number for attempt in case.status.attempts}
    if unknown:
        return f"attempts {sorted(unknown)} were started, and the master does not know them"
    if case.job.max_attempts and len(starts) > case.job.max_attempts:
        return f"was started {len(starts)} times, {case.job.max_attempts} is the most"
    unharmed = [attempt.number for attempt in case.lost if not _was_hit(case.evidence, attempt)]
    if unharmed:
        return f"attempts {unharmed} are lost, and no fault hit their worker then"
    return ""


def _restarts(case: Case) -> str:
    """A service begins again when it has ended by itself, was lost, or when somebody wanted that."""
    if not case.job.service:
        return ""
    ended = [attempt.number for attempt in case.status.attempts if attempt.outcome not in (*_LOST, "STOPPED", "")]
    if ended and not case.promise.plan.flaps:
        return f"attempts {ended} ended by themselves, and nothing in them does"
    stopped = [attempt.number for attempt in case.status.attempts if attempt.outcome == "STOPPED"]
    if len(stopped) > 1 and not case.promise.disturbed:
        return f"attempts {stopped} were stopped, and nobody wanted that"
    return ""


def _was_hit(evidence: Evidence, attempt: AttemptStatus) -> bool:
    from_wall, until_wall = attempt.started_wall - SLACK_S, attempt.finished_wall + 0.1
    return any(
        fault.worker == attempt.worker and fault.from_wall <= until_wall and fault.until_wall >= from_wall
        for fault in evidence.faults
    )


def _order(case: Case) -> str:
    starts = case.evidence.ledger.starts.get(case.key)
    for parent_id in case.job.parents if starts else ():
        parent = case.known.get(parent_id)
        if parent is None or parent.state != "COMPLETED":
            return f"was started, and its parent {parent_id} is {parent.state if parent else 'not there'}"
        end = _counted_end(case, parent)
        if starts and (end is None or starts[0].wall < end):
            return f"was started before its parent {parent_id} had ended"
    return ""


def _counted_end(case: Case, parent: JobStatus) -> float | None:
    numbers = [attempt.number for attempt in parent.attempts if attempt.outcome == "SUCCEEDED"]
    end = case.evidence.ledger.end_of(f"{case.promise.run_id}/{parent.job_id}", numbers[-1]) if numbers else None
    return None if end is None else end.wall


def _not_early(case: Case) -> str:
    starts = case.evidence.ledger.starts.get(case.key)
    if not starts or not case.job.delay:
        return ""
    waited_s = starts[0].wall - case.promise.sent_wall
    return "" if waited_s >= case.job.delay / 1000 else f"was started {waited_s:.3f} s after it was submitted"


def _ending(case: Case) -> str:
    """What became of it is what the plan says, or is excused."""
    state, expected = case.status.state, _expected(case)
    if not case.status.final or state in expected:
        return ""
    if state == "DEAD" and _is_excused(case):
        return ""
    return f"is {state} and not {' or '.join(expected)}: {case.status.reason}"


def _expected(case: Case) -> tuple[str, ...]:
    plan = case.promise.plan
    if case.job.service:
        return ("COMPLETED", "CANCELLED")  # CANCELLED: it was stopped while it was not up
    if case.promise.cancelled:
        return ("CANCELLED",)
    if any(case.known[parent].state in _GONE for parent in case.job.parents if parent in case.known):
        return ("CANCELLED",)
    if plan.end_after_s is not None:  # the cancellation may have been granted, and the answer lost
        return ("CANCELLED",)
    if plan.replaced:
        return ("COMPLETED", "CANCELLED")
    return ("DEAD",) if case.job_id in plan.doomed else ("COMPLETED",)


def _is_excused(case: Case) -> bool:
    """Whether faults have used up a budget of the job."""
    if case.job.max_attempts and len(case.status.attempts) >= case.job.max_attempts:
        return len(case.lost) > 0
    return len(case.lost) >= BUDGET and len(case.failed) <= case.job.retries


RULES: tuple[tuple[str, Callable[[Case], str]], ...] = (
    ("I1", _final),
    ("I2", _once),
    ("I3", _stays),
    ("I4", _witnessed),
    ("I5", _starts),
    ("I5", _restarts),
    ("I6", _order),
    ("I10", _not_early),
    ("end", _ending),
)
"""Each gives a sentence when the rule is broken, else an empty one."""
