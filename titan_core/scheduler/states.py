"""The states of jobs, runs, services, workers and schedules, and how an attempt, or a fire, may end.

`jobs.move` is the one door through which a job changes its state; it refuses every edge that is not drawn here:

                ┌────────── BLOCKED (parents) ──────────┐
    submit ─────┼────────── DELAYED (timer) ────────────┼─▶ QUEUED ─▶ RUNNING ─▶ COMPLETED
                └───────────────────────────────────────┘     ▲  ▲       │
                                          attempt lost ───────┘  └─ backoff over ── FAILED ─▶ DEAD
    any state that is not final ─▶ CANCELLED                                (RUNNING ─▶ FAILED)
    FAILED ─▶ CRASHLOOP ─▶ QUEUED: a service that ends again and again, tried once in a while
    DEAD, CANCELLED ─▶ BLOCKED, QUEUED: only when a person retries the job
    COMPLETED ─▶ QUEUED: only an instance of a service, when a person wants it again
"""

from __future__ import annotations

from enum import Enum


class JobState(Enum):
    BLOCKED = "BLOCKED"
    """Waits for parents."""
    DELAYED = "DELAYED"
    """Waits for its time."""
    QUEUED = "QUEUED"
    """Ready; waits for a slot."""
    RUNNING = "RUNNING"
    """An attempt is on a worker."""
    FAILED = "FAILED"
    """The last attempt failed; the backoff before the next one runs."""
    COMPLETED = "COMPLETED"
    DEAD = "DEAD"
    """Failed, and out of retries."""
    CANCELLED = "CANCELLED"
    CRASHLOOP = "CRASHLOOP"
    """A service that ended too often; rests before it is tried again."""

    __hash__ = object.__hash__
    """Members are single objects; hashed by name, as Enum does, each step of a job would cost a fifth more."""


FINAL = frozenset({JobState.COMPLETED, JobState.DEAD, JobState.CANCELLED})
LOST_CAUSE = frozenset({JobState.DEAD, JobState.CANCELLED})
"""Final states of a parent that cancel its children."""
WAITING = frozenset({JobState.BLOCKED, JobState.DELAYED, JobState.QUEUED, JobState.FAILED, JobState.CRASHLOOP})
PAUSED = frozenset({JobState.FAILED, JobState.CRASHLOOP})
"""An attempt ended badly, and the next one is due."""

_S = JobState
EDGES: dict[JobState, frozenset[JobState]] = {
    _S.BLOCKED: frozenset({_S.DELAYED, _S.QUEUED, _S.CANCELLED}),
    _S.DELAYED: frozenset({_S.QUEUED, _S.CANCELLED}),
    _S.QUEUED: frozenset({_S.RUNNING, _S.CANCELLED}),
    _S.RUNNING: frozenset({_S.COMPLETED, _S.FAILED, _S.QUEUED, _S.CANCELLED}),
    _S.FAILED: frozenset({_S.QUEUED, _S.DEAD, _S.CANCELLED, _S.CRASHLOOP}),
    _S.CRASHLOOP: frozenset({_S.QUEUED, _S.CANCELLED}),
    _S.COMPLETED: frozenset({_S.QUEUED}),
    _S.DEAD: frozenset({_S.BLOCKED, _S.QUEUED}),
    _S.CANCELLED: frozenset({_S.BLOCKED, _S.QUEUED}),
}


class RunState(Enum):
    RUNNING = "RUNNING"
    """Some job is not final; a service that is ready does not count."""
    COMPLETED = "COMPLETED"
    """Every job is COMPLETED, or a service that is ready. What became of instances it does without is no matter."""
    FAILED = "FAILED"
    """Over, with at least one DEAD job."""
    CANCELLED = "CANCELLED"
    """Over, none DEAD, at least one CANCELLED job."""


class Outcome(Enum):
    """How an attempt ended."""

    SUCCEEDED = "SUCCEEDED"
    """Exit code 0."""
    FAILED = "FAILED"
    """Another exit code, or ended by a signal that nobody here sent."""
    TIMED_OUT = "TIMED_OUT"
    STOPPED = "STOPPED"
    """Ended because the master asked for it."""
    NOT_STARTED = "NOT_STARTED"
    """No process could be made of it: no interpreter, no such entry, not executable."""
    INTERRUPTED = "INTERRUPTED"
    """Ended because its worker was stopping."""
    LOST = "LOST"
    """Its worker went away; said by the master, never by a worker."""


INFRASTRUCTURE = frozenset({Outcome.INTERRUPTED, Outcome.LOST, Outcome.STOPPED})
"""Outcomes that say nothing about the job: charged to the infrastructure budget, not to `retries`."""
INFRASTRUCTURE_BUDGET = 3
"""Attempts a job may lose with its workers before it is DEAD."""
POISON_CRASHES = 3
"""Crashes of workers at which a job may be present before it is taken for their cause."""


class ServiceState(Enum):
    """What a service is like, all its instances together; the first that fits."""

    STOPPED = "STOPPED"
    """Nobody wants it: every instance was stopped, or ended as it may."""
    DEAD = "DEAD"
    """Every instance is final, and one of them DEAD."""
    UPDATING = "UPDATING"
    """Its instances are restarted, one after the other."""
    READY = "READY"
    """All instances that are wanted are ready."""
    CRASHLOOP = "CRASHLOOP"
    """An instance ends again and again."""
    DEGRADED = "DEGRADED"
    """Some instances are ready."""
    STARTING = "STARTING"
    """None is ready; one has a process."""
    WAITING = "WAITING"
    """None has a process."""


class WorkerState(Enum):
    ONLINE = "ONLINE"
    DISCONNECTED = "DISCONNECTED"
    """Its session is gone; its attempts may still be running until it is taken for dead."""
    DRAINING = "DRAINING"
    """Gets no more work."""


class Affinity(Enum):
    NONE = ""
    PREFER = "prefer"
    """The parent's worker if it has a free slot, else any."""
    STRICT = "strict"
    """The parent's worker, however long that takes."""


class Restart(Enum):
    """Whether a service that ends by itself is started again."""

    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    """Not after exit code 0."""
    NEVER = "never"
    """It is like a job, with its `retries`."""


class ScheduleState(Enum):
    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    """Its slots pass without a run."""
    FINISHED = "FINISHED"
    """It has no further slot."""


class FireKind(Enum):
    """Why a schedule fires."""

    SCHEDULE = "schedule"
    """It is due."""
    TRIGGER = "trigger"
    """A person asked for it."""
    SPAN = "span"
    """It was due many times while nobody could decide on that: one line for all slots that have none of their own."""


class FireOutcome(Enum):
    """What became of a fire."""

    QUEUED = "QUEUED"
    """Waits until earlier runs are over; nothing is settled yet."""
    RAN = "RAN"
    """There is a run."""
    SKIPPED = "SKIPPED"
    """It was not to run: an earlier run went on, or the schedule was paused."""
    MISSED = "MISSED"
    """There was no master, or the clock passed over it."""
    FAILED = "FAILED"
    """No run could be made of it."""


class Overlap(Enum):
    """What a fire does when an earlier run of its schedule goes on."""

    SKIP = "skip"
    QUEUE = "queue"
    """It waits until that one is over."""
    ALLOW = "allow"
    REPLACE = "replace"
    """That one is cancelled, and this one begins when it is over."""


class CatchUp(Enum):
    """Which of the fires that nobody could launch at their time are launched later."""

    NONE = "none"
    LAST = "last"
    ALL = "all"
