"""What a browser is shown: a cluster of real processes with something of everything, and its dashboard.

What people and programs can put into it (reasons, names of files, arguments, lines of a log) is HOSTILE.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from titan_sdk import JobHandle, RunHandle, TitanClient, TitanJob
from titan_test_suite.pytests.support.cluster import Cluster, Program
from titan_test_suite.pytests.support.waiting import wait_until

HOSTILE = "<img src=x onerror=\"document.title='taken'\">'&"
HOSTILE_NAME = "<img src=x onerror=alert(1)>"
"""As a part of a file's name."""
LONG = "a-name-that-has-no-place-to-be-broken-" * 3

_GATED = """#!/bin/sh
# gated.sh FILE …: says what it was given, and works until there is such a file
echo "begun with $*"
until [ -e "$1" ]; do sleep 0.05; done
echo "ended"
"""
_FAILS = f"""#!/bin/sh
cat <<'END'
{HOSTILE}
\033[31mred\033[0m and plain
END
exit 3
"""
_SERVES = """#!/bin/sh
exec python3 -m http.server "$PORT" --bind 127.0.0.1
"""


class DashboardProgram(Program):
    """`python -m dashboard` for a cluster, on a free port. Use as a context manager."""

    def __init__(self, cluster: Cluster, *flags: str) -> None:
        said = cluster.home / "dashboard.out"
        self._begin = said.stat().st_size if said.exists() else 0  # what an earlier one has said is before that
        arguments = ["dashboard", "--port=0", f"--home={cluster.home}", *flags]
        super().__init__("dashboard", arguments, cluster.home, cluster.environ)
        try:
            self.url: str = wait_until(self._said, 20, self.tail)
        except BaseException:  # nobody holds it yet who could stop it
            self.kill()
            raise

    def __enter__(self) -> DashboardProgram:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.stop() == 0 or error is not None, self.tail()

    def _said(self) -> str:
        assert self.process.poll() is None, self.tail()
        found = re.search(r"^titan dashboard: (http://\S+)", self.output.read_text()[self._begin :], re.M)
        return found[1] if found else ""


class Scene:
    """The cluster and its dashboard, with what goes on in it by name."""

    def __init__(self, cluster: Cluster, dashboard: DashboardProgram, client: TitanClient) -> None:
        self.cluster, self.dashboard, self.client = cluster, dashboard, client
        self.url = dashboard.url
        self.token = (cluster.home / ".titan" / "token").read_text().strip()
        self.files = cluster.home / "files"
        self.files.mkdir()
        self.gate = self.files / "gate"
        self.running = self._running()
        self.failed = self._failed()
        self.service = self._service()
        self._schedules()
        self._assets()
        wait_until(lambda: client.job(f"{self.running}/extract").state == "RUNNING", 20)
        wait_until(lambda: client.job(self.failed).state == "DEAD", 20)
        client.wait_service(self.service, 20)
        self.worker = client.workers()[0].worker_id

    def script(self, name: str, text: str) -> str:
        path = self.files / name
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    def pages(self) -> dict[str, str]:
        """All pages there are, by a short name."""
        run, worker = f"/runs/{self.running}", f"/workers/{self.worker}"
        service = f"/services/{self.service.run_id}/{self.service.job_id}"
        failed = f"/runs/{self.failed.run_id}/jobs/{self.failed.job_id}"
        return {
            "home": "/",
            "jobs": "/jobs",
            "dead jobs": "/jobs?state=DEAD",
            "runs": "/runs",
            "run": run,
            "run, with a job": f"{run}?job=extract",
            "run that failed": f"/runs/{self.failed.run_id}?job={self.failed.job_id}",
            "cancel": f"{run}/cancel",
            "log": f"{failed}/log",
            "history": "/history",
            "services": "/services",
            "service": service,
            "scale": f"{service}/scale",
            "schedules": "/schedules",
            "schedule": "/schedules/nightly",
            "paused schedule": "/schedules/paused",
            "pause": "/schedules/nightly/pause",
            "backfill": "/schedules/nightly/backfill",
            "workers": "/workers",
            "worker": worker,
            "stop a worker": f"{worker}/shutdown",
            "assets": "/assets",
            "upload": "/assets/upload",
            "submit": "/submit",
            "charts": "/charts",
            "not found": "/nowhere",
        }

    def dag(self, name: str, gate: Path) -> RunHandle:
        """extract → two that transform → load; each works until there is the file that is called like it, with the
        name of `gate` before it."""
        script = self.script("gated.sh", _GATED)

        def job(job_id: str, *parents: str) -> TitanJob:
            return TitanJob(job_id, script, args=(f"{gate}-{job_id}", HOSTILE), parents=parents)

        jobs = [job("extract"), job("clean", "extract"), job("count", "extract"), job("load", "clean", "count")]
        return self.client.submit_dag(name, [*jobs, job(LONG[:100].rstrip("-"), "extract")])

    def _running(self) -> RunHandle:
        return self.dag("sales", self.gate)

    def _failed(self) -> JobHandle:
        job = self.client.submit_job(
            filename=self.script(f"fails {HOSTILE_NAME}.sh", _FAILS), job_id="broken", args=(HOSTILE, LONG)
        )
        stopped = self.client.submit_job(
            filename=self.script("gated.sh", _GATED), job_id="stopped", args=(f"{self.gate}-never",)
        )
        self.client.cancel(stopped, HOSTILE)
        return job

    def _service(self) -> JobHandle:
        return self.client.submit_job(
            filename=self.script("serves.sh", _SERVES), job_id="site", type="service", port="auto"
        )

    def _schedules(self) -> None:
        script = self.script("true.sh", "#!/bin/sh\necho done\n")
        job = TitanJob("report", script, args=(HOSTILE,))
        self.client.schedule("nightly", job, cron="0 2 * * *", timezone="Europe/Berlin")
        self.client.schedule("paused", job, every="1h")
        self.client.trigger_schedule("nightly")
        self.client.pause_schedule("paused", HOSTILE)

    def _assets(self) -> None:
        source = self.files / "asset"
        source.write_text("nothing")
        for name in (f"{HOSTILE_NAME}.txt", f"{LONG}.csv"):
            self.client.upload_file(source, name)


@contextmanager
def scene(home: Path, *flags: str) -> Iterator[Scene]:
    """Everything is running when the block begins, and gone after it."""
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(Cluster(home))
        cluster.start_worker(slots=16)  # a test that fails must not leave too few for the others
        cluster.start_worker("GPU")
        dashboard = stack.enter_context(DashboardProgram(cluster, *flags))
        yield Scene(cluster, dashboard, stack.enter_context(cluster.client()))
