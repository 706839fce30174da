"""Every DEAD job runs again by one request, however many runs of them left memory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from titan_core.clock import FakeClock
from titan_core.master import handlers
from titan_core.master.engine import Engine
from titan_core.master.finder import Finder
from titan_core.master.handlers import Handlers
from titan_core.master.logs import LogStore
from titan_core.protocol.messages import Ack, RetryJob
from titan_core.scheduler.events import RunCancelRequested, RunSubmitted
from titan_core.store.assets import AssetStore
from titan_test_suite.pytests.support.stored_cluster import StoredCluster, open_store, stored_job


def test_runs_that_end_meanwhile_push_none_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "RECALLED_AT_ONCE", 2)
    recall = Finder.recall
    ended: list[str] = []

    def recall_while_a_run_ends(finder: Finder, run_ids: Iterable[str]) -> None:
        recall(finder, run_ids)
        ended.append(f"other-{len(ended)}")
        engine.submit(RunSubmitted(ended[-1], "other", b"s" * 16, (stored_job("a", requirement="GPU"),)))
        engine.submit(RunCancelRequested(ended[-1], "not wanted"))

    monkeypatch.setattr(Finder, "recall", recall_while_a_run_ends)
    with open_store(tmp_path) as store:
        cluster = StoredCluster(store, runs_kept=4)
        cluster.join("w")
        for number in range(10):
            cluster.submit(stored_job("a"), run_id=f"run-{number}")
            cluster.fail(f"run-{number}/a")
        cluster.flush()
        engine = Engine(cluster.core, FakeClock(), store)
        assets, logs = AssetStore(tmp_path / "perm_files", tmp_path / "assets"), LogStore(tmp_path, engine.topics)
        answer = Handlers(engine, assets, logs, store.history, None, lambda: None).answer(RetryJob(every_dead=True))
    assert ended and isinstance(answer, Ack)
    assert sorted(answer.keys) == [f"run-{number}/a" for number in range(10)]
