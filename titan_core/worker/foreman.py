"""The foreman: takes the master's orders, and speaks for the worker. All that is done on behalf of a session.

    START_ATTEMPT ─▶ a slot        RESULT_ACK ─▶ results forget
    STOP_ATTEMPT  ─▶ its control   HEARTBEAT  ─▶ what it gives up is ended and forgotten
    FORGET_RUNS   ─▶ forgetter     Registered ─▶ go on with what was adopted, end the rest
    SPAWN_WORKER  ─▶ nursery

Called by the link's reader, one session after the other; reads what the slot threads change.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Collection

from titan_core.config import WorkerConfig
from titan_core.protocol.messages import (
    ForgetRuns,
    Heartbeat,
    LogSinks,
    Register,
    Registered,
    Result,
    SpawnWorker,
    StartAttempt,
    StopAttempt,
    WorkerStatus,
)
from titan_core.worker.control import Control, Stop
from titan_core.worker.disk_watch import DiskWatch
from titan_core.worker.forgetter import Forgetter
from titan_core.worker.load import Load
from titan_core.worker.logs import LogFollower
from titan_core.worker.nursery import Nursery
from titan_core.worker.outbox import Outbox
from titan_core.worker.results import Results
from titan_core.worker.runner import Runner
from titan_core.worker.slots import Slots
from titan_core.worker.usage import UsageWatch

log = logging.getLogger("titan.worker")

STOPPING = "the worker is stopping"
GIVEN_UP = "the master has given this attempt up"


class Foreman:
    """All attempts of the worker, as far as the master is concerned."""

    def __init__(
        self,
        config: WorkerConfig,
        port: int,
        runner: Runner,
        results: Results,
        follower: LogFollower,
        load: Load,
        disk: DiskWatch,
        usage: UsageWatch,
        nursery: Nursery,
    ) -> None:
        self._config = config
        self._port = port
        self._runner = runner
        self._results = results
        self._follower = follower
        self._load = load
        self._disk = disk
        self._usage = usage
        self._nursery = nursery
        self._started_wall = time.time()
        self._instance = secrets.token_bytes(16)
        self.slots = Slots(config.slots, config.max_services, runner.run)
        self.forgetter = Forgetter(runner.workspace, self._runs_in_use)

    # ── what the worker says ──────────────────────────────────────────────────────────────────────

    def introduction(self) -> Register:
        """Who this is, what it runs, and what it has finished."""
        # What runs before what is finished: an attempt that ends meanwhile is in both, not in none.
        running = [control.token for control in self.slots.all()]
        finished = self._results.kept()
        told = {result.token for result in finished}
        return Register(
            port=self._port,
            hostname=self._config.hostname,
            capabilities=self._config.capabilities,
            slots=self._config.slots,
            instance=self._instance,
            permanent=self._config.permanent,
            pid=os.getpid(),
            cpu_count=self._load.cpu_count,
            memory_total=self._load.memory_total,
            running=tuple(token for token in running if token not in told),
            finished=finished,
            max_services=self._config.max_services,
            trouble=self._disk.trouble,
            ephemeral=self._config.ephemeral,
            parent=self._config.parent,
            address=self._config.address,
            started_wall=self._started_wall,
        )

    def beat(self) -> Heartbeat:
        """The heartbeat of the session, after a look at what may have changed by itself."""
        self._runner.reap_orphans()
        self._disk.look()
        self._usage.sample(control for control in self.slots.all() if control.start.service)
        return self.heartbeat()

    def heartbeat(self) -> Heartbeat:
        """How things are."""
        self._load.sample()
        used, services = self.slots.counts()
        return Heartbeat(
            used=used,
            services=services,
            cpu_percent=self._load.cpu_percent,
            memory_used=self._load.memory_used,
            running=tuple(control.token for control in self.slots.all() if control.token not in self._results),
            trouble=self._disk.trouble,
            usage=self._usage.latest(),
        )

    def status(self) -> WorkerStatus:
        """The worker in figures, for those who ask it itself."""
        controls = self.slots.all()
        return WorkerStatus(
            worker_id=self._runner.worker_id or f"{self._config.hostname}:{self._port}",
            state="DRAINING" if self.slots.drained else "ONLINE",
            capabilities=self._config.capabilities,
            slots=self._config.slots,
            used=self.slots.counts()[0],
            services=tuple(_key(control.start) for control in controls if control.start.service),
            jobs=tuple(_key(control.start) for control in controls if not control.start.service),
            permanent=self._config.permanent,
            pid=os.getpid(),
            cpu_count=self._load.cpu_count,
            memory_total=self._load.memory_total,
            cpu_percent=self._load.cpu_percent,
            memory_used=self._load.memory_used,
            trouble=self._disk.trouble,
            ephemeral=self._config.ephemeral,
            parent=self._config.parent,
            max_services=self._config.max_services,
            started_wall=self._started_wall,
        )

    # ── what the master says ──────────────────────────────────────────────────────────────────────

    def on_registered(self, introduction: Register, registered: Registered, outbox: Outbox) -> None:
        """A session has begun: go on with what the master adopted, end and forget what it did not."""
        self._runner.worker_id = registered.worker_id
        outbox.put(self.heartbeat())  # so that how things are is known before the first interval is over
        offsets = {position.token: position.offset for position in registered.adopted}
        given_up = [token for token in introduction.running if token not in offsets]
        self._give_up(given_up)
        for token, offset in offsets.items():
            self._follower.seek(token, offset)
        self._follower.attach(outbox)
        for control in self.slots.all():  # the word of it may have been lost with the earlier session
            if control.ready and control.token in offsets:
                outbox.put(control.readiness())
        # Last: no result overtakes what was said above.
        self._results.attach(outbox, {result.token for result in introduction.finished}, offsets)

    def on_session_lost(self) -> None:
        self._follower.detach()
        self._results.detach()

    def on_start(self, start: StartAttempt) -> None:
        """Run it. The same order twice is one order."""
        if start.token in self.slots or start.token in self._results:
            return
        if self._disk.trouble:
            self._results.report(Result(start.token, "INTERRUPTED", reason=f"this worker {self._disk.trouble}"), None)
        elif not self.slots.start(Control(start)):
            reason = f"this worker runs {self._config.max_services} services already"
            self._results.report(Result(start.token, "INTERRUPTED", reason=reason), None)

    def on_stop(self, stop: StopAttempt) -> None:
        """End it. One that has ended already was, or will be, told as what it was."""
        control = self.slots.find(stop.token)
        if control is not None:
            control.stop(Stop("STOPPED", stop.reason))

    def on_heartbeat(self, heartbeat: Heartbeat) -> None:
        """The master answers ours: what it does not want any more is ended and forgotten."""
        self._give_up(heartbeat.kill)

    def on_forget(self, forget: ForgetRuns) -> None:
        """Nobody will ask for these runs again: delete their files."""
        self.forgetter.forget(forget.run_ids)

    def on_log_sinks(self, sinks: LogSinks) -> None:
        """Who collects log lines from now on."""
        self._follower.datagrams.set(sinks)

    def on_spawn(self, order: SpawnWorker) -> None:
        """Start another worker beside this one."""
        if self.slots.drained:
            self._nursery.refuse(order.port, STOPPING)
        else:
            self._nursery.order(order)

    # ── stopping ──────────────────────────────────────────────────────────────────────────────────

    def drain(self) -> None:
        """Run nothing more; end what runs, each with its own grace up to the worker's."""
        self.slots.drain(Stop("INTERRUPTED", STOPPING, self._config.shutdown_grace_s))

    def kill(self) -> None:
        """End what runs, at once."""
        self.slots.drain(Stop("INTERRUPTED", STOPPING, 0.0))

    def _give_up(self, tokens: Collection[bytes]) -> None:
        for control in filter(None, map(self.slots.find, tokens)):
            if control.unwanted:
                continue  # said before
            log.info(
                "%s is not ours any more and is ended", _key(control.start), extra={"action": "attempt.given_up"}
            )
            control.unwanted = True
            control.stop(Stop("STOPPED", GIVEN_UP, 0.0))
        self._results.forget(tuple(tokens))  # those that have ended meanwhile

    def _runs_in_use(self) -> set[str]:
        return {control.start.run_id for control in self.slots.all()}


def _key(start: StartAttempt) -> str:
    return f"{start.run_id}/{start.job_id}"
