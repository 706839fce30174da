"""The dashboard's schedules and services, of a real master in this process; and `titan dashboard` as a program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from titan_core.config import MasterConfig
from titan_core.master.app import Master
from titan_sdk import TitanClient, TitanJob
from titan_test_suite.pytests.support.dashboards import Browser, FakeDashboard

PAGE = "/schedules/nightly"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def master(home: Path) -> Iterator[Master]:
    running = Master(MasterConfig(home=home, port=0))
    running.start()
    yield running
    running.stop()
    assert running.join()


@pytest.fixture
def client(master: Master, home: Path) -> Iterator[TitanClient]:
    with TitanClient("127.0.0.1", master.port, home=home) as connected:
        yield connected


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "etl.py"
    path.write_text("print('one')\n")
    return path


def browser_of(client: TitanClient) -> Browser:
    return FakeDashboard(client).logged_in()  # type: ignore[arg-type]


def test_a_schedule_from_its_first_fire_to_its_removal(client: TitanClient, script: Path) -> None:
    client.schedule("nightly", TitanJob("etl", script), cron="0 2 * * *", timezone="Europe/Berlin", overlap="queue")
    browser = browser_of(client)
    assert "nightly" in browser.text("/schedules") and "It has not been due yet" in browser.text(PAGE)
    browser.post(f"{PAGE}/trigger")
    (fire,) = client.schedule_history("nightly")
    page = browser.text(PAGE)
    assert f"nightly has started the run {fire.run_id}" in page and "by hand" in page and "RUNNING" in page
    browser.post(f"{PAGE}/trigger")
    assert "fires once the runs before it are over" in browser.text(PAGE)
    assert fire.run_id not in browser.text(f"{PAGE}?outcome=QUEUED").partition("<table>")[2].partition("<table>")[0]
    browser.post(f"{PAGE}/pause", {"reason": "<b>moving</b>"})
    page = browser.text(PAGE)
    assert "&lt;b&gt;moving&lt;/b&gt;" in page and "unless it is resumed" in page
    browser.post(f"{PAGE}/resume")
    assert client.get_schedule("nightly").state == "ACTIVE"
    browser.post(f"{PAGE}/remove")
    assert client.schedules() == () and "was removed" in browser.text(PAGE) and fire.run_id in browser.text(PAGE)


def test_a_backfill_in_the_zone_of_the_schedule_and_its_end(client: TitanClient, script: Path) -> None:
    client.schedule("nightly", TitanJob("etl", script), cron="0 2 * * *", timezone="Europe/Berlin")
    browser = browser_of(client)
    assert "From (Europe/Berlin)" in browser.text(f"{PAGE}/backfill")
    browser.post(f"{PAGE}/backfill", {"from": "2026-11-01T02:00", "to": "2026-11-03T02:00"})
    page = browser.text(PAGE)
    assert "3 fires of nightly" in page and "2026-11-02 02:00 CET (01:00 UTC)" in page and "made up for" in page
    browser.post(f"{PAGE}/backfill/cancel")
    assert client.get_schedule("nightly").queued == 0
    browser.post(f"{PAGE}/backfill", {"from": "yesterday", "to": "2026-11-03T02:00"})
    assert 'class="notice bad"' in browser.text(PAGE)
    assert browser.get("/schedules/nothing").status_code == 404


def test_a_ledger_of_several_pages(client: TitanClient, script: Path) -> None:
    client.schedule("nightly", TitanJob("etl", script), cron="0 * * * *")
    client.backfill_schedule("nightly", "2026-11-01", "2026-11-04")
    found, path, browser = [], PAGE, browser_of(client)
    while path:
        page = browser.text(path)
        found += [
            row.partition("<")[0] for row in page.split('data-key="')[1:] if " schedule" in row.partition('"')[0]
        ]
        path = page.partition('" rel="next">')[0].rpartition('href="')[2] if 'rel="next"' in page else ""
        path = path.replace("&amp;", "&")
    assert len(found) == 73


def test_a_service_is_scaled_stopped_found_and_started(client: TitanClient, script: Path) -> None:
    handle = client.submit_job(TitanJob("web", script, type="service"))
    dashboard = FakeDashboard(client)  # type: ignore[arg-type]
    page, browser = f"/services/{handle.run_id}/web", dashboard.logged_in()

    def done(word: str, **form: str) -> str:
        assert browser.post(f"{page}/{word}", form).status_code == 303
        dashboard.cluster.refresh()
        return browser.text(page)

    assert page in browser.text("/services") and "0 of 1" in browser.text(page)
    scaled = done("scale", instances="3")
    assert "scaled to 3" in scaled and "3 instances" in scaled
    stopped = done("stop")
    assert "STOPPED" in stopped and f"{page}/start" in stopped
    assert page not in browser.text("/services") and page in browser.text("/services?state=STOPPED")
    assert "STOPPED" not in done("start").partition("<main")[2] and page in browser.text("/services")


# ── titan dashboard ───────────────────────────────────────────────────────────────────────────────


def test_the_command(master: Master, home: Path) -> None:
    command = [sys.executable, "-m", "titan_sdk.titan_cli", "--home", str(home), "dashboard", "--port"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TITAN_")}
    refused = subprocess.run([*command, "70000"], env=environment, capture_output=True, text=True, timeout=30)
    assert refused.returncode == 2
    assert refused.stderr == "titan dashboard: port is 70000; use a number from 0 to 65535\n"
    program = subprocess.Popen([*command, "0"], env=environment, stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    with program.stdout as said:
        line = said.readline()
    assert line.rstrip().endswith(f"shows the master at 127.0.0.1:{master.port}")
    with urllib.request.urlopen(f"{line.split()[2]}/readyz", timeout=10) as answer:
        assert answer.read() == b"ready\n"
    program.send_signal(signal.SIGINT)
    assert program.wait(20) == 0
