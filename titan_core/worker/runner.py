"""One attempt on its slot's thread, from the order to its result.

    prepare the files ─▶ find its port ─▶ make the command ─▶ execute ─▶ judge the ending ─▶ report

Whatever goes wrong becomes a result with a sentence: an attempt that was started is always answered.
What says something about the job is NOT_STARTED; what says something about this worker or its way to the
master (a full disk, a connection that fails for long) is INTERRUPTED, so that the job is tried again elsewhere.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable

from titan_core.errors import ConnectionFailed, ConnectionLost, TitanError
from titan_core.failpoints import reach
from titan_core.protocol.messages import Result, StartAttempt
from titan_core.worker import commands
from titan_core.worker.control import Control
from titan_core.worker.disk_watch import DiskWatch
from titan_core.worker.environment import attempt_environment, filled
from titan_core.worker.health import HealthWatch
from titan_core.worker.logs import AttemptLog, LogFollower
from titan_core.worker.ports import Ports, with_port
from titan_core.worker.process import Ending, Execution, Launch, StartProcess, signal_name, start_process
from titan_core.worker.process_registry import ProcessRegistry
from titan_core.worker.process_tree import OrphanHouse
from titan_core.worker.results import Results
from titan_core.worker.turn import TURN
from titan_core.worker.usage import UsageWatch
from titan_core.worker.warm import Warm
from titan_core.worker.workspace import Place, Workspace

log = logging.getLogger("titan.worker")

AWAY_S = 120.0
"""How long an attempt waits for a master that is away and has its files: longer than a restart, or a cut, takes."""
ASK_AGAIN_S = 0.25


class _Forestalled(Exception):
    """The attempt was stopped before there was a process."""


class Runner:
    """Runs attempts; every slot's thread uses the same one."""

    def __init__(
        self,
        workspace: Workspace,
        registry: ProcessRegistry,
        follower: LogFollower,
        results: Results,
        environment: dict[str, str],
        max_log_bytes: int,
        house: OrphanHouse,
        disk: DiskWatch,
        ports: Ports,
        health: HealthWatch,
        usage: UsageWatch,
        warm: Warm,
    ) -> None:
        self.workspace = workspace
        self._disk = disk
        self._registry = registry
        self._house = house
        self._follower = follower
        self._results = results
        self._environment = environment
        self._max_log_bytes = max_log_bytes
        self._ports = ports
        self._health = health
        self._usage = usage
        self._warm = warm
        self.worker_id = ""
        """Set before the first attempt, when the master has said it."""

    def run(self, control: Control) -> None:
        """The whole life of an attempt; does not raise."""
        with TURN.taken():
            self._run(control)

    def _run(self, control: Control) -> None:
        started_wall = time.time()
        attempt_log = None
        try:
            if control.request is not None:
                raise _Forestalled
            place = self._prepare(control)
            attempt_log = self._log_of(control.start, place)
            try:
                result = _judge(control, self._execute(control, place, attempt_log), started_wall)
            finally:
                self.workspace.clear(place)
        except Exception as error:
            if isinstance(error, OSError):  # trouble is told before the result: the master places nothing here then
                self._disk.suspect(error)
            result = _not_run(control, error, started_wall)
        self._hand_over(control, result, attempt_log)

    def _log_of(self, start: StartAttempt, place: Place) -> AttemptLog:
        tell = functools.partial(self._follower.datagrams.tell, start.run_id, start.job_id, start.number)
        return AttemptLog(place.log, start.token, self._max_log_bytes, start.service, tell)

    def reap_orphans(self) -> None:
        """Now and then: what attempts that go on have left behind, and has ended."""
        self._house.reap()

    def _prepare(self, control: Control) -> Place:
        """The attempt's files, from a master that may be away for a moment. Raises as `Workspace.prepare` does."""
        until_at = time.monotonic() + AWAY_S
        while True:
            try:
                return self.workspace.prepare(control.start)
            except (ConnectionFailed, ConnectionLost):
                if time.monotonic() >= until_at:
                    raise
            with TURN.away():
                stopped = control.wait(ASK_AGAIN_S)
            if stopped:
                raise _Forestalled

    def _execute(self, control: Control, place: Place, attempt_log: AttemptLog) -> Ending:
        control.port = self._ports.take(control.start)
        try:
            return self._execute_with_port(control, place, attempt_log)
        finally:
            self._ports.give_back(control.port)

    def _execute_with_port(self, control: Control, place: Place, attempt_log: AttemptLog) -> Ending:
        start = with_port(control.start, control.port)
        environment = attempt_environment(self._environment, start, self.worker_id, place.shared)
        args = filled(start.task.args, start.variables)
        command = commands.command_for(place.script, args, environment)
        if control.request is not None:  # it came while files were fetched
            raise _Forestalled
        launch = Launch(command, place.cwd, environment, attempt_log.create(), place.fresh)
        self._follower.follow(attempt_log)
        watch = self._watcher(control, start, launch)
        try:
            how = self._start_of(start)
            return Execution(launch, control, self._house, self._registry, how).run(watch)
        except OSError as error:
            raise commands.explain(error, command, start.task.entry or start.task.asset) or error from None

    def _start_of(self, start: StartAttempt) -> StartProcess:
        """Services are started cold: they live long, and outlive the fork server's idea of what is installed."""
        return self._warm.start_process if start.task.warm and not start.service else start_process

    def _watcher(self, control: Control, start: StartAttempt, launch: Launch) -> Callable[[int], object]:
        """To be called as soon as the process is there: what is looked at from then on."""

        def watch(pid: int) -> None:
            reach("worker.after_start")
            control.begin(pid)
            if start.task.max_memory:
                self._usage.limit(control)
            if start.service:
                self._health.watch(control, start.task, launch.cwd, launch.env)

        return watch

    def _hand_over(self, control: Control, result: Result, attempt_log: AttemptLog | None) -> None:
        _tell(control.start, result)
        if not control.unwanted:
            self._results.report(result, attempt_log)
        elif attempt_log is not None:
            self._follower.drop(attempt_log)


