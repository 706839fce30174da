"""The judge: what executions, workers and clients saw, against what became durable. It never asks the core.

Its ledger has each execution from its start to its true end, each failure of a worker and each silence.
The rows are what a restarted master would believe. From both it judges what was promised (design, section
14): I1 nothing acknowledged is lost, I2 one counted completion, I3 final states stay and superseded attempts
do not change, I4 what is COMPLETED ran to its end, I5 no start without a cause, I6 no child before its
parents, I9 numbers and terms only grow. What was promised of services is in `wants`, of schedules in `timekeeper`, of
the size of the cluster in `growth`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from titan_core.scheduler.events import Event, ScheduleDefined
from titan_core.scheduler.model import JobSpec
from titan_core.scheduler.records import AttemptRecord, EventRecord, StateRecord
from titan_core.scheduler.states import FINAL, LOST_CAUSE, JobState, Outcome, Restart
from titan_test_suite.pytests.support.simulation.agenda import Agenda
from titan_test_suite.pytests.support.simulation.frames import Start
from titan_test_suite.pytests.support.simulation.store import Rows, Step
from titan_test_suite.pytests.support.simulation.timekeeper import Timekeeper
from titan_test_suite.pytests.support.simulation.truth import Execution
from titan_test_suite.pytests.support.simulation.wants import RETRIES, Wants

_OVERLAP_S = 2.0
"""So much longer than its newest session an older one of a worker may be heard."""


class Oracle:
    """Raises AssertionError at the first thing that is not as it was promised. `silence_s`: after so long without
    a word a worker may be given up."""

    def __init__(self, agenda: Agenda, rows: Rows, silence_s: float) -> None:
        self._agenda, self._rows, self._silence_s = agenda, rows, silence_s
        self.executions: dict[bytes, Execution] = {}
        self.wants = Wants(rows, self.executions)
        self.timekeeper = Timekeeper()
        self.promised: dict[bytes, tuple[str, tuple[JobSpec, ...]]] = {}
        """Run id and jobs of acknowledged submissions, by request id."""
        self.starts = self.master_crashes = self.worker_failures = self.let_go = 0
        self._failing: dict[str, bytes] = {}
        """Workers whose process has ended, or is about to, while no newer one has registered; and that process."""
        self._failures: dict[str, list[float]] = defaultdict(list)
        """When that was over."""
        self._instances: dict[str, bytes] = {}
        self._heard_at: dict[str, float] = {}
        self._silences: dict[str, list[float]] = defaultdict(list)
        """When a long silence of a worker ended."""
        self._succeeded: set[str] = set()
        """Keys of jobs that truly did what they were for: one execution succeeded, or a service was up."""
        self._stopped: set[int] = set()
        """Instances of services that were to stop, not to be cancelled."""
        self._history: dict[int, JobState] = {}
        self._attempt_of: dict[bytes, tuple[int, int]] = {}
        self._runs: dict[str, int] = {}
        """Numbers of all runs that ever became durable, by their ids."""
        self._names: dict[int, str] = {}
        """Keys of all jobs that ever became durable, by number."""
        self._specs: dict[int, JobSpec] = {}
        self._term = 0

    # ── what workers and their executions saw ─────────────────────────────────────────────────────

    def started(self, start: Start, worker_id: str) -> None:
        self._agenda.tell("execution starts", start.token, start.key, start.number, worker_id)
        assert start.token not in self.executions, f"attempt {start.number} of {start.key} was executed twice"
        place = self._attempt_of.get(start.token)
        assert place is not None, f"attempt {start.number} of {start.key} runs, and its intent is not durable"
        assert (self._rows.key(place[0]), place[1]) == (start.key, start.number), "a token of another attempt"
        self.executions[start.token] = Execution(start.key, start.args)
        self.starts += 1

    def came_up(self, token: bytes) -> None:
        self.executions[token].was_up = True
        key = self.executions[token].key
        self._succeeded |= {key, self._head_key(key)}

    def ended(self, token: bytes, outcome: Outcome) -> None:
        self._agenda.tell("execution ends", token, self.executions[token].key, outcome.value)
        execution = self.executions[token]
        execution.outcome, execution.over = outcome, True
        if outcome is Outcome.SUCCEEDED:
            self._succeeded.add(execution.key)
        job, number = self._attempt_of[token]
        self.wants.ended(job, execution.args, self._rows.attempts[job][number].started_at, outcome)

    def killed(self, token: bytes) -> None:
        """Cleared away unseen: nobody tells how it ended."""
        self.executions[token].over = True

    def forgotten(self, token: bytes) -> None:
        """The worker was told that it may forget the result: it is durable, or does not matter any more."""
        job, number = self._attempt_of[token]
        attempt, state = self._rows.attempts[job][number], self._rows.states[job]
        over = JobState(state.state) in FINAL or number <= state.attempts_before  # or was, until somebody retried it
        if number == max(self._rows.attempts[job]) and not over:
            truth = self.executions[token].outcome
            assert truth is not None
            assert attempt.outcome == truth.value, (
                f"the result {truth.value} of {self._rows.key(job)} is forgotten; durable is {attempt.outcome!r}"
            )
        assert attempt.outcome, f"the result of {self._rows.key(job)} is forgotten, and is not durable"

    def was_let_go(self, worker_id: str) -> None:
        """The scaler stops a worker."""
        self._agenda.tell("let go", worker_id)
        self.let_go += 1

    def worker_failed(self, worker_id: str, instance: bytes) -> None:
        self._failing[worker_id] = instance
        self.worker_failures += 1

    def registered(self, worker_id: str, instance: bytes) -> None:
        if self._instances.get(worker_id) != instance:
            self._instances[worker_id] = instance
            self._failures[worker_id].append(self._agenda.now)
            if self._failing.get(worker_id) != instance:
                self._failing.pop(worker_id, None)

    def heard(self, worker_id: str) -> None:
        now, heard_at = self._agenda.now, self._heard_at.get(worker_id)
        if heard_at is not None and now - heard_at >= self._silence_s - _OVERLAP_S:
            self._silences[worker_id].append(now)
        self._heard_at[worker_id] = now

    # ── what clients saw ──────────────────────────────────────────────────────────────────────────

    def promise(self, request_id: bytes, run_id: str, jobs: tuple[JobSpec, ...]) -> None:
        """A client was told that its submission is kept, under this run id."""
        known, _ = self.promised.setdefault(request_id, (run_id, jobs))
        assert known == run_id, f"a submission sent again is in {run_id}; it was in {known}"
        kept = self._rows.requests.get(request_id)
        assert kept is not None, f"the submission of {run_id} was acknowledged, and is not durable"
        assert self._rows.runs[kept].run_id == run_id, f"the submission of {run_id} is kept for another run"
        missing = [spec.job_id for spec in jobs if f"{run_id}/{spec.job_id}" not in self._rows.job_of_key]
        assert not missing, f"{missing} of {run_id} were acknowledged, and are not durable"

    def told(self, key: str, state: JobState) -> None:
        """A client was told the state of a job."""
        job = self._rows.job_of_key[key]
        if state is JobState.COMPLETED and self.wants.of(job) is None:  # a service may have been started since
            durable = self._rows.states[job].state
            assert durable == state.value, f"{key} was said to be COMPLETED; durable is {durable}"

    def event(self, event: Event) -> None:
        self._agenda.tell("event", type(event).__name__, *_named(event))

    def recovered(self, term: int) -> None:
        assert term > self._term, f"term {term} follows {self._term}"
        self._term = term

    # ── what became durable ───────────────────────────────────────────────────────────────────────

    def durable(self, step: Step) -> None:
        """A step is about to join the rows."""
        batch = step.batch
        for line in batch.fires:
            self._agenda.tell("line", *line[:5], "made up" if line.made_up else "", line.alert, line.until or "")
        self.wants.check_ports()
        runs = {run.sequence: run.run_id for run in batch.runs}
        for run, run_id in runs.items():
            assert self._runs.setdefault(run_id, run) == run, f"{run_id} is the id of two runs"
        for job in batch.jobs:
            assert job.sequence not in self._names, f"number {job.sequence} was given to two jobs"
            self._names[job.sequence], self._specs[job.sequence] = f"{runs[job.run]}/{job.job_id}", job.spec
        self.wants.hear(step, self._names, self.timekeeper.replaced(step))
        states = {state.job: state for state in batch.states}
        for event in batch.events:
            self._check_event(event, self._wanted(event.job, step.cause))
        for state in batch.states:
            self._check_state(state, self._wanted(state.job, step.cause))
        for attempt in sorted(batch.attempts, key=lambda attempt: attempt.number):
            before = self._rows.attempts[attempt.job].get(attempt.number)
            if before is None:
                decided_at = max(event.at for event in batch.events if event.job == attempt.job)
                self._check_new_attempt(attempt, batch.attempts, states, decided_at)
            else:
                self._check_changed_attempt(before, attempt)
            self._check_outcome(attempt)
        self.wants.check(step, states)
        self.timekeeper.durable(step)

    def _wanted(self, job: int, cause: Event) -> bool:
        """Whether this job may begin anew, since somebody wants it."""
        return isinstance(cause, RETRIES) or self.wants.may_return(job, cause)

    def _check_event(self, event: EventRecord, by_hand: bool) -> None:
        name = self._name(event.job)
        assert (event.run, event.version) not in self._rows.events, f"{name}: two events of version {event.version}"
        before, after = JobState(event.before), JobState(event.after)
        if before is after:
            return
        assert self._history.get(event.job, JobState.BLOCKED) is before, f"{name} was not {before}"
        if before in FINAL:
            assert by_hand, f"{name} left {before.value}, and nobody wanted it"
            service = self.wants.of(event.job) is not None
            assert service or before is not JobState.COMPLETED, f"{name} was COMPLETED, and is {after}"
        self._history[event.job] = after

    def _check_state(self, state: StateRecord, by_hand: bool) -> None:
        name, known = self._name(state.job), self._history.get(state.job, JobState.BLOCKED)
        assert known.value == state.state, f"{name} became {state.state}, and its history says {known.value}"
        if state.ending_state == JobState.COMPLETED.value:
            assert self.wants.of(state.job) is not None, f"{name} is to stop, and is no service"
            self._stopped.add(state.job)
        before = self._rows.states.get(state.job)
        if before is not None and before.attempts_before != state.attempts_before:
            assert by_hand, f"{name} got new budgets, and nobody wanted it"

    def _check_new_attempt(
        self, attempt: AttemptRecord, batch: list[AttemptRecord], states: dict[int, StateRecord], decided_at: float
    ) -> None:
        job, number, name = attempt.job, attempt.number, self._name(attempt.job)
        tried = self._rows.attempts[job] | {one.number: one for one in batch if one.job == job}
        assert number == len(tried), f"{name}: attempt {number} is new, and there are {sorted(tried)}"
        assert attempt.token not in self._attempt_of, f"{name}: attempt {number} has the token of another"
        self._attempt_of[attempt.token] = job, number
        budgets_since, spec = states[job].attempts_before, self._specs[job]
        assert not spec.max_attempts or number - budgets_since <= spec.max_attempts, f"{name}: attempt {number}"
        if number > 1:
            assert tried[number - 1].outcome, f"{name}: attempt {number} is new, and {number - 1} is not over"
            if number - 1 > budgets_since:
                self._check_cause(tried[number - 1], decided_at)
        self._check_parents(job, spec, states)

    def _check_cause(self, previous: AttemptRecord, decided_at: float) -> None:
        """Whether it failed by itself, or something befell its worker."""
        execution, want = self.executions.get(previous.token), self.wants.of(previous.job)
        kept = want is not None and any(policy.restart is Restart.ALWAYS for policy in want.policies)
        if execution is not None and execution.outcome not in (None, None if kept else Outcome.SUCCEEDED):
            return
        worker_id, since = previous.worker_id, previous.started_at
        silent_s = decided_at - self._heard_at.get(worker_id, 0.0)
        assert (
            worker_id in self._failing
            or any(at >= since for at in self._failures[worker_id])
            or any(at >= since for at in self._silences[worker_id])
            or silent_s >= self._silence_s - _OVERLAP_S
        ), f"{self._name(previous.job)}: attempt {previous.number} was given up though nothing befell {worker_id}"

    def _check_parents(self, job: int, spec: JobSpec, states: dict[int, StateRecord]) -> None:
        run_id = self._name(job).partition("/")[0]
        for name in spec.parents:
            key = name if "/" in name else f"{run_id}/{name}"
            parent = next(number for number, known in self._names.items() if known == key)
            state = states.get(parent) or self._rows.states[parent]
            assert state.satisfied, f"{self._name(job)} began before {key} had ended"
            assert JobState(state.state) not in LOST_CAUSE, f"{self._name(job)} began though {key} had failed"
            assert key in self._succeeded or parent in self._stopped, f"{key} never did what it was for"

    def _check_changed_attempt(self, before: AttemptRecord, after: AttemptRecord) -> None:
        name, number = self._name(after.job), after.number
        assert before.token == after.token, f"{name}: number {number} was given twice"
        assert before.worker_id == after.worker_id, f"{name}: attempt {number} has moved to another worker"
        if before != after:
            assert number == max(self._rows.attempts[after.job]), f"{name}: attempt {number} changed, superseded"

    def _check_outcome(self, attempt: AttemptRecord) -> None:
        name, execution = self._name(attempt.job), self.executions.get(attempt.token)
        if attempt.outcome and attempt.outcome != Outcome.LOST.value:
            assert execution is not None, f"{name}: attempt {attempt.number} ended, and never began"
            assert execution.outcome is Outcome(attempt.outcome), f"{name}: {attempt.outcome}, truly {execution}"
        if attempt.counted:
            others = [a.number for a in self._rows.attempts[attempt.job].values() if a.counted]
            assert set(others) <= {attempt.number}, f"{name}: attempts {others} and {attempt.number} are counted"
            if attempt.job not in self._stopped:
                assert execution is not None and execution.outcome is Outcome.SUCCEEDED, f"{name}: {execution}"

    # ── the end ───────────────────────────────────────────────────────────────────────────────────

    def open_jobs(self) -> list[str]:
        """Jobs that are durable and not final."""
        final = {state.value for state in FINAL}
        return [self._rows.key(job) for job, state in self._rows.states.items() if state.state not in final]

    def fired_jobs(self, last: int) -> list[str]:
        """Keys of the jobs of the newest runs that schedules have started, so many runs."""
        return [self._names[job] for job in self.timekeeper.jobs_of_runs(last)]

    def running(self) -> list[bytes]:
        """Tokens of the attempts that are durably on a worker."""
        running = [job for job, state in self._rows.states.items() if state.state == JobState.RUNNING.value]
        return [self._rows.attempts[job][max(self._rows.attempts[job])].token for job in running]

    def described(self, tokens: Iterable[bytes]) -> list[str]:
        return [
            f"attempt {number} of {self._names[job]}" for job, number in map(self._attempt_of.__getitem__, tokens)
        ]

    def check_end(self) -> None:
        """Faults have stopped, and everything had its time."""
        self.wants.check_ports()
        for run_id, jobs in self.promised.values():
            for spec in jobs:
                assert f"{run_id}/{spec.job_id}" in self._rows.job_of_key, f"{run_id}/{spec.job_id} is gone"
        assert not self.open_jobs(), f"not final: {self.open_jobs()}"
        self.timekeeper.check_rest()
        alive = [execution.key for execution in self.executions.values() if not execution.over]
        assert not alive, f"executions of {alive} are left"

    def _head_key(self, key: str) -> str:
        """The first instance of the service that a job is an instance of; else itself."""
        job = self._rows.job_of_key[key]
        return self._names[self._rows.jobs[job].instance_of or job]

    def _name(self, job: int) -> str:
        return self._names[job]


def _named(event: Event) -> Iterable[object]:
    match event:
        case _ if hasattr(event, "report"):
            yield from (event.worker_id, event.report.token, event.report.outcome.value)
        case _:
            for name in ("run_id", "job_id", "worker_id", "session", "token", "term", "name", "slots", "offset_s"):
                if hasattr(event, name):
                    yield getattr(event, name)
            if isinstance(event, ScheduleDefined):
                made = event.definition
                yield from (
                    made.name,
                    made.timing,
                    made.overlap.value,
                    made.catch_up.value,
                    event.pause,
                    event.resume,
                )
