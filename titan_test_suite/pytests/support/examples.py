"""The examples: where they are, and how to run one without asking which ports are free here."""

from __future__ import annotations

import http.client
from dataclasses import replace
from pathlib import Path

from titan_sdk.pipeline import Pipeline, load
from titan_test_suite.pytests.support.ports import free_port
from titan_test_suite.pytests.support.waiting import wait_until

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
GRAPHS = "yaml_based_static_tests/dag_structure_test"
SKILLS = "yaml_based_static_tests/worker_skill_based_test"


def example(path: str | Path) -> Pipeline:
    """The pipeline `path`, below the examples unless absolute; its services on ports that are free now."""
    pipeline = load(EXAMPLES / path)
    jobs = [replace(job, port=free_port()) if job.port not in (0, "auto") else job for job in pipeline.jobs]
    return replace(pipeline, jobs=jobs)


def port_of(pipeline: Pipeline, job_id: str) -> int:
    """The port of one of its services."""
    return next(job.port for job in pipeline.jobs if job.job_id == job_id)


def answer_of(port: int, path: str = "/", timeout_s: float = 10.0) -> str:
    """What the service on `port` answers to a GET. Its process may have begun only now: the first answer counts."""
    return wait_until(lambda: _get(port, path), timeout_s, f"nothing answers on port {port}")


def _get(port: int, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    except ConnectionError:
        return ""
    finally:
        connection.close()
