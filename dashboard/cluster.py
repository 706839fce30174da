"""The snapshot of the cluster that all pages show, and the one thread that keeps it.

The thread `snapshots` asks the master about every second while somebody looks, less often if the master is busy, and
every ten while nobody does; what it finds replaces the snapshot as a whole. When the master is away the last one
stays, with the reason beside it, until it is back. Any thread may look, or wait for a change. Knows neither HTTP nor
HTML.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from dashboard.ledgers import Ledgers
from titan_core.lifecycle import Component
from titan_core.protocol.messages import (
    ClusterStatus,
    FireStatus,
    JobList,
    RunStatus,
    ScheduleStatus,
    ServiceStatus,
    WorkerStatus,
)
from titan_sdk import TitanClient
from titan_sdk.errors import ClientClosed, TitanError

LOOKED_S = 30.0
"""For so long after a look somebody is taken to be looking."""
BUSY_PERIOD_S, SLOW_PERIOD_S, IDLE_PERIOD_S = 1.0, 3.0, 10.0
_EASE, _REST = 200.0, 4.0
"""After a turn that took t seconds, which shows how busy the master is, it is left alone for _EASE times t, but no
longer than SLOW_PERIOD_S; and for at least _REST times t."""
RUNS, DEAD, WAITING = 25, 100, 200
"""The newest runs and dead jobs, and the first jobs in the queue, that a snapshot holds."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was known of the cluster at one moment."""

    version: int = 0
    """Grows with each change; of no meaning beyond this process."""
    as_of: float = 0.0
    """Wall time; 0.0 = the master was never reached."""
    trouble: str = ""
    """Why the master is not reached, in a sentence; empty: it was, at `as_of`."""
    cluster: ClusterStatus = ClusterStatus()
    runs: tuple[RunStatus, ...] = ()
    """Newest first, without jobs."""
    dead: JobList = JobList()
    waiting: JobList = JobList()
    """The jobs that are QUEUED."""
    services: tuple[ServiceStatus, ...] = ()
    schedules: tuple[ScheduleStatus, ...] = ()
    fires: tuple[FireStatus, ...] = ()
    """Those of the last day that came to nothing, newest first."""

    @property
    def known(self) -> bool:
        return self.as_of > 0.0

    @property
    def counts(self) -> dict[str, int]:
        """Jobs that the master remembers, by state."""
        return {item.state: item.count for item in self.cluster.counts}

    def worker(self, worker_id: str) -> WorkerStatus | None:
        return next((worker for worker in self.cluster.workers if worker.worker_id == worker_id), None)


class ClusterWatch(Component):
    """Keeps the snapshot."""

    def __init__(
        self,
        client: TitanClient,
        now: Callable[[], float] = time.monotonic,
        now_wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__("cluster")
        self._client = client
        self._now, self._now_wall = now, now_wall
        self._ledgers = Ledgers(now_wall)
        self._changed = threading.Condition()
        self._looked_at = now() - LOOKED_S
        self._begun = self._ended = 0
        """Turns."""
        self._hurry = False
        self.on_read: Callable[[Snapshot], None] = lambda snapshot: None
        """Is called by the thread with each snapshot it has read."""
        self._snapshot = Snapshot(version=int(now_wall() * 1000), trouble="the master has not been asked yet")
        """Versions begin where no earlier process has been, so that a page that outlived one notices."""

    def start(self) -> None:
        self.spawn("snapshots", self._keep)

    def on_stop(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def look(self) -> Snapshot:
        """The snapshot, for a person: it is kept fresh from now on."""
        with self._changed:
            was_idle = not self._is_looked_at()
            self._looked_at = self._now()
            if was_idle:
                self._changed.notify_all()
            return self._snapshot

    def glance(self) -> Snapshot:
        """The snapshot, for a machine that asks in any case: it may be ten seconds old."""
        with self._changed:
            return self._snapshot

    def wait_for_change(self, version: int, timeout_s: float) -> Snapshot:
        """The snapshot once it has another version, or after `timeout_s`, or when this stops."""
        self.look()
        with self._changed:
            self._changed.wait_for(lambda: self._snapshot.version != version or self.stopping.is_set(), timeout_s)
            return self._snapshot

    def renew(self, timeout_s: float = 1.0) -> None:
        """After an action: have the master asked at once, and wait for that, so that the next page shows it."""
        with self._changed:
            wanted = self._begun + 1
            self._hurry = True
            self._changed.notify_all()
            if self.threads():
                self._changed.wait_for(lambda: self._ended >= wanted or self.stopping.is_set(), timeout_s)

    def refresh(self) -> None:
        """Ask the master once. For the thread, and for tests."""
        try:
            found = self._read()
            self._put(found)
            self.on_read(found)
        except ClientClosed:
            return
        except TitanError as error:
            self._put(replace(self.glance(), trouble=str(error)))

    # ── the thread ────────────────────────────────────────────────────────────────────────────────

    def _keep(self) -> None:
        while not self.stopping.is_set():
            begun_at = self._now()
            with self._changed:
                self._begun, self._hurry = self._begun + 1, False
            self.refresh()
            with self._changed:
                self._ended = self._begun
                self._changed.notify_all()
            self._rest(self._now() - begun_at)

    def _rest(self, took_s: float) -> None:
        """Until the next turn is due, which is sooner once somebody looks."""
        since_at = self._now()
        with self._changed:
            while not self.stopping.is_set():
                left_s = since_at + self._period_s(took_s) - self._now()
                if left_s <= 0 or self._hurry:
                    return
                self._changed.wait(left_s)

    def _period_s(self, took_s: float) -> float:
        """From the end of a turn to the next one."""
        eased_s = max(BUSY_PERIOD_S, min(SLOW_PERIOD_S, _EASE * took_s))
        return max(eased_s if self._is_looked_at() else IDLE_PERIOD_S, _REST * took_s)

    def _is_looked_at(self) -> bool:
        return self._now() - self._looked_at < LOOKED_S

    def _read(self) -> Snapshot:
        client = self._client
        schedules = client.schedules()
        return Snapshot(
            cluster=client.cluster(),
            runs=client.runs(RUNS),
            dead=client.dead_jobs(DEAD),
            waiting=client.jobs("QUEUED", limit=WAITING),
            services=client.services(),
            schedules=schedules,
            fires=self._ledgers.read(client, schedules),
            as_of=self._now_wall(),
        )

    def _put(self, found: Snapshot) -> None:
        """Make it the snapshot; its version is a new one only if more than the time has changed."""
        with self._changed:
            before = self._snapshot
            same = replace(found, version=before.version, as_of=before.as_of) == before
            self._snapshot = replace(found, version=before.version + (0 if same else 1))
            self._changed.notify_all()
