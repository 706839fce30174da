"""Clusters for tests that leave them as they were, and scripts for jobs to run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from titan_sdk import TitanClient
from titan_test_suite.pytests.support.cluster import Cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A master and two GENERAL workers, shared by the tests of a module."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as running:
        running.start_worker()
        running.start_worker()
        yield running


@pytest.fixture
def client(cluster: Cluster) -> Iterator[TitanClient]:
    with cluster.client() as client:
        yield client


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str, str], str]:
    """Writes a file for a job to run; its path."""

    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    return write
