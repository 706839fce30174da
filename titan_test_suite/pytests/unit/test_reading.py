"""Whoever reads a run piece by piece reads all of it, though it is forgotten meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from titan_core.clock import FakeClock
from titan_core.master import listings
from titan_core.master.engine import Engine
from titan_core.master.handlers import Handlers
from titan_core.master.logs import LogStore
from titan_core.protocol.messages import GetRun, RunStatus
from titan_core.scheduler.core import Core
from titan_core.scheduler.events import RunCancelRequested, RunSubmitted
from titan_core.scheduler.state import State
from titan_core.store.assets import AssetStore
from titan_core.store.sqlite import Store
from titan_test_suite.pytests.support.stored_cluster import StoredCluster, open_store, stored_job

T = TypeVar("T")
JOBS, AT_ONCE = 21, 10


class BusyEngine(Engine):
    """After each look, other runs begin and end, so that older ones are forgotten."""

    def __init__(self, core: Core, store: Store) -> None:
        super().__init__(core, FakeClock(), store)
        self.others = 0

    def read(self, look: Callable[[State], T]) -> T:
        found = super().read(look)
        for _ in range(2):
            self.others += 1
            run_id = f"other-{self.others}"
            self.submit(RunSubmitted(run_id, "other", b"s" * 16, (stored_job("a", requirement="GPU"),)))
            self.submit(RunCancelRequested(run_id, "not wanted"))
        return found


def test_a_run_is_read_whole_though_it_is_forgotten_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings, "JOBS_AT_ONCE", AT_ONCE)
    with open_store(tmp_path) as store:
        cluster = StoredCluster(store, jobs_kept=JOBS)
        cluster.join("w", slots=JOBS)
        cluster.submit(*(stored_job(f"j{number}") for number in range(JOBS)), run_id="big")
        for number in range(JOBS):
            cluster.fail(f"big/j{number}")
        cluster.flush()
        engine = BusyEngine(cluster.core, store)
        assets, logs = AssetStore(tmp_path / "files", tmp_path / "assets"), LogStore(tmp_path, engine.topics)
        answer = Handlers(engine, assets, logs, store.history, None, lambda: None).answer(GetRun("big"))
        assert isinstance(answer, RunStatus)
        assert "big" not in cluster.core.state.runs
        assert {(job.state, job.worker, job.exit_code) for job in answer.jobs} == {("DEAD", "w:8080", 1)}
        assert len(answer.jobs) == JOBS
        engine.others = 1000
        engine.read(lambda state: None)
        assert not cluster.core.state.reading
        assert len(cluster.core.state.forgotten) <= 1, "nobody holds it any more"
