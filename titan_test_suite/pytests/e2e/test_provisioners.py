"""What docs/scaling.md shows for those who are asked for workers: the receiver of a webhook, the pods of a command.

Slurm has a file of its own.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from titan_test_suite.pytests.support.cluster import Cluster
from titan_test_suite.pytests.support.documents import ROOT, steps
from titan_test_suite.pytests.support.waiting import wait_until

pytestmark = pytest.mark.e2e

Script = Callable[[str, str], str]
SCALING = ROOT / "docs" / "scaling.md"
FAST = ("--grace-s", "0", "--scale-s", "0.5", "--scale-up-s", "0.2", "--scale-down-s", "1.5")


def shown(name: str) -> str:
    """The file of this name, as the page has it."""
    (text,) = (step.text for step in steps(SCALING) if step.argument == name)
    return text


@contextlib.contextmanager
def receiver(home: Path, secret: str) -> Iterator[str]:
    """The receiver of the page, running in `home`; its URL."""
    (home / "receiver.py").write_text(shown("receiver.py"))
    (home / "webhook-secret").write_text(secret)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "receiver.py", str(port)]
    with open(home / "receiver.out", "ab") as output:
        process = subprocess.Popen(
            command, cwd=home, env=os.environ | {"TITAN_HOME": str(home)}, stdout=output, stderr=output
        )
    try:
        wait_until(lambda: answers(port), 10, (home / "receiver.out").read_text)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(10)


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def growing(url: str, secret_file: Path) -> tuple[str, ...]:
    webhook = ("--provisioner", "webhook", "--webhook-url", url, "--webhook-secret-file", str(secret_file))
    return (*webhook, *FAST)


def test_a_webhook_has_workers_started(tmp_path: Path, script: Script) -> None:
    with (
        receiver(tmp_path, "hush\n") as url,
        Cluster(tmp_path, *growing(url, tmp_path / "webhook-secret")) as cluster,
    ):
        with cluster.client() as client:
            assert client.workers() == ()
            job = client.submit_job(job_id="x", filename=script("x.sh", "true"))
            assert job.result(timeout=20).state == "COMPLETED"
            (worker,) = client.workers()
            assert worker.ephemeral
            wait_until(lambda: not client.workers(), 20, cluster.master.tail)
        wait_until(lambda: '"POST / HTTP/1.1" 204' in (tmp_path / "receiver.out").read_text())
        wait_until(lambda: f"gave back worker {worker.worker_id}" in cluster.master.tail())


def test_a_webhook_that_refuses_is_explained(tmp_path: Path, script: Script) -> None:
    other = tmp_path / "other"
    other.write_text("another secret")
    with receiver(tmp_path, "hush") as url, Cluster(tmp_path, *growing(url, other)) as cluster:
        with cluster.client() as client:
            job = client.submit_job(job_id="x", filename=script("x.sh", "true"))
            said = f"webhook {url} answered 403 the signature is wrong, or too old"
            wait_until(lambda: said in str(client.explain(job.key)), 20, lambda: client.explain(job.key))


def test_pods_are_made(tmp_path: Path, script: Script) -> None:
    """By a `kubectl` that writes down what it was given."""
    script("kubectl", f"echo $* > {tmp_path}/said; cat > {tmp_path}/manifest")
    environ = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run([script("titan-pods", shown("titan-pods")), "GPU", "3"], env=environ, check=True, timeout=20)
    assert (tmp_path / "said").read_text() == "create -f -\n"
    manifest = yaml.safe_load((tmp_path / "manifest").read_text())
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    assert (manifest["kind"], manifest["spec"]["parallelism"], manifest["spec"]["completions"]) == ("Job", 3, 3)
    assert container["command"][1:] == ["-m", "titan_core.worker", "--capability", "GPU", "--ephemeral"]
