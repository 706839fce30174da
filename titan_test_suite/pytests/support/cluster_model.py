"""A cluster without threads, sockets or time: a Core, workers that do what they are told, a clock moved by hand.

    cluster = Cluster()
    cluster.join("w")
    cluster.submit(job("extract"), job("load", "extract"))
    cluster.finish("extract")
    assert cluster.states() == {"extract": "COMPLETED", "load": "RUNNING"}

Every event goes through `Cluster.handle`, which checks all invariants after it (`checked = False` leaves
that to the test). Jobs are named by `<job id>`, of the newest run that has it, or `<run id>/<job id>`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from titan_core.scheduler import invariants
from titan_core.scheduler.actions import (
    AcceptWorker,
    AcknowledgeResult,
    Action,
    DeleteRun,
    ForgetRun,
    Provision,
    RecordChange,
    RecordFire,
    RecordJobsAdded,
    RecordRunFinished,
    RecordSchedule,
    RecordService,
    RecordWorker,
    Release,
    RetractMissed,
    SendAlert,
    ShutDownWorker,
    StartAttempt,
    StopAttempt,
)
from titan_core.scheduler.core import Core
from titan_core.scheduler.events import (
    AttemptReport,
    AttemptsFinished,
    DeadRetryRequested,
    Event,
    JobCancelRequested,
    JobRetryRequested,
    JobsAdded,
    RunCancelRequested,
    RunRetryRequested,
    RunSubmitted,
    ScalingDue,
    ServiceReady,
    ServiceRestartRequested,
    ServiceScaleRequested,
    ServiceStartRequested,
    ServiceStopRequested,
    ServiceUpdateRequested,
    TimePassed,
    WorkerDisconnected,
    WorkerHoldRequested,
    WorkerRegistered,
    WorkerSaidGoodbye,
    WorkerShutdownRequested,
    WorkerTroubleChanged,
)
from titan_core.scheduler.explain import explain
from titan_core.scheduler.model import Attempt, Job, JobSpec, Run, Service, ServicePolicy, Worker, WorkerInfo
from titan_core.scheduler.services import state_of
from titan_core.scheduler.settings import ScalingSettings, Settings
from titan_core.scheduler.states import Outcome, Restart

NEVER = ServicePolicy(Restart.NEVER)
_REASONS = {
    Outcome.SUCCEEDED: "exit code 0",
    Outcome.FAILED: "exit code 1",
    Outcome.TIMED_OUT: "ran longer than 5 s",
    Outcome.STOPPED: "stopped by signal 15",
    Outcome.NOT_STARTED: "no such entry",
    Outcome.INTERRUPTED: "the worker was stopping",
}


def job(job_id: str, *parents: str, **fields: object) -> JobSpec:
    """A job that asks for nothing special but what `fields` say."""
    return JobSpec(job_id, None, parents, **fields)


def service(job_id: str, *parents: str, policy: ServicePolicy = NEVER, **fields: object) -> JobSpec:
    """A service that is not restarted when it ends, unless `policy` says so."""
    return job(job_id, *parents, service=True, policy=policy, **fields)


def kept(job_id: str, *parents: str, instances: int = 1, port: int = 0, **fields: object) -> JobSpec:
    """A service that is kept running."""
    policy = ServicePolicy(instances=instances, port=port)
    return service(job_id, *parents, **{"policy": policy, **fields})


def report(token: bytes, outcome: Outcome = Outcome.SUCCEEDED, reason: str | None = None) -> AttemptReport:
    exit_code = {Outcome.SUCCEEDED: 0, Outcome.FAILED: 1}.get(outcome, -1)
    return AttemptReport(token, outcome, exit_code, _REASONS[outcome] if reason is None else reason)


@dataclass
class FakeWorker:
    """The other side of a session: what it was told, and what it has not been told yet that is known."""

    info: WorkerInfo
    session: int = 0
    connected: bool = False
    running: dict[bytes, str] = field(default_factory=dict)
    """Keys of the jobs of its attempts, by token, in the order they came."""
    stopping: set[bytes] = field(default_factory=set)
    """Attempts it was told to stop, and has not."""
    unacknowledged: dict[bytes, AttemptReport] = field(default_factory=dict)
    serving: set[bytes] = field(default_factory=set)
    """Attempts of services that are ready."""
    shutting_down: bool = False

    @property
    def worker_id(self) -> str:
        return self.info.worker_id

    def take(self, action: Action) -> None:
        match action:
            case StartAttempt(attempt):
                if attempt.token not in self.unacknowledged:
                    self.running[attempt.token] = attempt.job.key
            case StopAttempt(_, token):
                if token in self.running:
                    self.stopping.add(token)
            case AcknowledgeResult(_, token):
                self.unacknowledged.pop(token, None)
            case AcceptWorker(_, _, adopted):
                self._kill_all_but({attempt.token for attempt in adopted})
            case ShutDownWorker():
                self.shutting_down = True

    def end(self, token: bytes, ended: AttemptReport) -> None:
        """The execution is over, whoever knows of it."""
        del self.running[token]
        self.stopping.discard(token)
        self.serving.discard(token)
        self.unacknowledged[token] = ended

    def _kill_all_but(self, adopted: set[bytes]) -> None:
        self.running = {token: key for token, key in self.running.items() if token in adopted}
        self.stopping &= adopted
        self.serving &= adopted


class Cluster:
    def __init__(self, scaling: ScalingSettings | None = None, **settings: float) -> None:
        self.core = Core(Settings(scaling=scaling or ScalingSettings(), **settings))
        self.now = 1000.0
        self.workers: dict[str, FakeWorker] = {}
        self.checked = True
        self.actions: list[Action] = []
        """All that was ever decided, in order."""
        self._last_session = 0
        self._last_instance = 0

    # ── events ────────────────────────────────────────────────────────────────────────────────────

    def handle(self, event: Event) -> list[Action]:
        """Tell the core, have its actions carried out, check the invariants."""
        actions = self.core.handle(event, self.now)
        self.actions += actions
        for action in actions:
            worker = self.workers.get(_addressee(action))
            if worker is not None and worker.connected:
                worker.take(action)
        if self.checked:
            invariants.check(self.core)
        return actions

    def submit(
        self, *specs: JobSpec, run_id: str = "run", request_id: bytes = b"", spawner: str = ""
    ) -> list[Action]:
        return self.handle(RunSubmitted(run_id, "name", b"s" * 16, specs, request_id, self._spawner(spawner)))

    def add(self, *specs: JobSpec, run_id: str = "run", request_id: bytes = b"", spawner: str = "") -> list[Action]:
        return self.handle(JobsAdded(run_id, specs, request_id, self._spawner(spawner)))

    def cancel(self, name: str) -> list[Action]:
        found = self.job(name)
        return self.handle(JobCancelRequested(found.run.run_id, found.job_id, "not wanted"))

    def cancel_run(self, run_id: str = "run") -> list[Action]:
        return self.handle(RunCancelRequested(run_id, "not wanted"))

    def stop_service(self, name: str) -> list[Action]:
        found = self.job(name)
        return self.handle(ServiceStopRequested(found.run.run_id, found.job_id, "enough"))

    def start_service(self, name: str) -> list[Action]:
        found = self.job(name)
        return self.handle(ServiceStartRequested(found.run.run_id, found.job_id))

    def restart_service(self, name: str) -> list[Action]:
        found = self.job(name)
        return self.handle(ServiceRestartRequested(found.run.run_id, found.job_id))

    def scale(self, name: str, instances: int) -> list[Action]:
        found = self.job(name)
        return self.handle(ServiceScaleRequested(found.run.run_id, found.job_id, instances))

    def update(self, name: str, spec: JobSpec) -> list[Action]:
        found = self.job(name)
        return self.handle(ServiceUpdateRequested(found.run.run_id, found.job_id, spec))

    def retry(self, name: str) -> list[Action]:
        found = self.job(name)
        return self.handle(JobRetryRequested(found.run.run_id, found.job_id))

    def retry_run(self, run_id: str = "run") -> list[Action]:
        return self.handle(RunRetryRequested(run_id))

    def retry_dead(self) -> list[Action]:
        return self.handle(DeadRetryRequested())

    def advance(self, seconds: float) -> None:
        """Let time pass; what falls due on the way is told at its very instant."""
        target = self.now + seconds
        while (due_at := self.core.next_due_at()) is not None and due_at <= target:
            self.now = max(self.now, due_at)
            self.handle(TimePassed())
        self.now = target

    # ── what workers do ───────────────────────────────────────────────────────────────────────────

    def join(
        self,
        name: str,
        *capabilities: str,
        slots: int = 4,
        permanent: bool = False,
        port: int = 8080,
        **facts: object,
    ) -> FakeWorker:
        """A new worker `<name>:<port>` registers; GENERAL unless told otherwise."""
        offered = frozenset(capabilities or ("GENERAL",))
        facts.setdefault("cpu_count", 2)
        worker = FakeWorker(WorkerInfo(f"{name}:{port}", self.new_instance(), offered, slots, permanent, **facts))
        self.workers[worker.worker_id] = worker
        self.register(worker)
        return worker

    def register(self, worker: FakeWorker) -> list[Action]:
        """The worker opens a session and says truthfully what it runs and what it finished."""
        self._last_session += 1
        event = WorkerRegistered(
            worker.info, self._last_session, tuple(worker.running), tuple(worker.unacknowledged.values())
        )
        was, worker.connected = worker.connected, True
        try:
            actions = self.handle(event)
        except Exception:
            worker.connected = was
            raise
        worker.session = self._last_session
        for token in list(worker.serving):
            self.say_ready(worker, token)
        return actions

    def restart(self, worker: FakeWorker) -> list[Action]:
        """Its process is gone with all it ran; a new one takes its place and its journal of results."""
        self.crash(worker)
        worker.info = replace(worker.info, instance=self.new_instance())
        return self.register(worker)

    def crash(self, worker: FakeWorker) -> None:
        """The worker and all it runs is gone, and its session with it."""
        self.disconnect(worker)
        worker.running.clear()
        worker.stopping.clear()
        worker.serving.clear()

    def disconnect(self, worker: FakeWorker, silent_s: float = 0.0) -> list[Action]:
        """Its session ends, `silent_s` after its last word."""
        worker.connected = False
        return self.handle(WorkerDisconnected(worker.worker_id, worker.session, self.now - silent_s))

    def drain(self, worker: FakeWorker) -> list[Action]:
        return self.handle(WorkerSaidGoodbye(worker.worker_id))

    def shut_down(self, worker: FakeWorker, force: bool = False, now: bool = False) -> list[Action]:
        return self.handle(WorkerShutdownRequested(worker.worker_id, force, now))

    def look(self) -> list[Action]:
        """The scaler's time has come."""
        return self.handle(ScalingDue())

    def hold(self, worker: FakeWorker, undo: bool = False) -> list[Action]:
        return self.handle(WorkerHoldRequested(worker.worker_id, undo))

    def trouble(self, worker: FakeWorker, trouble: str) -> list[Action]:
        return self.handle(WorkerTroubleChanged(worker.worker_id, worker.session, trouble))

    def finish(self, name: str, outcome: Outcome = Outcome.SUCCEEDED, reason: str | None = None) -> list[Action]:
        """The running attempt of a job ends; its worker says so, now or when it is connected again."""
        attempt = self.attempt(name)
        worker = self.workers[attempt.worker_id]
        ended = report(attempt.token, outcome, reason)
        worker.end(attempt.token, ended)
        return self.handle(AttemptsFinished(worker.worker_id, (ended,))) if worker.connected else []

    def fail(self, name: str) -> list[Action]:
        return self.finish(name, Outcome.FAILED)

    def stopped(self, name: str) -> list[Action]:
        """The worker carried out the StopAttempt."""
        attempt = self.attempt(name)
        assert attempt.token in self.workers[attempt.worker_id].stopping, f"{name} was not told to stop"
        return self.finish(name, Outcome.STOPPED)

    def ready(self, *names: str, port: int = 0) -> list[Action]:
        """Services answer, one after the other."""
        return [action for name in names for action in self._ready(name, port)]

    def _ready(self, name: str, port: int) -> list[Action]:
        attempt = self.attempt(name)
        worker = self.workers[attempt.worker_id]
        worker.serving.add(attempt.token)
        return self.say_ready(worker, attempt.token, port) if worker.connected else []

    def say_ready(self, worker: FakeWorker, token: bytes, port: int = 0) -> list[Action]:
        return self.handle(ServiceReady(worker.worker_id, token, port))

    def results(self, worker: FakeWorker, *ended: AttemptReport) -> list[Action]:
        """Results arrive together, be they true, duplicates or stale."""
        return self.handle(AttemptsFinished(worker.worker_id, ended))

    # ── what there is to see ──────────────────────────────────────────────────────────────────────

    def run(self, run_id: str = "run") -> Run:
        return self.core.state.runs[run_id]

    def job(self, name: str) -> Job:
        run_id, separator, job_id = name.rpartition("/")
        runs = [self.run(run_id)] if separator else reversed(self.core.state.runs.values())
        return next(run.jobs[job_id] for run in runs if job_id in run.jobs)

    def service(self, name: str) -> Service:
        found = self.job(name).service
        assert found is not None, f"{name} is no service"
        return found

    def service_state(self, name: str) -> str:
        return state_of(self.service(name), self.now).value

    def state(self, name: str) -> str:
        return self.job(name).state.value

    def states(self, run_id: str = "run") -> dict[str, str]:
        return {job_id: found.state.value for job_id, found in self.run(run_id).jobs.items()}

    def run_state(self, run_id: str = "run") -> str:
        return self.run(run_id).state.value

    def attempt(self, name: str) -> Attempt:
        attempt = self.job(name).attempt
        assert attempt is not None, f"{name} has no attempt"
        return attempt

    def place(self, name: str) -> str:
        """The worker of the latest attempt, without its port."""
        return self.attempt(name).worker_id.partition(":")[0]

    def worker(self, worker: FakeWorker) -> Worker:
        """The core's record of a worker."""
        return self.core.state.workers[worker.worker_id]

    def running(self) -> list[str]:
        """Ids of the jobs whose attempts are on workers, oldest attempt first."""
        return [attempt.job.job_id for attempt in self.core.state.attempts.values()]

    def explain(self, name: str) -> list[str]:
        return explain(self.core.state, self.job(name), self.now)

    def history(self, name: str) -> list[str]:
        """The states a job went through, oldest first."""
        found = self.job(name)
        changes = [a for a in self.actions if isinstance(a, RecordChange) and a.job is found]
        return [change.after.value for change in changes if change.after is not change.before]

    def starts(self) -> list[str]:
        """Ids of the jobs in the order their attempts were sent out."""
        return started_jobs(self.actions)

    def _spawner(self, name: str) -> bytes:
        return self.attempt(name).token if name else b""

    def new_instance(self) -> bytes:
        self._last_instance += 1
        return self._last_instance.to_bytes(16, "big")


def started_jobs(actions: list[Action]) -> list[str]:
    return [action.attempt.job.job_id for action in actions if isinstance(action, StartAttempt)]


def _addressee(action: Action) -> str:
    match action:
        case StartAttempt(attempt):
            return attempt.worker_id
        case Provision() | Release() | ForgetRun() | DeleteRun():
            return ""
        case RecordJobsAdded() | RecordChange() | RecordService() | RecordRunFinished() | RecordWorker():
            return ""
        case RecordSchedule() | RecordFire() | RetractMissed() | SendAlert():
            return ""
        case _:
            return action.worker_id
