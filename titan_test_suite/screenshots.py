"""`make screenshots`: pictures of all pages of the dashboard, of a cluster that is made for it, into docs/images.

    python -m titan_test_suite.screenshots [--out DIR] [--only NAMES]

A master, four workers and a dashboard start on free ports in a temporary home, and get something of everything to do:
a pipeline that goes on, jobs that fail, a worker that is killed, services, schedules with a past. Needs
chromium and playwright. How it ends is a matter of the `stage`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from titan_sdk import TitanClient, TitanJob
from titan_test_suite.pytests.support.browser import NARROW, WIDE, Window, missing, opened, window
from titan_test_suite.pytests.support.browser_scene import DashboardProgram
from titan_test_suite.pytests.support.cluster import Cluster
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.stage import Stage, performed

if TYPE_CHECKING:
    from playwright.sync_api import Browser

OUT = Path(__file__).parent.parent / "docs" / "images"
MOST_BYTES = 200_000
PAST_S = 45.0
"""So long jobs come and go before the first picture, for charts and histories to have something to show."""

WORK = r"""#!/bin/sh
# work.sh SECONDS [EXIT]: tells what it does every half second
tell() { printf '%s \033[%sm%-5s\033[0m  %s\n' "$(date -u +%T)" "$1" "$2" "$3"; }
tell 36 info "begins, for $1 s"
step=0
while [ $step -lt $(($1 * 2)) ]; do
    step=$((step + 1)); sleep 0.5
    tell 36 info "part $step of $(($1 * 2)): $((step * 1273)) rows"
    [ $((step % 5)) -eq 0 ] && tell 33 warn "$step rows without a customer are left out"
done
[ "${2:-0}" -eq 0 ] || tell '1;31' error 'the connection to the warehouse was refused' >&2
exit "${2:-0}"
"""
SERVE = """#!/bin/sh
exec python3 -m http.server "$PORT" --bind 127.0.0.1
"""
CRASH = """#!/bin/sh
echo 'the index is locked by another process'; exit 1
"""
PIPELINE = """\
name: forecast
jobs:
  - {id: orders, file: work.sh, args: 3}
  - {id: weather, file: work.sh, args: 2}
  - {id: clean, file: work.sh, args: 2, depends_on: [orders, weather]}
  - {id: train, file: work.sh, args: 5, requirement: GPU, depends_on: [clean]}
  - {id: check, file: work.sh, args: 2, depends_on: [train]}
  - {id: report, file: work.sh, args: 1, depends_on: [train, check]}
