"""The master: everything it is made of, and in which order it starts and stops."""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import logging
import os
import resource
import time
from pathlib import Path

from titan_core.clock import SystemClock
from titan_core.clock_set import ClockSetWatch
from titan_core.config import MasterConfig
from titan_core.failpoints import reach
from titan_core.lifecycle import Component
from titan_core.master import schedule_alerts
from titan_core.master.alerts import AlertSender
from titan_core.master.backup import Backups
from titan_core.master.clock_watcher import ClockWatcher
from titan_core.master.collectors import Collectors
from titan_core.master.connections import Connections
from titan_core.master.engine import Engine
from titan_core.master.handlers import Handlers
from titan_core.master.heartbeat import HeartbeatExecutor
from titan_core.master.housekeeper import Housekeeper
from titan_core.master.legacy import LegacyClients
from titan_core.master.logs import LogStore
from titan_core.master.provisioners import make_provisioner
from titan_core.master.scaler import ScalerExecutor
from titan_core.master.sessions import Identity, Timing
from titan_core.master.wall_clock import WallClock
from titan_core.master.webhook import read_secret
from titan_core.net.credentials import find_token, make_token
from titan_core.net.server import MAX_CONNECTIONS, Server
from titan_core.protocol.wire import LEGACY
from titan_core.scheduler.core import Core
from titan_core.scheduler.events import StateRecovered
from titan_core.scheduler.settings import ScalingSettings, Settings
from titan_core.store.assets import AssetStore
from titan_core.store.room import check_room
from titan_core.store.schema import DATABASE
from titan_core.store.sqlite import Store
from titan_core.store.volatile import Volatile

log = logging.getLogger("titan.master")

STOP_S = 10.0
"""What all threads together get to end in."""
MIB = 1024 * 1024
GC_THRESHOLD = 50_000
"""Objects made before the collector looks; the model of 100,000 jobs would be walked in vain all the time."""


