"""The ledger: what truly happened, written down by a witness that shares nothing with the core but its events.

It sees each event and the actions it led to, and is told how executions really ended. From that alone it
judges what was promised (design, section 14): I2 one counted completion, I3 and I9 final states stay and
numbers grow, I4 what is COMPLETED truly ran to its end, I5 no attempt beyond the budgets, I6 no child
before its parents, I10 no delayed job early.
"""

from __future__ import annotations

from collections import Counter

from titan_core.errors import RequestRefused
from titan_core.scheduler.actions import (
    AcknowledgeResult,
    Action,
    RecordChange,
    RecordJobsAdded,
    StartAttempt,
    StopAttempt,
)
from titan_core.scheduler.core import Core
from titan_core.scheduler.events import (
    Event,
    JobRetryRequested,
    RunRetryRequested,
    ServiceReady,
    ServiceRestartRequested,
    ServiceScaleRequested,
    ServiceStartRequested,
    ServiceUpdateRequested,
)
from titan_core.scheduler.model import Attempt, Job, JobSpec
from titan_core.scheduler.settings import ScalingSettings
from titan_core.scheduler.states import (
    FINAL,
    INFRASTRUCTURE_BUDGET,
    LOST_CAUSE,
    WAITING,
    Affinity,
    JobState,
    Outcome,
    Restart,
)
from titan_test_suite.pytests.support.cluster_model import Cluster

_RETRIES = JobRetryRequested | RunRetryRequested
_STARTS = ServiceStartRequested | ServiceScaleRequested
_RENEWALS = ServiceRestartRequested | ServiceUpdateRequested


class Ledger:
    """Jobs are named by their full keys."""

    def __init__(self) -> None:
        self.specs: dict[str, JobSpec] = {}
        self.parents: dict[str, list[str]] = {}
        self.states: dict[str, JobState] = {}
        self.tokens: dict[str, list[bytes]] = {}
        """Of the attempts of a job, in the order they were sent out."""
        self.key_of: dict[bytes, str] = {}
        self.worker_of: dict[bytes, str] = {}
        self.truth: dict[bytes, Outcome] = {}
        """How executions ended, be it known to the core or not."""
        self.acknowledged: set[bytes] = set()
        """Results that the worker of the attempt may have forgotten."""
        self.submitted_at: dict[str, float] = {}
        self.released_at: dict[str, float] = {}
        """When the children of a job need not wait for it any more: it completed, or its process was there."""
        self.closed: set[bytes] = set()
        """Attempts whose job became final: whatever becomes of them, nobody is interested."""
        self.completions: Counter[str] = Counter()
        self.retries_by_hand: Counter[str] = Counter()
        self.told_to_stop: set[bytes] = set()
        self.head_of: dict[str, str] = {}
        """The first instance of the service that a job is an instance of."""
        self.renewed: set[str] = set()
        """Services that a person has started again, in whatever way, by their first instances."""

    # ── what happens ──────────────────────────────────────────────────────────────────────────────

    def executed(self, token: bytes, outcome: Outcome) -> None:
        """An execution ended; told when it does, not when anybody hears of it."""
        self.truth[token] = outcome

    def take(self, event: Event, actions: list[Action], now: float) -> None:
        """Write down an event and what followed from it."""
        if isinstance(event, ServiceReady):
            self._came_up(event.token, now)
        if isinstance(event, _STARTS | _RENEWALS):
            self.renewed.add(self.head_of[f"{event.run_id}/{event.job_id}"])
        for action in actions:
            match action:
                case RecordJobsAdded(_, jobs):
                    for job in jobs:
                        self._added(job, now)
                case RecordChange(job, before, after):
                    self._changed(job.key, before, after, now, event)
                case StartAttempt(attempt):
                    self._started(attempt, now)
                case StopAttempt(_, token):
                    self.told_to_stop.add(token)
                case AcknowledgeResult(worker_id, token) if worker_id == self.worker_of.get(token):
                    self.acknowledged.add(token)

    def _added(self, job: Job, now: float) -> None:
        assert job.key not in self.specs, f"{job.key} was added twice"
        self.specs[job.key] = job.spec
        self.parents[job.key] = [p if "/" in p else f"{job.run.run_id}/{p}" for p in job.spec.parents]
        self.states[job.key] = JobState.BLOCKED
        if job.service is not None:
            self.head_of[job.key] = job.service.head.key
        self.submitted_at[job.key] = now

    def _came_up(self, token: bytes, now: float) -> None:
        key = self.key_of.get(token, "")
        if key and self.states[key] is JobState.RUNNING and self.tokens[key][-1] == token:
            self.released_at.setdefault(key, now)
            self.released_at.setdefault(self.head_of[key], now)

    def _changed(self, key: str, before: JobState, after: JobState, now: float, event: Event) -> None:
        if before is after:
            return
        assert self.states[key] is before, f"{key} was {self.states[key]}, not {before}"
        if before in FINAL:
            service = self.head_of.get(key, "")
            again = isinstance(event, _STARTS) or service in self.renewed
            assert again if service and before is JobState.COMPLETED else again or isinstance(event, _RETRIES), (
                f"{key} left {before} and nobody wanted it"
            )
            self.retries_by_hand[key] += 1
        self.states[key] = after
        if after in FINAL:
            self.closed.update(self.tokens.get(key, [])[-1:])
        if after is JobState.COMPLETED:
            self._completed(key, now)

    def _completed(self, key: str, now: float) -> None:
        self.completions[key] += 1
        assert self.completions[key] == 1 or key in self.head_of, f"{key} was counted twice"
        token = self.tokens[key][-1]
        stopped = key in self.head_of and token in self.told_to_stop
        assert stopped or self.truth.get(token) is Outcome.SUCCEEDED, f"{key} is COMPLETED, but never ran"
        self.released_at.setdefault(key, now)

    def _started(self, attempt: Attempt, now: float) -> None:
        key, tokens = attempt.job.key, self.tokens.setdefault(attempt.job.key, [])
        assert self.states[key] is JobState.RUNNING
        if tokens and tokens[-1] == attempt.token:
            return  # the same order again
        assert attempt.token not in self.key_of, f"{key}: attempt {attempt.number} has the token of another"
        tokens.append(attempt.token)
        self.specs[key] = attempt.job.spec
        self.key_of[attempt.token], self.worker_of[attempt.token] = key, attempt.worker_id
        assert attempt.number == len(tokens)
        self._check_parents(key)
        self._check_place(key, attempt.worker_id)
        self._check_delay(key, now)
        self._check_budget(key)

    def stands(self, token: bytes) -> bool:
        """Whether an execution still matters: there is no newer attempt, and its job has not become final since."""
        key = self.key_of[token]
        return self.tokens[key][-1] == token and token not in self.closed

    # ── what was promised ─────────────────────────────────────────────────────────────────────────

    def _check_parents(self, key: str) -> None:
        for parent in self.parents[key]:
            assert parent in self.released_at, f"{key} began before {parent} had ended"
            assert self.states[parent] not in LOST_CAUSE, f"{key} began though {parent} had failed"

    def _check_place(self, key: str, worker_id: str) -> None:
        if self.specs[key].affinity is Affinity.STRICT and self.parents[key]:
            bound_to = self.worker_of[self.tokens[self.parents[key][0]][-1]]
            assert worker_id == bound_to, f"{key} is bound to {bound_to}, and began on {worker_id}"

    def _check_delay(self, key: str, now: float) -> None:
        """Instances that are made later wait as long as the first one; nobody does whom a person has started."""
        head = self.head_of.get(key, key)
        by_hand = self.retries_by_hand[key] or self.retries_by_hand[head] or head in self.renewed
        if len(self.tokens[key]) == 1 and not by_hand:
            ready_at = max([self.submitted_at[head], *(self.released_at[parent] for parent in self.parents[key])])
            assert now >= ready_at + self.specs[key].delay_s, f"{key} began early"

    def _check_budget(self, key: str) -> None:
        """Attempts that a worker interrupted because it was stopping are charged to `max_attempts` alone. A service
        that is to run has no budget, and one that was started again has a new one."""
        if key in self.head_of and (
            self.specs[key].policy.restart is not Restart.NEVER or self.head_of[key] in self.renewed
        ):
            return
        spec, tokens, budgets = self.specs[key], self.tokens[key], 1 + self.retries_by_hand[key]
        assert not spec.max_attempts or len(tokens) <= spec.max_attempts * budgets, f"{key}: attempt {len(tokens)}"
        charged = sum(self.truth.get(token) is not Outcome.INTERRUPTED for token in tokens)
        assert charged <= (1 + spec.retries + INFRASTRUCTURE_BUDGET) * budgets, f"{key}: attempt {len(tokens)}"

    def check(self, cluster: Cluster) -> None:
        """What is true between any two events."""
        for run in cluster.core.state.runs.values():
            for job in run.jobs.values():
                assert self.states[job.key] is job.state, f"{job.key} became {job.state} and nobody was told"
        for key, state in self.states.items():
            hopeless = [parent for parent in self.parents[key] if self.states[parent] in LOST_CAUSE]
            assert state not in WAITING or not hopeless, f"{key} is {state} though {hopeless} failed"
            assert key in self.head_of or (state is JobState.COMPLETED) == (self.completions[key] == 1)
        for worker in cluster.workers.values():
            if worker.connected:
                seen = cluster.worker(worker)
                known = {**seen.running, **seen.services}
                assert set(worker.running) == set(known), f"{worker.worker_id} runs {worker.running}, not {known}"