"""


@dataclass(frozen=True)
class Shot:
    """A picture: of which page, how, and what is done on it first."""

    name: str
    path: str
    dark: bool = False
    narrow: bool = False
    prepare: Callable[[Window], None] = lambda window: None


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    if missing():
        print(f"no pictures can be taken: {missing()}", file=sys.stderr)
        return 1
    return performed(lambda stage, home: perform(stage, home, options.out, options.only))


def perform(stage: Stage, home: Path, out: Path, only: Sequence[str]) -> None:
    stage.title("a cluster, and something to see")
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster(home))
        dashboard = stack.enter_context(DashboardProgram(cluster))
        demo = Demo(cluster, stack.enter_context(cluster.client()))
        demo.begin()
        with opened() as browser:
            demo.go_on(PAST_S)
            stage.title(f"pictures into {out}")
            out.mkdir(parents=True, exist_ok=True)
            for shot in demo.shots():
                if not only or shot.name in only:
                    _take(stage, browser, dashboard.url, demo.token, shot, out)


class Demo:
    """What is going on in the cluster that is shown."""

    def __init__(self, cluster: Cluster, client: TitanClient) -> None:
        self.cluster, self.client = cluster, client
        self.token = (cluster.home / ".titan" / "token").read_text().strip()
        self.run_id = self.training = self.failed = self.service = ""

    def begin(self) -> None:
        """What comes first: workers, files, services, schedules."""
        for capability, slots in (("GENERAL", 4), ("GENERAL", 4), ("GPU", 2), ("ARCHIVE", 1)):
            self.cluster.start_worker(capability, slots=slots)
        self.cluster.start_worker("ARCHIVE", slots=1).kill()  # it is taken for dead before the first picture
        self._upload()
        self._serve()
        self._schedule()
        workers = [worker for worker in self.client.workers() if worker.state == "ONLINE"]
        archive = next(worker for worker in workers if "ARCHIVE" in worker.capabilities)
        self.client.drain_worker(archive.worker_id)

    def go_on(self, seconds: float) -> None:
        """Runs come and go; at last there are one that goes on and one that has failed."""
        until_at = time.monotonic() + seconds
        number = 0
        while time.monotonic() < until_at:
            number += 1
            jobs = [self._job(f"part-{part}", 1 + (number + part) % 4) for part in range(1 + number % 5)]
            self.client.submit_dag("ingest", [*jobs, self._job("merge", 1, *(job.job_id for job in jobs))])
            time.sleep(3.0)
        self.failed = str(self.client.submit_dag("invoices", self._invoices()))
        self.run_id = str(self.client.submit_dag("forecast", self._forecast()))
        self.training = wait_until(self._training, 60, "no job trains")
        wait_until(lambda: self.client.run(self.failed).final, 30, "the run that is to fail goes on")

    def shots(self) -> list[Shot]:
        run, worker = f"/runs/{self.run_id}", f"/workers/{self.client.workers()[0].worker_id}"
        log = f"{run}/jobs/{self.training}/log"
        return [
            Shot("run", run),
            Shot("run-dark", run, dark=True),
            Shot("run-job", f"/runs/{self.failed}"),
            Shot("run-narrow", run, narrow=True),
            Shot("log", log),
            Shot("log-search", log, dark=True, prepare=_search),
            Shot("home", "/"),
            Shot("home-dark", "/", dark=True),
            Shot("home-narrow", "/", narrow=True),
            Shot("runs", "/runs"),
            Shot("jobs", "/jobs?state=DEAD"),
            Shot("history", "/history?span=120"),
            Shot("charts", "/charts?span=60"),
            Shot("services", "/services"),
            Shot("service", f"/services/{self.service}"),
            Shot("schedules", "/schedules"),
            Shot("schedule", "/schedules/sync-customers"),
            Shot("workers", "/workers"),
            Shot("worker", worker),
            Shot("worker-drain", f"{worker}/drain"),
            Shot("assets", "/assets"),
            Shot("submit", "/submit", prepare=_preview),
            Shot("login", "/login"),
        ]

    def _script(self, name: str, text: str) -> str:
        path = self.cluster.home / name
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    def _job(self, job_id: str, seconds: int, *parents: str, ends: int = 0, **fields: object) -> TitanJob:
        script = self._script("work.sh", WORK)
        return TitanJob(job_id, script, args=(str(seconds), str(ends)), parents=parents, **fields)

    def _forecast(self) -> list[TitanJob]:
        shops = ("north", "south", "east", "west")
        jobs = [self._job(f"orders-{shop}", 2 + len(shop) % 3) for shop in shops]
        jobs.append(self._job("weather", 2))
        jobs += [self._job(f"clean-{shop}", 2, f"orders-{shop}", "weather") for shop in shops]
        jobs += [self._job(f"train-{shop}", 90, f"clean-{shop}", requirement="GPU") for shop in shops]
        jobs += [self._job("holidays", 120, "weather"), self._job("compare", 5, *(f"train-{shop}" for shop in shops))]
        return [*jobs, self._job("report", 2, "compare", "holidays"), self._job("publish", 1, "report")]

    def _invoices(self) -> list[TitanJob]:
        post = self._job("post", 1, "number", ends=3, retries=2, retry_backoff=0.5)
        return [self._job("collect", 1), self._job("number", 1, "collect"), post, self._job("archive", 1, "post")]

    def _training(self) -> str:
        """The first of those that run, once there are two; "": there are not."""
        jobs = self.client.run(self.run_id).jobs
        running = [job.job_id for job in jobs if job.job_id.startswith("train") and job.state == "RUNNING"]
        return running[0] if len(running) > 1 else ""

    def _upload(self) -> None:
        for name, size in (
            ("work.sh", 0),
            ("models/north.bin", 700_000),
            ("models/south.bin", 90_000),
            ("shops.csv", 900),
        ):
            source = self.cluster.home / Path(name).name
            source.write_bytes(b"x" * size if size else WORK.encode())
            self.client.upload_file(source, name)

    def _serve(self) -> None:
        site = self.client.submit_job(
            filename=self._script("api.sh", SERVE), job_id="api", type="service", port="auto", instances=2
        )
        self.client.submit_job(
            filename=self._script("search.sh", CRASH), job_id="search", type="service", port="auto"
        )
        self.client.wait_service(site, 30)
        self.service = f"{site.run_id}/{site.job_id}"

    def _schedule(self) -> None:
        work, now = self._job("report", 1), datetime.now(UTC)
        self.client.schedule("nightly-report", work, cron="0 2 * * 1-5", timezone="Europe/Berlin")
        self.client.schedule("sync-customers", self._job("sync", 1), every="5s")
        self.client.schedule("month-end", work, cron="30 22 28-31 * *", timezone="America/New_York")
        self.client.schedule("check-stock", self._job("check", 1, ends=1), every="15s")
        self.client.schedule("clean-up", work, every="1h")
        self.client.pause_schedule("clean-up", "until the disk has been replaced")
        self.client.backfill_schedule("nightly-report", now - timedelta(days=9), now - timedelta(days=1))


# ── taking them ───────────────────────────────────────────────────────────────────────────────────


def _take(stage: Stage, browser: Browser, url: str, token: str, shot: Shot, out: Path) -> None:
    size = NARROW if shot.narrow else WIDE
    with window(browser, url, viewport=size, color_scheme="dark" if shot.dark else "light") as one:
        if shot.name != "login":
            one.log_in(token)
        one.go(shot.path)
        shot.prepare(one)
        one.page.wait_for_timeout(600)  # what comes after the first drawing: time lines, charts, the last lines
        file = out / f"{shot.name}.png"
        one.page.screenshot(path=file, animations="disabled")
        stage.claim(file.stat().st_size <= MOST_BYTES, f"{file.name}: {file.stat().st_size // 1000} kB")
        for trouble in one.troubles:
            stage.claim(False, f"{shot.name}: {trouble}")


def _search(one: Window) -> None:
    one.page.get_by_label("Filter").fill("warn")


def _preview(one: Window) -> None:
    one.page.get_by_label("Pipeline").fill(PIPELINE)
    one.page.get_by_role("button", name="Preview").click()
    one.page.locator("#graph-box g.node").first.wait_for()
    one.page.locator("#text").evaluate("(box) => { box.rows = 9; box.scrollIntoView(); }")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("make screenshots", description="Take pictures of the pages of the dashboard.")
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="where to put them (%(default)s)")
    parser.add_argument("--only", type=lambda text: text.split(","), default=(), metavar="NAMES", help="some of them")
    return parser


if __name__ == "__main__":
    sys.exit(main())