class Master(Component):
    """A master on a home. `start` returns once it accepts connections; `.port` says where.

    Raises ConfigError when the address can not be bound or the token not be read.
    """

    def __init__(self, config: MasterConfig) -> None:
        super().__init__("master")
        self.config = config
        self._state_dir = config.home / ".titan"
        self.token = self._find_token()
        timing = Timing(config.heartbeat_s, config.death_s)
        clock = SystemClock()
        # First, as it makes sure that this master is the only one of its home.
        self._store = Volatile(clock) if config.in_memory else Store(self._state_dir, clock)
        self.engine = Engine(Core(_settings(config)), clock, self._store, self._on_forgotten)
        self._logs = LogStore(self._state_dir / "logs", self.engine.topics)
        self._check_room = functools.partial(check_room, self._state_dir, config.min_free_mib * MIB)
        self._wall_clock = WallClock(self.engine, None if config.in_memory else self._store.history)
        self._clock_watcher = ClockWatcher(self.engine, self._wall_clock.follow, self._check_room)
        self._clock_set_watch = ClockSetWatch(self._wall_clock.follow)
        self._heartbeat = HeartbeatExecutor(self.engine, timing)
        self._housekeeper = Housekeeper(self.engine, self._store, self._logs, config.keep_days, config.keep_runs)
        try:
            self._scaler = self._make_scaler()
            self._alerts = self._make_alerts()
            self._server = self._make_server(timing)
        except BaseException:
            self._store.stop()
            raise
        self._parts: tuple[Component, ...] = (
            self._server,
            self._heartbeat,
            self._clock_watcher,
            self._housekeeper,
            self._scaler,
            self._alerts,
            self._clock_set_watch,
        )
        for part in (*self._parts, self._store):
            part.on_failure = self._on_part_failure

    def _make_scaler(self) -> ScalerExecutor:
        """Raises ConfigError when the provisioner can not be had."""
        provisioner = make_provisioner(self.config, self._store.cluster)
        scaler = ScalerExecutor(self.engine, self.config.scale_s, provisioner)
        self.engine.on_provision = scaler.put
        return scaler

    def _make_alerts(self) -> AlertSender:
        """Raises ConfigError when the secret that signs can not be read."""
        secret = read_secret(self.config.webhook_secret_file)
        alerts = AlertSender(
            secret, self._store.cluster, functools.partial(schedule_alerts.settle, self.engine), self.engine.settle
        )
        self.engine.on_alert = lambda action: alerts.put(schedule_alerts.order_of(action))
        return alerts

    def _make_server(self, timing: Timing) -> Server:
        """What answers those who connect. Raises ConfigError when the address can not be bound."""
        config, store = self.config, self._store
        database = None if config.in_memory else self._state_dir / DATABASE
        assets = AssetStore(config.home / "perm_files", self._state_dir / "assets")
        handlers = Handlers(self.engine, assets, self._logs, store.history, database, self._check_room)
        identity = Identity(store.cluster, store.term)
        connections = Connections(
            self.engine,
            handlers,
            assets,
            self._logs,
            timing,
            identity,
            store,
            self._housekeeper.missed,
            Backups(config.home, store),
            Collectors(self.engine.sessions),
        )
        return Server(
            "master",
            config.host,
            config.port,
            self.token,
            connections.serve,
            LegacyClients(handlers, assets).serve,
            config.admits_legacy,
            LEGACY if config.legacy_clients else None,
        )

    @property
    def port(self) -> int:
        return self._server.port

    def start(self) -> None:
        # What an earlier master left, before anything can change.
        self._recover()
        # The clock: a job may be due as soon as the first connection is accepted.
        self._clock_watcher.start()
        self._heartbeat.start()
        self._housekeeper.start()
        self._scaler.start()
        self._alerts.start()
        # It may have been set since the core was told where it is.
        self._clock_set_watch.start()
        self._wall_clock.follow()
        # The door last, when everything behind it is there; then the word where it is.
        self._server.start()
        self._write_address()
        where = (self.config.host, self.port, self.config.home)
        log.info("master listens on %s:%d, home %s", *where, extra={"action": "master.started"})

    def on_stop(self) -> None:
        # Long polls would hold their connections: let them answer. Then the door and every
        # connection, so that nothing new is decided; the clock last, it may be asked for until then.
        self.engine.topics.close()
        for part in self._parts:
            part.stop()

    def join(self, timeout_s: float = STOP_S) -> bool:
        deadline_at = time.monotonic() + timeout_s
        joined = [part.join(max(0.0, deadline_at - time.monotonic())) for part in self._parts]
        # The store last: it writes what the end of the others has changed.
        self._store.stop()
        joined.append(self._store.join(max(0.0, deadline_at - time.monotonic())))
        self._forget_address()
        return all(joined)

    def _on_part_failure(self, part: Component) -> None:
        """A master without one of its parts is none."""
        self.failed = True
        self.stop()
        self.on_failure(self)

    def _find_token(self) -> str:
        """The token that was asked for; else the home's own, made at its first start."""
        if self.config.token_file or os.environ.get("TITAN_TOKEN"):
            return find_token(self.config.token_file, self.config.home)
        return make_token(self.config.home)

    def _recover(self) -> None:
        store, grace_s = self._store, self.config.grace_s
        clock = self.engine.clock
        offset_s = clock.offset_s()  # what is read, and what is made of it, is of one setting of the clock
        loaded = store.load(clock.monotonic() + offset_s)
        store.start()
        self.engine.submit(
            StateRecovered(
                store.term,
                grace_s,
                loaded.runs,
                loaded.workers,
                store.last_sequence,
                offset_s,
                loaded.schedules,
                loaded.alerts,
            )
        )
        reach("master.recovered")
        live = sum(stored.run.live_jobs > 0 for stored in loaded.runs)
        log.info("term %d; %d runs go on", store.term, live, extra={"action": "master.recovered"})

    def _on_forgotten(self, run_id: str) -> None:
        """The run left the core's memory; without a store that is the end of it."""
        if self.config.in_memory:
            self._logs.forget(run_id)

    # ── where clients of the same home find it ────────────────────────────────────────────────────

    @property
    def _address_file(self) -> Path:
        return self._state_dir / "master.json"

    def _write_address(self) -> None:
        host = "localhost" if self.config.host in ("0.0.0.0", "::") else self.config.host
        known = {"host": host, "port": self.port, "pid": os.getpid()}
        self._state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self._address_file.with_suffix(".new")
        temporary.write_text(json.dumps(known) + "\n")
        temporary.replace(self._address_file)

    def _forget_address(self) -> None:
        """Unless another master has put its own there meanwhile."""
        with contextlib.suppress(OSError, ValueError):
            if json.loads(self._address_file.read_text()).get("pid") == os.getpid():
                self._address_file.unlink()


def _settings(config: MasterConfig) -> Settings:
    external = config.provisioner in ("webhook", "command")
    scaling = ScalingSettings(
        provisioner="external" if external else config.provisioner,
        max_workers=config.max_workers,
        max_per_pool=config.max_workers_per_pool,
        max_per_host=config.max_workers_per_host,
        up_s=config.scale_up_s,
        down_s=config.scale_down_s,
        ports=config.worker_ports,
        provision_s=config.provision_s,
    )
    return Settings(
        death_s=config.death_s,
        restart_max_s=config.restart_max_s,
        crash_loop_restarts=config.crash_loop_restarts,
        crash_loop_retry_s=config.crash_loop_retry_s,
        scaling=scaling,
    )


def tune_interpreter() -> None:
    """Settings of a process that is a master and nothing else."""
    _allow_descriptors(2 * MAX_CONNECTIONS)
    gc.set_threshold(GC_THRESHOLD, 20, 50)
    gc.freeze()


def _allow_descriptors(wanted: int) -> None:
    """Use what the system grants: it usually begins with 1,024, a limit for programs that call select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
