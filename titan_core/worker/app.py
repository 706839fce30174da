"""The worker as a whole: what it consists of, in which order that starts, and in which it stops.

`stop` is a request from anyone: the main thread, the link, a test. The thread `stopper` does what it
asks for, so that nobody waits for it who does not want to (`join`). Knows nothing of signals and flags.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Callable

from titan_core.config import WorkerConfig
from titan_core.errors import ConfigError, InternalError, NotAuthorised, TitanError
from titan_core.lifecycle import Component
from titan_core.protocol.codec import Message
from titan_core.worker import cgroup
from titan_core.worker.disk_watch import DiskWatch
from titan_core.worker.environment import worker_part
from titan_core.worker.fetch import fetch_from_master
from titan_core.worker.foreman import Foreman
from titan_core.worker.health import HealthWatch
from titan_core.worker.journal import Journal
from titan_core.worker.link import Link
from titan_core.worker.load import Load
from titan_core.worker.logs import AttemptLog, LogFollower
from titan_core.worker.nursery import Nursery
from titan_core.worker.own_port import OwnPort
from titan_core.worker.ports import Ports
from titan_core.worker.process_registry import ProcessRegistry
from titan_core.worker.process_tree import OrphanHouse
from titan_core.worker.results import Results
from titan_core.worker.runner import Runner
from titan_core.worker.solitude import Solitude
from titan_core.worker.terms import Terms
from titan_core.worker.usage import UsageWatch
from titan_core.worker.warm import Warm
from titan_core.worker.workspace import Workspace

log = logging.getLogger("titan.worker")

ACKNOWLEDGE_S = 5.0
"""How long a stopping worker waits for the master to take its last results."""
MARGIN_S = 5.0
"""Beyond the grace, for killed processes to be gone."""


class Worker(Component):
    """A follower of one master. Raises ConfigError when its port is in use, or its home can not be written to.

    `alone`: nothing else in this process has children, so that every orphan is a job's (see process_tree).
    `on_ended(worker)` is called when everything has ended, however that came; `failure` says why it did
    if nobody asked for it.
    """

    def __init__(
        self,
        config: WorkerConfig,
        token: str,
        alone: bool = False,
        on_ended: Callable[[Worker], None] = lambda worker: None,
    ) -> None:
        super().__init__("worker")
        self.on_failure = self._part_failed
        self.config = config
        self.failure: TitanError | None = None
        self._on_ended = on_ended
        self._hurry = threading.Event()
        self._own_port = OwnPort(config.port, token)  # first: without it this worker does not exist
        self.port = self._own_port.port
        self._master = (config.master_host, config.master_port)
        workspace = Workspace(config.home, functools.partial(fetch_from_master, *self._master, token))
        self._disk = DiskWatch(workspace.directory, self._tell_trouble)
        self._registry, self._journal = self._claim(workspace)
        self._house = OrphanHouse(alone)
        self._follower = LogFollower(config.master_host)
        self._results = Results(self._follower, self._journal)
        self._health = HealthWatch(self._tell, self._house)
        self._usage = UsageWatch(self._house.left_by)
        self._common = worker_part(os.environ, config.home, config.token_file, self._master)
        self.warm = Warm(self._common)
        self._foreman = self._make_foreman(workspace, Ports())
        self.link = self._make_link(token, Terms(workspace.directory / "terms"))
        self._solitude = Solitude(self.link.alone_s, self._is_busy, self.stop)
        self._parts: tuple[Component, ...] = (
            self.link,
            self._follower,
            self._own_port.server,
            self._foreman.forgetter,
            self._disk,
            self._health,
            self._usage,
            self._nursery,
            self.warm,
            self._solitude,
        )
        for part in self._parts:
            part.on_failure = self._part_failed

    @property
    def exit_code(self) -> int:
        """0 · 1 = the master refused this worker · 5 = it does not know its token."""
        if self.failure is None:
            return 0
        return 5 if isinstance(self.failure, NotAuthorised) else 1

    def start(self) -> None:
        # Before its processes are ended: the cgroup of a parent that was killed is none for us to be in.
        if self.config.parent:
            cgroup.leave_parents()
        # Before there is any process: whatever loses its parent must come to us.
        self._house.open()
        # Before there is new work: a predecessor's leftovers may hold its ports and files.
        ended = self._registry.end_leftovers()
        if ended:
            log.warning("ended %d processes of a worker that was killed", ended, extra={"action": "leftovers.ended"})
        self._house.enclose(self._registry)
        # Now that what it starts is enclosed, and soon, so that it is ready for the first job.
        if self.config.warm:
            self.warm.start()
        # Before anything is said: the first registration tells what a predecessor could not.
        self._restore_results()
        self._disk.start()
        self._own_port.start(self._foreman)
        self._follower.start()
        self._foreman.forgetter.start()
        self._health.start()
        self._usage.start()
        self._nursery.start()
        if self.config.ephemeral:
            self._solitude.start()
        # Now that there is everything it needs: work may come with the first frame.
        self.link.start()
        # Last, so that it never stops what has not been started yet.
        self.spawn("stopper", self._stop_when_asked)

    def kill(self) -> None:
        """Stop without grace, and without waiting for the master."""
        self._hurry.set()
        self.stop()
        self._foreman.kill()
        self.link.stop()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of everything. Without a `start` there is only the port to give back."""
        joined = super().join(timeout_s) and self._foreman.slots.wait_until_idle(0.0)
        if joined:
            self._journal.close()
            self._registry.close()
        return joined and self._own_port.server.join(0.0)

    def _stop_when_asked(self) -> None:
        self.stopping.wait()
        log.info("stopping", extra={"action": "worker.stopping"})
        # The master first, so that it sends nothing more and knows what the results that follow mean.
        self.link.say_goodbye()
        # Then the attempts: stop signal, grace, SIGKILL. Their results go out as they end.
        self._foreman.drain()
        if self._hurry.is_set():
            self._foreman.kill()
        if not self._foreman.slots.wait_until_idle(self._longest_grace_s() + MARGIN_S):
            log.error("some attempts do not end", extra={"action": "worker.stuck"})
        # What the master ordered before it knew is given back, like the rest.
        self.link.wait_until_dismissed(ACKNOWLEDGE_S)
        self._foreman.slots.wait_until_idle(MARGIN_S)
        # The master must have the results before the session goes, or it takes the attempts for lost.
        self._results.wait_until_acknowledged(ACKNOWLEDGE_S)
        self.link.flush(ACKNOWLEDGE_S)
        self._end_threads()
        log.info("stopped", extra={"action": "worker.stopped"})
        self._on_ended(self)

    def _end_threads(self) -> None:
        """Nothing runs any more: let every thread go."""
        self._foreman.slots.close()
        for part in self._parts:
            part.stop()
        for part in self._parts:
            part.join(MARGIN_S)
        self._house.close()

    def _longest_grace_s(self) -> float:
        return max((control.grace_s for control in self._foreman.slots.all()), default=0.0)

    def _make_foreman(self, workspace: Workspace, ports: Ports) -> Foreman:
        config, runner = self.config, self._make_runner(workspace, ports)
        self._nursery = Nursery(config, lambda: runner.worker_id, ports, self._house, self._tell)
        return Foreman(
            config,
            self.port,
            runner,
            self._results,
            self._follower,
            Load(),
            self._disk,
            self._usage,
            self._nursery,
        )

    def _make_runner(self, workspace: Workspace, ports: Ports) -> Runner:
        config = self.config
        return Runner(
            workspace,
            self._registry,
            self._follower,
            self._results,
            self._common,
            config.max_log_bytes,
            self._house,
            self._disk,
            ports,
            self._health,
            self._usage,
            self.warm,
        )

    def _make_link(self, token: str, terms: Terms) -> Link:
        return Link(
            self._master,
            token,
            self._foreman,
            self._results,
            terms,
            on_refused=self._refused,
            on_shutdown=self.stop,
            backoff_s=(self.config.reconnect_min_s, self.config.reconnect_max_s),
        )

    def _claim(self, workspace: Workspace) -> tuple[ProcessRegistry, Journal]:
        """The files that are this worker's alone. Without them, it gives its port back."""
        place = workspace.directory / "results" / f"{self.port}-{self.config.hostname}"
        try:
            registry = ProcessRegistry(workspace.directory, self.port)
        except ConfigError:
            self._own_port.server.join(0.0)
            raise
        try:
            journal = Journal(place, self._disk.could_not_write)
        except ConfigError:
            registry.close()
            self._own_port.server.join(0.0)
            raise
        self._disk.before_relief(journal.mend)
        return registry, journal

    def _restore_results(self) -> None:
        """What a predecessor on this port finished, and the master has not acknowledged."""
        kept = self._journal.recover()
        for result, path, service in kept:
            attempt_log = AttemptLog(path, result.token, self.config.max_log_bytes, service) if path else None
            self._results.restore(result, attempt_log)
        if kept:
            log.info(
                "%d results of a worker that was killed are told now", len(kept), extra={"action": "results.restored"}
            )

    def _tell_trouble(self) -> None:
        self.link.send(self._foreman.heartbeat())

    def _tell(self, message: Message) -> None:
        self.link.send(message)

    def _is_busy(self) -> bool:
        return any(self._foreman.slots.counts())

    def _part_failed(self, part: Component) -> None:
        """A worker without one of its parts is none."""
        self.failure = self.failure or InternalError(f"a defect in the worker ({part.name}); its log has the details")
        self.stop()
        if part is self:  # nobody is left to say so
            self._on_ended(self)

    def _refused(self, error: TitanError) -> None:
        self.failure = error
        self.stop()
