"""The pages of runs, and submitting, with a real master in this process: what it says is what they show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from titan_core.config import MasterConfig
from titan_core.master.app import Master
from titan_sdk import TitanClient, TitanJob
from titan_test_suite.pytests.support.dashboards import Browser, FakeClient, FakeDashboard

GRAPH = """name: sales
jobs:
  - id: extract
    file: etl.py
  - id: load
    file: etl.py
    depends_on: {parent}
"""


@pytest.fixture(params=[False, True], ids=["stored", "in memory"])
def in_memory(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def client(tmp_path: Path, in_memory: bool) -> Iterator[TitanClient]:
    master = Master(MasterConfig(home=tmp_path / "home", port=0, in_memory=in_memory))
    master.start()
    with TitanClient("127.0.0.1", master.port, home=tmp_path / "home") as connected:
        script = tmp_path / "etl.py"
        script.write_text("print('one')\n")
        connected.upload_file(script)
        yield connected
    master.stop()
    assert master.join()


@pytest.fixture
def dashboard(client: TitanClient) -> FakeDashboard:
    return FakeDashboard(cast(FakeClient, client))


@pytest.fixture
def browser(dashboard: FakeDashboard) -> Browser:
    return dashboard.logged_in()


def submit(client: TitanClient, tmp_path: Path, name: str = "sales") -> str:
    script = tmp_path / "etl.py"
    return client.submit_dag(name, [TitanJob("extract", script), TitanJob("load", script, parents="extract")]).run_id


def asked(browser: Browser, run_id: str, since: int) -> dict[str, Any]:
    return cast(dict[str, Any], browser.get(f"/api/runs/{run_id}?since={since}").get_json())


def test_a_run_is_listed_shown_and_found_by_its_filters(
    client: TitanClient, browser: Browser, tmp_path: Path
) -> None:
    run_id, other = submit(client, tmp_path), submit(client, tmp_path, "other")
    page = browser.text("/runs")
    assert page.index(other) < page.index(run_id), "newest first"
    assert other not in browser.text("/runs?name=sal") and run_id in browser.text("/runs?name=sal&state=RUNNING")
    assert run_id not in browser.text("/runs?state=FAILED")
    page = browser.text(f"/runs/{run_id}?job=load")
    assert 'data-job="load" data-state="BLOCKED" data-parents="extract"' in page
    assert "What it waits for" in page and "None has begun." in page
    assert browser.get("/runs/nope").status_code == 404


def test_since_tells_only_what_changed(
    client: TitanClient, browser: Browser, tmp_path: Path, in_memory: bool
) -> None:
    run_id = submit(client, tmp_path)
    first = asked(browser, run_id, 0)
    assert [job["job_id"] for job in first["run"]["jobs"]] == ["extract", "load"]
    client.cancel(f"{run_id}/load")
    then = asked(browser, run_id, first["version"])
    assert [job["job_id"] for job in then["run"]["jobs"]] == ["load"]
    assert then["version"] > first["version"] and then["run"]["counts"]["CANCELLED"] == 1
    assert then["has_events"] is not in_memory


def test_cancelling_and_retrying(client: TitanClient, browser: Browser, tmp_path: Path) -> None:
    run_id = submit(client, tmp_path)
    assert "2 of its jobs are not over" in browser.text(f"/runs/{run_id}/cancel")
    assert browser.post(f"/runs/{run_id}/jobs/load/cancel").headers["Location"] == f"/runs/{run_id}?job=load"
    assert client.job(f"{run_id}/load").state == "CANCELLED"
    assert browser.post(f"/runs/{run_id}/jobs/load/retry").status_code == 303
    assert client.job(f"{run_id}/load").state == "BLOCKED"
    assert browser.post(f"/runs/{run_id}/cancel").status_code == 303 and client.run(run_id).state == "CANCELLED"
    browser.post(f"/runs/{run_id}/cancel")
    assert 'class="notice bad"' in browser.text(f"/runs/{run_id}"), "that it is over already is said"


def test_a_pipeline_is_previewed_and_submitted(client: TitanClient, browser: Browser) -> None:
    text = GRAPH.format(parent="extract")
    assert browser.post("/submit", {"text": text, "do": "preview"}).status_code == 200 and not client.runs()
    answer = browser.post("/submit", {"text": text, "do": "submit"})
    assert answer.status_code == 303 and answer.headers["Location"] == f"/runs/{client.runs()[0].run_id}"
    assert "submitted as sales-" in browser.text(answer.headers["Location"])


def test_nothing_is_submitted_of_a_pipeline_with_errors(client: TitanClient, browser: Browser) -> None:
    for text in (GRAPH.format(parent="nobody"), GRAPH.format(parent="extract").replace("etl.py", "/etc/passwd")):
        answer = browser.post("/submit", {"text": text, "do": "submit"})
        page = answer.get_data(as_text=True)
        assert answer.status_code == 400 and re.search(r"data-line=\"[47]\">Line", page) and "root:" not in page
    assert not client.runs()


def test_a_refusal_of_the_master_has_its_line(client: TitanClient, browser: Browser) -> None:
    """Whether there is such a run is only known there."""
    answer = browser.post("/submit", {"text": GRAPH.format(parent="gone-1/load"), "do": "submit"})
    assert answer.status_code == 400 and "Line 5" in answer.get_data(as_text=True)


def test_a_schedule_is_made_and_changed_only_if_that_is_wanted(client: TitanClient, browser: Browser) -> None:
    text = "schedule: '0 2 * * *'\n" + GRAPH.format(parent="extract")
    assert 'name="update"' in browser.post("/submit", {"text": text}).get_data(as_text=True)
    assert browser.post("/submit", {"text": text, "do": "submit"}).status_code == 303
    assert [one.name for one in client.schedules()] == ["sales"] and not client.runs()
    other = text.replace("0 2", "0 3")
    assert browser.post("/submit", {"text": other, "do": "submit"}).status_code in (400, 409)
    assert client.get_schedule("sales").timing.cron == "0 2 * * *"
    assert browser.post("/submit", {"text": other, "do": "submit", "update": "on"}).status_code == 303
    assert client.get_schedule("sales").timing.cron == "0 3 * * *"
    fire = client.trigger_schedule("sales")
    page = browser.text("/runs?schedule=sales")
    assert fire.run_id in page and page.count("<tr data-key") == 1


def test_history_is_there_without_workers(client: TitanClient, browser: Browser, tmp_path: Path) -> None:
    submit(client, tmp_path)
    page = browser.text("/history?span=86400&until=1")
    assert "Nothing ran in this time" in page and "No older run is kept" in page