class WatchedCluster(Cluster):
    """A cluster whose every event is written into a ledger; and refusals change nothing."""

    def __init__(self, ledger: Ledger, scaling: ScalingSettings, **settings: float) -> None:
        super().__init__(scaling, **settings)
        self._ledger = ledger
        self.broken = False
        """Something was not as it must be; what the ledger says since is not the whole truth."""

    def handle(self, event: Event) -> list[Action]:
        before, self.broken = facts(self.core), True
        try:
            actions = super().handle(event)
        except RequestRefused:
            assert facts(self.core) == before, f"{event} was refused, and changed something"
            self.broken = False
            raise
        self._ledger.take(event, actions, self.now)
        self._check_capabilities(actions)
        self.broken = False
        return actions

    def _check_capabilities(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, StartAttempt):
                worker = self.core.state.workers[action.attempt.worker_id]
                assert action.attempt.job.spec.requirement in worker.info.capabilities


def facts(core: Core) -> object:
    """Everything a refusal must leave as it is."""
    state = core.state
    jobs = [job for run in state.runs.values() for job in run.jobs.values()]
    services = [service for run in state.runs.values() for service in run.services.values()]
    return (
        [(job.key, job.state, job.reason, job.ending, job.open_parents, len(job.children)) for job in jobs],
        [(run.run_id, run.version, run.open_jobs, tuple(run.requests)) for run in state.runs.values()],
        [(worker.worker_id, worker.state, worker.session) for worker in state.workers.values()],
        (list(state.attempts), list(state.lost), len(state.timers), list(state.over), state.jobs_over),
        dict(state.requests),
        [(s.key, s.wanted, s.revision, s.rolling, len(s.instances)) for s in services],
        list(state.growth.expected),
    )
