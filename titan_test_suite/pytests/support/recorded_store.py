"""A program for the test of power cuts: a store under a random life of a cluster, that ends without closing it.

    python -m titan_test_suite.pytests.support.recorded_store HOME SEED

Tells the file `acknowledged` each ticket that it was told is on disk, and `story.json`, at the end, what each
ticket stood for. When the store ends by itself, that is told to `ended.json`: its last committed ticket, and whether
it failed.
"""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path

from titan_core.clock import FakeClock
from titan_core.errors import Unavailable
from titan_core.scheduler.actions import Action
from titan_core.scheduler.events import Event
from titan_core.scheduler.records import batch
from titan_core.scheduler.states import Outcome
from titan_core.store import sqlite
from titan_core.store.sqlite import Store
from titan_test_suite.pytests.support.graphs import rolled_graph
from titan_test_suite.pytests.support.stored_cluster import StoredCluster, open_store, with_task

STEPS = 260
RUNS_KEPT = 6
ENDS = [Outcome.SUCCEEDED, Outcome.SUCCEEDED, Outcome.FAILED, Outcome.INTERRUPTED]
CHECKPOINT_PAGES = 60
"""So that there are many checkpoints, too."""


class TellingCluster(StoredCluster):
    """Remembers what each ticket stood for."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.story: dict[int, dict[str, object]] = {}

    def handle(self, event: Event) -> list[Action]:
        before = self.store.last
        actions = super().handle(event)
        rows = batch(actions, self.now)
        if rows is not None and self.store.last > before:
            self.story[self.store.last] = {
                "runs": {run.sequence: run.run_id for run in rows.runs},
                "jobs": [[job.run, job.sequence] for job in rows.jobs],
                "events": [[event.run, event.version, event.after] for event in rows.events],
                "requests": [[request.request_id.hex()] for request in rows.requests],
            }
        return actions


def live(cluster: TellingCluster, dice: random.Random, acknowledged: int) -> None:
    for name in "abc":
        cluster.join(name, "GENERAL", "GPU", slots=2)
    for step in range(STEPS):
        running = [attempt.job.key for attempt in cluster.core.state.attempts.values()]
        if len(running) < 3 and dice.random() < 0.5:
            specs = tuple(map(with_task, rolled_graph(dice, 0, [])))
            cluster.submit(*specs, run_id=f"run-{step}", request_id=dice.randbytes(16))
        elif running and dice.random() < 0.8:
            end(cluster, dice.choice(running), dice)
        elif dice.random() < 0.2:
            cluster.restart(dice.choice(list(cluster.workers.values())))
        else:
            cluster.advance(dice.choice([0.5, 5.0]))
        if dice.random() < 0.05:
            cluster.store.forget(cluster.store.expired(0.0, 0, RUNS_KEPT))
        if dice.random() < 0.4:
            cluster.flush()
            os.pwrite(acknowledged, b"%9d" % cluster.store.last, 0)


def end(cluster: TellingCluster, name: str, dice: random.Random) -> None:
    """An execution ends; that of a service, which would go on for ever, because somebody wants that."""
    if cluster.job(name).service is not None and cluster.job(name).ending is None:
        cluster.stop_service(name)
    cluster.finish(name, dice.choice(ENDS))


def main() -> None:
    home, seed = Path(sys.argv[1]), int(sys.argv[2])
    sqlite.CHECKPOINT_PAGES = CHECKPOINT_PAGES
    with open_store(home):
        pass  # the first start makes the database, and closes it
    store = Store(home / ".titan", FakeClock())
    store.load(0.0)
    store.start()
    cluster = TellingCluster(store)
    acknowledged = os.open(home / ".titan" / "acknowledged", os.O_WRONLY | os.O_CREAT)
    try:
        live(cluster, random.Random(seed), acknowledged)
    except Unavailable:
        store.join(10)
        (home / "ended.json").write_text(json.dumps({"committed": store.committed, "failed": store.failed}))
    (home / "story.json").write_text(json.dumps(cluster.story))
    os._exit(0)  # as if the power went: nothing is closed


if __name__ == "__main__":
    main()