def _judge(control: Control, ending: Ending, started_wall: float) -> Result:
    if ending.stopped and control.request is not None:
        outcome, reason = control.request.outcome, control.request.reason
    elif ending.signal:
        outcome, reason = "FAILED", f"ended by {signal_name(ending.signal)}"
    elif ending.exit_code:
        outcome, reason = "FAILED", f"exit code {ending.exit_code}"
    else:
        outcome, reason = "SUCCEEDED", ""
    return Result(control.token, outcome, ending.exit_code, reason, started_wall, time.time(), ending.peak_memory)


def _not_run(control: Control, error: Exception, started_wall: float) -> Result:
    """The result of an attempt of which no process was made, or whose process could not be watched."""
    if isinstance(error, _Forestalled) and control.request is not None:
        outcome, reason = control.request.outcome, control.request.reason
    elif isinstance(error, TitanError) and not error.retryable:
        outcome, reason = "NOT_STARTED", error.message
    else:
        outcome, reason = "INTERRUPTED", f"this worker could not run it: {error}"
    if not isinstance(error, TitanError | OSError | _Forestalled):
        log.error("an attempt could not be run", exc_info=error, extra={"action": "attempt.defect"})
    return Result(control.token, outcome, -1, reason, started_wall, time.time())


def _tell(start: StartAttempt, result: Result) -> None:
    level = logging.DEBUG if result.outcome == "SUCCEEDED" else logging.INFO
    if log.isEnabledFor(level):
        log.log(
            level,
            "%s/%s attempt %d: %s%s",
            start.run_id,
            start.job_id,
            start.number,
            result.outcome,
            f" ({result.reason})" if result.reason else "",
            extra={"action": "attempt.finished", "outcome": result.outcome, "exit_code": result.exit_code},
        )
