"""Whether services are ready, and stay well: when they are checked, and what follows from it.

    started ─▶ a check, at once and then every 50 ms ─▶ ready, the master is told ─▶ a check every `interval_s`
                     │ not within `ready_timeout_s`                                        │ `unhealthy_after` of them
                     ▼                                                                     ▼ in a row have failed
                 FAILED, with what the last one said                          FAILED, with what the last one said

A check that could not be made, as this machine has run out of something, says nothing of a service that was well.
A service without a port and without checks is ready once its process has lasted `SETTLE_S`, as many a mistake ends it
at once and the renewal of a service must stop there. It is not looked at again.
That a process ends is not found out here: its slot waits for that. The attempt's end, or the request for it, wakes
the thread that watches it, also out of a check.

`watch` is called by the slot threads; each attempt has a thread of its own from then on, while it is watched. That is
made by the thread `health`, not by the slot's: it would be born into the slot's cgroup, which is frozen when the slot
kills, with whatever is being forked there. What a check does is not known here.
"""

from __future__ import annotations

import abc
import contextlib
import itertools
import logging
import queue
import time
from collections.abc import Callable

from titan_core.lifecycle import Component
from titan_core.protocol.checks import shortened
from titan_core.protocol.messages import Health, ServiceReady, Task
from titan_core.worker.checks import MOST_WAIT_S, Over, Probe, command_probe, http_probe, port_probe
from titan_core.worker.control import Control, Stop, over_within
from titan_core.worker.process_tree import OrphanHouse

log = logging.getLogger("titan.worker")

FIRST_PAUSES_S = (0.002,) + 20 * (0.005,) + 10 * (0.01,)
"""Between the first checks: a service that has crashed is back within tens of milliseconds."""
PAUSE_S = 0.05
"""Between two checks of a service that is still not ready."""
MOST_PAUSE_S = 0.25
"""The same, where a check takes long: a pause is no shorter than the check before it, up to this."""
SETTLE_S = 0.5
"""How long a process that can not be checked lasts before its service counts as ready."""


class HealthWatch(Component):
    """Watches the services of one worker. `announce` tells the master of those that are ready."""

    def __init__(self, announce: Callable[[ServiceReady], object], house: OrphanHouse) -> None:
        super().__init__("health")
        self._announce = announce
        self._house = house
        self._new: queue.SimpleQueue[_Watched | None] = queue.SimpleQueue()

    def start(self) -> None:
        self.spawn("health", self._run)

    def on_stop(self) -> None:
        self._new.put(None)

    def watch(self, control: Control, task: Task, cwd: str, env: dict[str, str]) -> None:
        """The process of this service is there. `task` is what it was started with, `cwd` and `env` where."""
        probe = self._probe(task, cwd, env)
        if probe is None:
            self._new.put(_Settling(control, self._announce))
        else:
            self._new.put(_Checked(control, self._announce, task.health, probe))

    def _run(self) -> None:
        while (watched := self._new.get()) is not None:
            try:
                self.spawn(f"health-{watched.name}", watched.run)
            except RuntimeError as error:  # the system has no thread for it
                watched.give_up(str(error))

    def _probe(self, task: Task, cwd: str, env: dict[str, str]) -> Probe | None:
        """How it is checked; None = it is not."""
        if task.health.command:
            return command_probe(task.health.command, cwd, env, self._house)
        if task.health.http:
            return http_probe(task.port, task.health.http)
        return port_probe(task.port) if task.port else None


class _Watched(abc.ABC):
    """One attempt, on its thread."""

    def __init__(self, control: Control, announce: Callable[[ServiceReady], object]) -> None:
        self._control = control
        self._announce = announce
        self.name = f"{control.start.run_id}/{control.start.job_id}"

    def run(self) -> None:
        """Until the attempt is over, or is to be ended, or there is nothing more to watch."""
        try:
            with self._control.watched() as over, contextlib.suppress(Over):
                self._watch(over)
        except OSError as error:  # the system has no descriptor for it
            self.give_up(error.strerror or str(error))

    def give_up(self, reason: str) -> None:
        """It can not be watched here."""
        self._control.stop(Stop("INTERRUPTED", f"this worker could not watch it: {reason}"))

    @abc.abstractmethod
    def _watch(self, over: int) -> None:
        """Raises Over once `over` can be read, as the attempt's end has come."""

    def _tell_ready(self, after_s: float) -> bool:
        if not self._control.become_ready(self._announce):
            return False
        log.info("%s is ready after %.3f s", self.name, after_s, extra={"action": "service.ready"})
        return True


class _Settling(_Watched):
    """One that can not be checked."""

    def _watch(self, over: int) -> None:
        _rest(SETTLE_S, over)
        self._tell_ready(SETTLE_S)


class _Checked(_Watched):
    def __init__(
        self, control: Control, announce: Callable[[ServiceReady], object], health: Health, probe: Probe
    ) -> None:
        super().__init__(control, announce)
        self._health = health
        self._probe = probe

    def _watch(self, over: int) -> None:
        if self._becomes_ready(over):
            self._stays_well(over)

    def _becomes_ready(self, over: int) -> bool:
        started_at, limit_s = self._control.started_at, self._health.ready_timeout_s or float("inf")
        failure = ""
        for pause_s in itertools.chain(FIRST_PAUSES_S, itertools.repeat(PAUSE_S)):
            began_s = time.monotonic() - started_at
            if began_s >= limit_s:
                break
            said = self._check(min(self._health.timeout_s, limit_s - began_s), over)
            took_s = time.monotonic() - started_at
            if not said:
                return self._tell_ready(took_s)
            if not failure or took_s < limit_s:  # one that was cut short says little
                failure = said
            _rest(min(max(pause_s, min(MOST_PAUSE_S, took_s - began_s)), max(0.0, limit_s - took_s)), over)
        self._end(f"not ready within {limit_s:g} s: {failure}")
        return False

    def _stays_well(self, over: int) -> None:
        failed, failure = 0, ""
        while failed < self._health.unhealthy_after:
            _rest(self._health.interval_s, over)
            try:
                failure = self._probe(self._health.timeout_s, over)
            except OSError as error:
                self._tell_unchecked(error)
                continue
            failed = failed + 1 if failure else 0
            if failure:
                self._tell_failure(failure, failed)
        self._end(f"unhealthy: {_checks(failed)} failed, the last: {failure}")

    def _check(self, timeout_s: float, over: int) -> str:
        """What is wrong; empty: nothing. Raises Over."""
        try:
            return self._probe(timeout_s, over)
        except OSError as error:
            return f"it could not be checked: {error.strerror or error}"

    def _tell_failure(self, failure: str, failed: int) -> None:
        log.warning(
            "%s: a check failed (%d of %d): %s",
            self.name,
            failed,
            self._health.unhealthy_after,
            failure,
            extra={"action": "health.failed"},
        )

    def _tell_unchecked(self, error: OSError) -> None:
        log.warning(
            "%s could not be checked: %s", self.name, error.strerror or error, extra={"action": "health.failed"}
        )

    def _end(self, reason: str) -> None:
        log.warning("%s is ended: %s", self.name, reason, extra={"action": "service.unhealthy"})
        self._control.stop(Stop("FAILED", shortened(reason)))


def _checks(number: int) -> str:
    return "a check" if number == 1 else f"{number} checks in a row"


def _rest(seconds: float, over: int) -> None:
    """Let time pass. Raises Over."""
    if over_within(over, min(max(0.0, seconds), MOST_WAIT_S)):
        raise Over
