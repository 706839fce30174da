"""One `kill -9` of the master, and everything that was going on at that moment goes on.

A cluster is brought into as many states at once as there are; the master is killed; while it is down, jobs end and
workers die; a new one starts on the same home and port. Each test looks at one of the things that must hold. Who says
what ran is the ledger that the jobs write.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from titan_core.protocol.messages import JobStatus
from titan_sdk import JobHandle, TitanClient
from titan_test_suite.pytests.support.cluster import Cluster, Program
from titan_test_suite.pytests.support.ports import free_port
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.pytests.support.witnesses import SERVES, Witnesses

pytestmark = pytest.mark.e2e

END_S = 30.0
GRACE_S = 5.0
DELAY_S = BACKOFF_S = 3.0

DEAF = "trap '' TERM; " + "note start; until_gate; note end"
COUNTS = """\
note start; i=0
until test -e "$GATE"; do echo "line $((i++))"; read -rt 0.01 -u $never; done
echo "$i lines"; note end
"""


class Follower:
    """`titan …`, running, with its data and its talk in two files."""

    def __init__(self, cluster: Cluster, words: list[str]) -> None:
        self._data, self._talk = (cluster.home / f"{words[0]}.{kind}" for kind in ("data", "talk"))
        command = [sys.executable, "-m", "titan_sdk.titan_cli", *words]
        with open(self._data, "w") as data, open(self._talk, "w") as talk:
            self._process = subprocess.Popen(
                command, env=cluster.environ, stdin=subprocess.DEVNULL, stdout=data, stderr=talk
            )

    def data(self) -> str:
        return self._data.read_text()

    def text(self) -> str:
        return self.data() + self._talk.read_text()

    def exit_code(self) -> int:
        return self._process.wait(END_S)

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class Scene:
    """The cluster, and what was submitted to it before the master was killed."""

    def __init__(self, cluster: Cluster, witnesses: Witnesses) -> None:
        self.cluster = cluster
        self.witnesses = witnesses
        self.stays, self.returns, self.goes = (
            cluster.start_worker(f"GENERAL,{name}", port=free_port(), slots=8) for name in ("A", "B", "C")
        )
        self.followers: list[Follower] = []

    def submit(self, client: TitanClient) -> None:
        job = self.witnesses.job
        self.old = client.submit_job(job("old", "echo of old; note start; note end", requirement="A"))
        self.states = client.submit_dag(
            "states",
            [
                job("long", gate="go", requirement="A"),
                job("child", parents=["long"], requirement="A"),
                job("during", gate="down", requirement="A"),
                job("delayed", delay=DELAY_S * 1000, requirement="A"),
                job("failed", failures=1, retries=1, retry_backoff=BACKOFF_S, requirement="A"),
                job("counts", COUNTS, gate="go", requirement="A"),
                job("after", parents=["during"], requirement="A"),
            ],
        )
        self.deaf = client.submit_job(job("deaf", DEAF, gate="deaf", requirement="A", stop_grace=60))
        self.service = client.submit_job(job("service", SERVES, type="service", requirement="A"))
        self.kept, self.again = (
            client.submit_job(job(name, gate=gate, requirement="B"))
            for name, gate in (("kept", "down"), ("again", "go"))
        )
        self.lost = client.submit_job(job("lost", gate="go", requirement="C"))
        self.once = client.submit_job(job("once", gate="go", requirement="C", max_attempts=1))

    def settle(self, client: TitanClient) -> None:
        """Until all of it is in the state that it is to be in."""
        running = [self.deaf, self.service, self.kept, self.again, self.lost, self.once]
        names = [f"{self.states}/{name}" for name in ("long", "during", "counts", "failed")]
        wait_until(self.witnesses.started(*names, *(job.key for job in running)), END_S)
        self.old.result(END_S)
        wait_until(lambda: client.run(self.service.run_id).final)
        client.cancel(self.deaf.key)
        wait_until(lambda: client.job(f"{self.states}/failed").state == "FAILED")
        seen = {job.job_id: job.state for job in self.states.jobs()}
        assert seen["delayed"] == "DELAYED" and seen["child"] == seen["after"] == "BLOCKED", seen
        self.events_before = list(client.events(self.old.run_id))

    def follow(self) -> None:
        """`titan` waits for the run and follows a log, from before the kill until it is over."""
        for words in (["wait", str(self.states)], ["logs", "-f", f"{self.states}/counts"]):
            follower = Follower(self.cluster, words)
            self.followers.append(follower)
            wait_until(follower.text, END_S, f"titan {words} says nothing")

    def fall(self) -> None:
        """Kill the master; while it is down jobs end, one worker dies and comes back, another is gone for good."""
        self.cluster.master.kill()
        self.witnesses.open("down")
        wait_until(lambda: self.witnesses.ends(f"{self.states}/during") and self.witnesses.ends(self.kept.key), END_S)
        wait_until(lambda: self._journal(self.returns), explain="no result in the journal")
        self.returns.kill()
        self.goes.kill()

    def rise(self) -> None:
        self.back_wall = time.time()
        self.cluster.start_master("--port", self.cluster.master.arguments[2], "--grace-s", str(GRACE_S))
        with self.cluster.client() as client:
            self.at_first = {job.key: client.job(job.key) for job in (self.lost, self.once)}
            # What is followed is to end in a session: of what ended before one, the result comes ahead of the log.
            wait_until(lambda: self._is_online(client, self.stays), END_S, client.workers)
        self.returns = self.cluster.restart_worker(self.returns)
        self.witnesses.open("go")

    def _is_online(self, client: TitanClient, program: Program) -> bool:
        return any(worker.pid == program.pid and worker.state == "ONLINE" for worker in client.workers())

    def end(self) -> None:
        for follower in self.followers:
            follower.end()

    def _journal(self, worker: Program) -> bool:
        """Whether a result is in the journal of this worker."""
        places = (self.cluster.home / "titan_workspace" / "results").glob(f"{worker.arguments[1]}-*")
        return any(
            path.stat().st_size for place in places for path in ([place] if place.is_file() else place.iterdir())
        )


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    home = tmp_path_factory.mktemp("restart")
    with Cluster(home, "--port", str(free_port())) as cluster:
        cluster.environ["TITAN_WORKER_RECONNECT_MAX_S"] = "0.5"
        scene = Scene(cluster, Witnesses(home))
        try:
            with cluster.client() as client:
                scene.submit(client)
                scene.follow()
                scene.settle(client)
            scene.fall()
            scene.rise()
            yield scene
        finally:
            scene.end()


@pytest.fixture
def client(scene: Scene) -> Iterator[TitanClient]:
    with scene.cluster.client() as client:
        yield client


def ran_once(scene: Scene, key: str) -> None:
    assert [line.number for line in scene.witnesses.starts(key)] == [1]
    assert [line.number for line in scene.witnesses.ends(key)] == [1]


def outcomes(status: JobStatus) -> list[str]:
    return [attempt.outcome for attempt in status.attempts]


def final(client: TitanClient, job: JobHandle | str) -> JobStatus:
    return client.wait_for_job(job, END_S)


# ── what waits ────────────────────────────────────────────────────────────────────────────────────


def test_a_running_job_runs_on_and_its_child_follows(scene: Scene, client: TitanClient) -> None:
    for name in ("long", "child"):
        assert outcomes(final(client, f"{scene.states}/{name}")) == ["SUCCEEDED"]
        ran_once(scene, f"{scene.states}/{name}")


def test_a_job_that_ends_meanwhile_is_counted_once(scene: Scene, client: TitanClient) -> None:
    for name in ("during", "after"):
        assert outcomes(final(client, f"{scene.states}/{name}")) == ["SUCCEEDED"]
        ran_once(scene, f"{scene.states}/{name}")
    ends = [event for event in client.events(f"{scene.states}/during") if event.after == "COMPLETED"]
    assert len(ends) == 1


def test_a_delay_goes_on_where_it_was(scene: Scene, client: TitanClient) -> None:
    status = final(client, f"{scene.states}/delayed")
    ran_once(scene, f"{scene.states}/delayed")
    begun = scene.witnesses.starts(f"{scene.states}/delayed")[0].wall
    assert begun >= status.submitted_wall + DELAY_S - 0.01


def test_a_failed_job_is_tried_again_after_its_backoff(scene: Scene, client: TitanClient) -> None:
    status = final(client, f"{scene.states}/failed")
    assert outcomes(status) == ["FAILED", "SUCCEEDED"]
    first, second = scene.witnesses.starts(f"{scene.states}/failed")
    assert (first.number, second.number) == (1, 2)
    assert second.wall >= first.wall + BACKOFF_S / 2  # the jitter may take half of it


def test_a_job_that_is_being_cancelled_is_cancelled(scene: Scene, client: TitanClient) -> None:
    assert client.job(scene.deaf).state == "RUNNING"
    scene.witnesses.open("deaf")
    status = final(client, scene.deaf)
    assert (status.state, len(status.attempts)) == ("CANCELLED", 1)
    ran_once(scene, scene.deaf.key)


def test_a_service_stays_up_and_can_be_stopped(scene: Scene, client: TitanClient) -> None:
    assert client.run(scene.service.run_id).final  # it is up
    assert [job.job_id for job in client.jobs(services=True).jobs] == ["service"]
    stopped = scene.cluster.cli("stop", "service")
    assert stopped.returncode == 0, stopped.stderr
    assert final(client, scene.service).state == "COMPLETED"
    assert len(scene.witnesses.starts(scene.service.key)) == 1


# ── workers ───────────────────────────────────────────────────────────────────────────────────────


def test_a_worker_that_was_killed_meanwhile_tells_what_it_had_finished(scene: Scene, client: TitanClient) -> None:
    assert outcomes(final(client, scene.kept)) == ["SUCCEEDED"]
    ran_once(scene, scene.kept.key)


def test_what_ran_there_is_lost_and_runs_again_at_once(scene: Scene, client: TitanClient) -> None:
    status = final(client, scene.again)
    assert outcomes(status) == ["LOST", "SUCCEEDED"]
    assert "was restarted" in status.attempts[0].reason
    assert status.attempts[0].finished_wall < scene.back_wall + GRACE_S
    assert [line.number for line in scene.witnesses.ends(scene.again.key)] == [2]


def test_what_a_worker_ran_that_is_gone_is_lost_after_the_grace_only(scene: Scene, client: TitanClient) -> None:
    assert [status.state for status in scene.at_first.values()] == ["RUNNING", "RUNNING"]
    wait_until(lambda: client.job(scene.lost).state == "QUEUED", END_S)
    status = client.job(scene.lost)
    assert outcomes(status) == ["LOST"]
    assert f"did not come back within {GRACE_S:g} s" in status.attempts[0].reason
    assert status.attempts[0].finished_wall >= scene.back_wall + GRACE_S
    once = final(client, scene.once)
    assert once.state == "DEAD"
    assert "outcome unknown" in once.reason


def test_and_runs_again_when_there_is_a_worker_for_it(scene: Scene, client: TitanClient) -> None:
    wait_until(lambda: client.job(scene.lost).state == "QUEUED", END_S)
    another = scene.cluster.restart_worker(scene.goes)
    assert outcomes(final(client, scene.lost)) == ["LOST", "SUCCEEDED"]
    assert another.stop() == 0
    assert [line.number for line in scene.witnesses.ends(scene.lost.key)] == [2]
    assert len(scene.witnesses.starts(scene.once.key)) == 1


# ── who looks on ──────────────────────────────────────────────────────────────────────────────────


def test_titan_wait_waits_through_the_restart(scene: Scene) -> None:
    waiting, _ = scene.followers
    assert waiting.exit_code() == 0, waiting.text()
    assert "the master is away" in waiting.text()
    assert "COMPLETED" in waiting.text()
    assert "Traceback" not in waiting.text()


def test_a_log_that_is_followed_is_complete_and_says_nothing_twice(scene: Scene, client: TitanClient) -> None:
    _, following = scene.followers
    assert following.exit_code() == 0, following.text()
    *lines, last = following.data().splitlines()
    assert lines == [f"line {number}" for number in range(len(lines))]
    assert last == f"{len(lines)} lines"
    assert client.fetch_logs(f"{scene.states}/counts") == following.data()


def test_what_was_over_is_still_known(scene: Scene, client: TitanClient) -> None:
    listed = json.loads(scene.cluster.cli("ls", "--json").stdout)
    assert scene.old.run_id in [run["run_id"] for run in listed]
    status = json.loads(scene.cluster.cli("status", scene.old.run_id, "--json").stdout)
    assert status["state"] == "COMPLETED"
    assert scene.cluster.cli("logs", scene.old.key).stdout == "of old\n"
    assert list(client.events(scene.old.run_id)) == scene.events_before
    assert [event.after for event in scene.events_before][-1] == "COMPLETED"
