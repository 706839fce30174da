"""What people want of services, and whether they have it: the part of the judge that knows services.

It learns what was wanted from the requests whose steps became durable, and what is from the rows and the executions.
A service that is wanted keeps its instances, unless one ended for a reason of its own; it runs what it was last
told to, or, when that has proved to be no good, something that it was told before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from titan_core.scheduler.events import (
    DeadRetryRequested,
    Event,
    JobCancelRequested,
    JobRetryRequested,
    RunCancelRequested,
    RunRetryRequested,
    ServiceRestartRequested,
    ServiceScaleRequested,
    ServiceStartRequested,
    ServiceStopRequested,
    ServiceUpdateRequested,
)
from titan_core.scheduler.model import JobSpec, ServicePolicy, host_of
from titan_core.scheduler.records import JobRecord, StateRecord
from titan_core.scheduler.states import FINAL, LOST_CAUSE, Affinity, JobState, Outcome, Restart
from titan_test_suite.pytests.support.graphs import BAD
from titan_test_suite.pytests.support.simulation.store import Rows, Step
from titan_test_suite.pytests.support.simulation.truth import Execution

REQUESTS = (
    ServiceStartRequested,
    ServiceStopRequested,
    ServiceScaleRequested,
    ServiceRestartRequested,
    ServiceUpdateRequested,
)
RETRIES = (JobRetryRequested, RunRetryRequested, DeadRetryRequested)
CANCELS = (JobCancelRequested, RunCancelRequested)
_FINAL = {state.value for state in FINAL}
_LOST_CAUSE = {state.value for state in LOST_CAUSE}
Definition = tuple[str, ...]
"""The arguments of a task: what its processes are like, and the version."""


@dataclass(eq=False)
class Want:
    head: int
    run_id: str
    policies: list[ServicePolicy]
    """Of all definitions it was given."""
    definitions: list[Definition]
    """The same, the oldest first."""
    least: int
    most: int
    """Instances there are to be."""
    instances: list[int]
    stopped: bool = False
    run_over: bool = False
    renewing: bool = False
    """It is being renewed, or may yet go back to what it ran before."""
    serves_more: bool = False
    """An instance more than are wanted serves meanwhile."""
    renewed_at: float = 0.0
    """When a renewal was asked for last."""
    refuted: bool = False
    """An execution of what it was last told to run ended by itself."""
    kept_though_bad: set[Definition] = field(default_factory=set)
    """Those with no other to go back to."""
    excused: set[int] = field(default_factory=set)
    """Instances that ended, or are to, for a reason of their own: somebody wanted it, a parent took them with it."""

    @property
    def ends_by_itself(self) -> bool:
        return any(policy.restart is not Restart.ALWAYS for policy in self.policies)


class Wants:
    """`rows` are those before the step that is being judged; `executions` is how it truly is, by token."""

    def __init__(self, rows: Rows, executions: Mapping[bytes, Execution]) -> None:
        self._rows, self._executions = rows, executions
        self.renewals = self.crash_loops = 0
        self._all: list[Want] = []
        self._of_job: dict[int, Want] = {}
        self._specs: dict[int, JobSpec] = {}
        self._jobs_of_run: dict[int, list[int]] = {}
        self._job_of_key: dict[str, int] = {}

    @property
    def services(self) -> int:
        return len(self._all)

    def of(self, job: int) -> Want | None:
        """What is wanted of the service that this job is an instance of."""
        return self._of_job.get(job)

    # ── what becomes durable ──────────────────────────────────────────────────────────────────────

    def hear(self, step: Step, names: dict[int, str], replaced: set[int]) -> None:
        """What a step says that somebody wanted; `replaced`: runs that a schedule has cancelled in it."""
        for job in step.batch.jobs:
            self._jobs_of_run.setdefault(job.run, []).append(job.sequence)
            self._specs[job.sequence], self._job_of_key[names[job.sequence]] = job.spec, job.sequence
            if job.spec.service:
                self._join(job, names[job.sequence].partition("/")[0])
        for want in self._touched(step):
            if self._is_about(step.cause, want):
                self._wanted(want, step.cause, step.at)
        self._hear_about_jobs(step, names, replaced)

    def _join(self, job: JobRecord, run_id: str) -> None:
        if job.instance_of:
            want = self._of_job[job.instance_of]
            want.instances.append(job.sequence)
        else:
            policy, args = job.spec.policy, job.spec.task.args
            want = Want(job.sequence, run_id, [policy], [args], policy.instances, policy.instances, [job.sequence])
            want.kept_though_bad.add(args)
            self._all.append(want)
        self._of_job[job.sequence] = want

    def _touched(self, step: Step) -> list[Want]:
        """Those that the request that caused this step has reached, if it was about them."""
        jobs = [service.job for service in step.batch.services]
        if isinstance(step.cause, ServiceStopRequested | ServiceStartRequested):
            jobs = [state.job for state in step.batch.states]
        return list(dict.fromkeys(self._of_job[job] for job in jobs if job in self._of_job))

    def _is_about(self, cause: Event, want: Want) -> bool:
        if not isinstance(cause, REQUESTS) or cause.run_id != want.run_id:
            return False
        return cause.job_id in ("", *(self._specs[job].job_id for job in want.instances))

    def _wanted(self, want: Want, cause: Event, at: float) -> None:
        match cause:
            case ServiceStopRequested():
                want.stopped = True
                want.kept_though_bad.add(want.definitions[-1])
            case ServiceStartRequested():
                want.stopped, want.run_over, want.least = False, False, want.most
                want.excused = {job for job in want.instances if _is_being_cancelled(self._rows.states[job])}
            case ServiceScaleRequested(instances=number):
                want.least = want.most = number
                want.excused.clear()
            case ServiceRestartRequested():
                self._renewed(want, self._present(want), at)
            case ServiceUpdateRequested(spec=spec):
                self._renewed(want, spec, at)

    def _renewed(self, want: Want, spec: JobSpec, at: float) -> None:
        self.renewals += 1
        want.policies.append(spec.policy)
        want.definitions.append(spec.task.args)
        want.renewing, want.renewed_at, want.refuted = True, at, False

    def _present(self, want: Want) -> JobSpec:
        """The definition that a restart is to keep: the last one, or one before if that has proved to be no good."""
        revision = self._rows.services[want.head].revision
        spec = self._rows.definitions[want.head].get(revision, self._rows.jobs[want.head].spec)
        assert want.refuted or spec.task.args == want.definitions[-1], f"{spec.task.args} is not {want.definitions}"
        assert spec.task.args in want.definitions, f"{spec.task.args} was never wanted"
        return spec

    def _hear_about_jobs(self, step: Step, names: dict[int, str], replaced: set[int]) -> None:
        """Of people, and schedules, who do not care what is a service."""
        for state in step.batch.states:
            want, before = self._of_job.get(state.job), self._rows.states.get(state.job)
            if want is None:
                continue
            run_id, _, job_id = names[state.job].partition("/")
            cancelled = isinstance(step.cause, CANCELS) and step.cause.run_id == run_id
            if (cancelled and getattr(step.cause, "job_id", job_id) == job_id) or state.run in replaced:
                want.excused.add(state.job)
            returns = before is not None and before.state in _FINAL and state.state not in _FINAL
            if isinstance(step.cause, RETRIES) and returns:
                want.excused.discard(state.job)
                want.least = 0 if want.stopped else want.least
                want.stopped = False

    def may_return(self, job: int, cause: Event) -> bool:
        """Whether an instance that was final may begin again, or one that was not, anew."""
        want, before = self._of_job.get(job), self._rows.states.get(job)
        if want is None:
            return False
        asked = want.renewing or isinstance(cause, ServiceStartRequested | ServiceScaleRequested)
        return asked or (before is not None and before.ending_state == JobState.QUEUED.value)

    def ended(self, job: int, definition: Definition, started_at: float, outcome: Outcome) -> None:
        """An execution ended, with this outcome."""
        want = self._of_job.get(job)
        by_itself = outcome not in (Outcome.STOPPED, Outcome.INTERRUPTED)
        if want is not None and by_itself and started_at >= want.renewed_at:
            want.refuted = want.refuted or definition == want.definitions[-1]

    # ── what is always true ───────────────────────────────────────────────────────────────────────

    def check(self, step: Step, states: dict[int, StateRecord]) -> None:
        """Instances are there, no more and no less, once this step is durable, whose states these are."""
        for state in step.batch.states:
            if state.ending_state == JobState.QUEUED.value:
                assert self.may_return(state.job, step.cause), f"{state} is to begin anew, and nobody wanted it"
        self._excuse(step)
        for service in step.batch.services:
            self._of_job[service.job].serves_more = service.surge > 0
        for want in self._of_the_runs(step):
            self._check_number(want, states)
        self.crash_loops += sum(event.after == JobState.CRASHLOOP.value for event in step.batch.events)
        for service in step.batch.services:
            want = self._of_job[service.job]
            want.renewing = want.renewing and (service.rolling or service.fallback > 0)

    def _of_the_runs(self, step: Step) -> list[Want]:
        runs = sorted({state.run for state in step.batch.states})
        jobs = (job for run in runs for job in self._jobs_of_run[run])
        return list(dict.fromkeys(self._of_job[job] for job in jobs if job in self._of_job))

    def _check_number(self, want: Want, states: dict[int, StateRecord]) -> None:
        def state_of(job: int) -> StateRecord:
            return states.get(job) or self._rows.states[job]

        name = f"{want.run_id}/{self._specs[want.head].job_id}"
        live = [job for job in want.instances if _stays(state_of(job))]
        want.run_over = want.run_over or self._is_run_over(want, state_of)
        if not live:
            want.kept_though_bad.add(want.definitions[-1])
        if want.stopped:
            assert not live, f"{name} is wanted no more, and {len(live)} instances go on"
            return
        excused = [job for job in want.instances if self._is_excused(want, state_of(job), state_of)]
        if not want.run_over:
            assert len(live) + len(excused) >= want.least, f"{name} has {len(live)} of {want.least} instances"
        assert len(live) <= want.most + want.serves_more, f"{name} has {len(live)} instances, {want.most} are wanted"

    def _is_excused(self, want: Want, state: StateRecord, state_of: Callable[[int], StateRecord]) -> bool:
        if not _stays(state) and self._ended_by_itself(want, state, state_of):
            want.excused.add(state.job)
        return not _stays(state) and state.job in want.excused

    def _excuse(self, step: Step) -> None:
        """Instances that ended by themselves in this step, though they may serve again at its end."""
        for event in step.batch.events:
            want = self._of_job.get(event.job)
            if want is not None and event.after == JobState.DEAD.value and self._may_die(want, event.job):
                want.excused.add(event.job)

    def _may_die(self, want: Want, job: int) -> bool:
        gives_up = any(policy.restart is Restart.NEVER for policy in want.policies)
        return gives_up or self._specs[job].max_attempts > 0

    def _ended_by_itself(self, want: Want, state: StateRecord, state_of: Callable[[int], StateRecord]) -> bool:
        became = state.ending_state or state.state
        if any(_is_lost(state_of(parent)) for parent in self._parents(state.job)):
            return True
        if became == JobState.COMPLETED.value:
            return want.ends_by_itself and self._has_succeeded(state.job)
        return became == JobState.DEAD.value and self._may_die(want, state.job)

    def _has_succeeded(self, job: int) -> bool:
        executions = (self._executions.get(attempt.token) for attempt in self._rows.attempts[job].values())
        return any(execution is not None and execution.outcome is Outcome.SUCCEEDED for execution in executions)

    def _parents(self, job: int) -> list[int]:
        run_id = self._of_job[job].run_id
        keys = (name if "/" in name else f"{run_id}/{name}" for name in self._specs[job].parents)
        return [self._job_of_key[key] for key in keys]

    def _is_run_over(self, want: Want, state_of: Callable[[int], StateRecord]) -> bool:
        """Whether nothing goes on in its run but services that are there for that."""
        if not want.policies[0].run_scoped:
            return False
        others = self._others(want)
        return bool(others) and all(_is_closed(state_of(job)) for job in others)

    def _others(self, want: Want) -> list[int]:
        run = next(run for run, jobs in self._jobs_of_run.items() if want.head in jobs)
        wants = ((job, self._of_job.get(job)) for job in self._jobs_of_run[run])
        return [job for job, other in wants if other is None or not other.policies[0].run_scoped]

    # ── what is true once faults have stopped ─────────────────────────────────────────────────────

    def unkept(self, workers: set[str]) -> list[str]:
        """What is not as people want it; `workers` are alive, and can run anything."""
        return list(self._unkept(workers))

    def _unkept(self, workers: set[str]) -> Iterator[str]:
        for want in self._all:
            over = self._is_run_over(want, self._rows.states.__getitem__)
            for job in want.instances:
                state = self._rows.states[job]
                if state.state in _FINAL:
                    continue
                fault = f"is {state.state}, and is not wanted" if want.stopped or over else ""
                fault = fault or self._fault(want, state, workers)
                if fault:
                    yield f"{want.run_id}/{self._specs[job].job_id} {fault} ({state.reason})"

    def _fault(self, want: Want, state: StateRecord, workers: set[str]) -> str:
        """What is wrong with an instance that is wanted; empty: nothing."""
        if state.state == JobState.BLOCKED.value:
            waits = not all(self._rows.states[parent].satisfied for parent in self._parents(state.job))
            return "" if waits else "is BLOCKED by nothing"
        spec = self._definition(want, state)
        if state.state != JobState.RUNNING.value:
            excused = self._may_fail(want, spec) or self._has_no_place(spec, state, workers)
            return "" if excused else f"is {state.state}"
        attempt = self._rows.attempts[state.job][max(self._rows.attempts[state.job])]
        execution = self._executions.get(attempt.token)
        if execution is None or execution.over or not execution.was_up or not state.ready:
            return "" if self._may_fail(want, spec) else "is not ready"
        if want.renewing and any(self._waits_for_a_place(want, job, workers) for job in want.instances):
            return ""  # the others go on until it has one
        if execution.args != want.definitions[-1] and not (want.refuted and execution.args in want.definitions):
            return f"runs {execution.args}, and {want.definitions[-1]} is wanted"
        if attempt.started_at < want.renewed_at and not want.refuted:
            return f"was to be restarted at {want.renewed_at:.3f}"
        return ""

    def _definition(self, want: Want, state: StateRecord) -> JobSpec:
        later = self._rows.definitions[want.head].get(state.revision)
        return later or self._rows.jobs[want.head].spec

    def _may_fail(self, want: Want, spec: JobSpec) -> bool:
        """Whether nobody can expect it to be ready: it is bad, and there was nothing else."""
        return spec.task.args[0] == BAD and spec.task.args in want.kept_though_bad

    def _waits_for_a_place(self, want: Want, job: int, workers: set[str]) -> bool:
        state = self._rows.states[job]
        waits = state.state == JobState.QUEUED.value
        return waits and self._has_no_place(self._definition(want, state), state, workers)

    def _has_no_place(self, spec: JobSpec, state: StateRecord, workers: set[str]) -> bool:
        """Whether its port is taken everywhere, or the worker it is bound to is gone."""
        bound_to = self._bound_to(state.job) if spec.affinity is Affinity.STRICT else ""
        places = workers & {bound_to} if bound_to else workers
        taken = {host for job, host in self._with_port(spec.policy.port) if job != state.job}
        return {host_of(worker_id) for worker_id in places} <= taken

    def _bound_to(self, job: int) -> str:
        for parent in self._parents(job):
            if self._rows.attempts[parent]:
                return self._latest_worker(parent)
        return self._rows.jobs[job].spawner_worker_id

    def _latest_worker(self, job: int) -> str:
        return self._rows.attempts[job][max(self._rows.attempts[job])].worker_id

    # ── ports ─────────────────────────────────────────────────────────────────────────────────────

    def check_ports(self) -> None:
        """No two services have one port on one host, as the rows have it."""
        for port in {policy.port for want in self._all for policy in want.policies if policy.port}:
            held = list(self._with_port(port))
            hosts = [host for _, host in held]
            assert len(hosts) == len(set(hosts)), f"port {port} is had twice: {held}"

    def _with_port(self, port: int) -> Iterator[tuple[int, str]]:
        """Instances that are to have this port now, and on which host."""
        for want in self._all if port else ():
            for job in want.instances:
                state = self._rows.states.get(job)
                running = state is not None and state.state == JobState.RUNNING.value
                if state is not None and running and self._definition(want, state).policy.port == port:
                    yield job, host_of(self._latest_worker(job))


def _stays(state: StateRecord) -> bool:
    """Whether an instance goes on, or begins anew."""
    return state.state not in _FINAL and state.ending_state in ("", JobState.QUEUED.value)


def _is_closed(state: StateRecord) -> bool:
    """Whether its run need not wait for it."""
    return state.state in _FINAL or state.ready


def _is_being_cancelled(state: StateRecord) -> bool:
    return state.ending_state == JobState.CANCELLED.value


def _is_lost(state: StateRecord) -> bool:
    return (state.ending_state or state.state) in _LOST_CAUSE
