"""A cluster whose master may be killed, and one worker of it; files with others of these names have their own."""

from __future__ import annotations

import pytest

from titan_test_suite.pytests.support.cluster_model import FakeWorker
from titan_test_suite.pytests.support.kept_cluster import KeptCluster


@pytest.fixture
def cluster() -> KeptCluster:
    return KeptCluster()


@pytest.fixture
def worker(cluster: KeptCluster) -> FakeWorker:
    return cluster.join("w")
