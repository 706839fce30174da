"""Runs, history and charts: what the pages say, nasty names, filters, changes, actions, pictures. No master."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from dashboard import job_card
from dashboard.cluster import Snapshot
from dashboard.drawings import lane, stacked, ticks
from dashboard.executions import Execution, Executions, of_events, of_jobs
from dashboard.job_card import card, exit_words
from dashboard.samples import RESOLUTIONS, Samples
from titan_core.protocol.messages import (
    AttemptStatus,
    ClusterStatus,
    Explanation,
    JobList,
    JobStatus,
    LogChunk,
    RunStatus,
    ScheduleStatus,
    StateCount,
    Timing,
    WorkerHistory,
    WorkerStatus,
)
from titan_sdk.errors import Conflict, NotFound
from titan_test_suite.pytests.support.dashboard_runs import client, event, job, run, tags
from titan_test_suite.pytests.support.dashboards import EVIL, WORKER, FakeClient, FakeDashboard


def evil_client() -> FakeClient:
    bad = JobStatus(
        EVIL, EVIL, "DEAD", EVIL, EVIL, EVIL, parents=(EVIL,), worker=EVIL, exit_code=139, started_wall=1.0,
        attempts=(AttemptStatus(1, EVIL, EVIL, 139, EVIL, 1.0, 2.0),), final=True,
    )  # fmt: skip
    status = RunStatus(
        EVIL, EVIL, EVIL, 1, (StateCount(EVIL, 1), StateCount("DEAD", 1)), 1.0, jobs=(bad,), schedule=EVIL
    )
    worker = WorkerStatus(EVIL, "ONLINE", history=(WorkerHistory(f"{EVIL}/{EVIL}", "RUNNING", 5.0),))
    return client(
        runs=(status,), run=status, job=bad, explain=Explanation(EVIL, EVIL, EVIL, (EVIL,)),
        log_chunks=(LogChunk(EVIL, EVIL, 1, 0, EVIL.encode() + b"\x1b[31m\n"),),
        events=(event(1, time.time() - 5, "QUEUED", "RUNNING", job_id=EVIL, attempt=1, worker=EVIL),),
        schedules=(ScheduleStatus(EVIL, "ACTIVE", Timing("@daily")),), cluster=ClusterStatus((worker,)),
    )  # fmt: skip


# ── pages ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path",
    [
        "/runs",
        f"/runs?name={EVIL}&schedule={EVIL}",
        f"/runs/{EVIL}?job={EVIL}",
        "/history",
        f"/history?worker={EVIL}",
    ],
)
def test_nasty_names_are_text(path: str) -> None:
    dashboard = FakeDashboard(evil_client())
    answer = dashboard.logged_in().get(path)
    page = answer.get_data(as_text=True)
    assert answer.status_code == 200 and "&lt;img" in page
    found = tags(page)
    assert "\x1b" not in page and not any(name == "img" for name, _ in found)
    assert not [key for _, attributes in found for key in attributes if key == "style" or key.startswith("on")]
    assert all(attributes.get("src", "").startswith("/static/") for name, attributes in found if name == "script")


@pytest.mark.parametrize("path", ["/runs", "/runs/sales-1?job=load", "/history", "/submit", "/charts"])
def test_pages_keep_to_the_policy_and_are_there_without_scripts(path: str) -> None:
    page = FakeDashboard(client()).logged_in().text(path)
    assert not re.search(r" style=|<style| on\w+=|<script(?! src=)|javascript:|https?://(?!www.w3)", page)
    assert "<h1" in page and "data-error" not in page


def test_filters_are_kept_and_lead_on() -> None:
    many = tuple(RunStatus(f"sales-{number}", "sales", "RUNNING", 1) for number in range(3))
    dashboard = FakeDashboard(client(runs=many))
    page = dashboard.browser.text("/runs?name=sal&state=RUNNING&limit=2")
    assert 'value="sal"' in page and "<option selected>RUNNING</option>" in page
    assert 'href="/runs?name=sal&amp;state=RUNNING&amp;limit=4"' in page
    assert page.count("<tr data-key") == 2 and dashboard.client.called("runs")[-1] == (3, "RUNNING", "sal")
    assert dashboard.browser.get("/runs?state=NOPE").status_code == 400
    assert dashboard.browser.get("/runs?limit=0").status_code == 400


def test_runs_of_a_schedule() -> None:
    runs = (RunStatus("a-1", "a", "RUNNING", 1, schedule="a"), RunStatus("a-2", "a", "RUNNING", 1))
    dashboard = FakeDashboard(client(runs=runs, schedules=(ScheduleStatus("a", "ACTIVE", Timing("@daily")),)))
    page = dashboard.browser.text("/runs?schedule=a")
    assert 'data-key="a-1"' in page and 'data-key="a-2"' not in page


def test_a_run_has_a_table_for_those_without_scripts_and_a_panel_with_its_own_address() -> None:
    browser = FakeDashboard(client()).browser
    page = browser.text("/runs/sales-1?job=load")
    assert 'data-job="load" data-state="RUNNING" data-parents="extract"' in page
    assert "attempt 1 runs on box:8081" in page and "one\ntwo" in page and 'id="panel-title"' in page
    assert 'id="panel-title"' not in browser.text("/runs/sales-1")
    moved = browser.get("/runs/sales-1/jobs/load")
    assert (moved.status_code, moved.headers["Location"]) == (303, "/runs/sales-1?job=load")


def test_a_run_that_failed_shows_the_job_that_died_first() -> None:
    dead = [JobStatus("sales-1", name, "DEAD", finished_wall=wall) for name, wall in (("later", 9.0), ("a b", 5.0))]
    browser = FakeDashboard(client(run=run(*dead))).browser
    moved = browser.get("/runs/sales-1")
    assert (moved.status_code, moved.headers["Location"]) == (303, "/runs/sales-1?job=a+b")
    assert browser.get("/runs/sales-1?job=").status_code == 200  # it was closed
    assert browser.get("/runs/sales-1", X_Fragment="1").status_code == 200  # nor does an open page move


def test_a_job_that_is_not_there_is_said_in_the_panel() -> None:
    page = FakeDashboard(client(job=NotFound("there is no job sales-1/nope"))).browser.text("/runs/sales-1?job=nope")
    assert "there is no job sales-1/nope" in page and 'data-job="load"' in page


def test_what_live_js_asks_for_has_no_jobs_and_costs_the_master_nothing() -> None:
    dashboard = FakeDashboard(client())
    page = dashboard.browser.text("/runs/sales-1", X_Fragment="1")
    assert 'id="facts"' in page and 'data-job="load"' not in page and not dashboard.client.called("run")


def test_a_short_name_of_a_run_leads_to_its_whole_one() -> None:
    answer = FakeDashboard(client()).browser.get("/runs/last")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/runs/sales-1")


def test_a_huge_run_is_listed_by_state_and_says_why() -> None:
    jobs = [job(f"j{number}", "DEAD" if number < 3 else "QUEUED") for number in range(1600)]
    dashboard = FakeDashboard(client(run=run(*jobs)))
    page = dashboard.browser.text("/runs/sales-1?job=")
    assert "This run has 1600 jobs. A picture of more than 1500 can not be read" in page and "run.js" not in page
    assert page.count("<tr data-job") == 3 + 200 and page.index("DEAD</span>") < page.index("QUEUED</span>")
    assert dashboard.browser.text("/runs/sales-1?state=QUEUED").count("<tr data-job") == 1597


# ── since= ────────────────────────────────────────────────────────────────────────────────────────


def changes(answering: FakeClient, since: int) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(FakeDashboard(answering).browser.text(f"/api/runs/sales-1?since={since}"))
    return answer


def test_all_of_a_run_and_then_what_is_new() -> None:
    everything = changes(client(), 0)
    assert [one["job_id"] for one in everything["run"]["jobs"]] == ["extract", "load"]
    assert everything["version"] == 1 and everything["events"][0]["after"] == "RUNNING"
    assert changes(client(events=(event(7, 103.0, "RUNNING", "COMPLETED"),)), 6)["version"] == 7
    nothing = changes(client(events=()), 7)
    assert (nothing["run"]["jobs"], nothing["events"], nothing["version"]) == ([], [], 7)


def test_where_no_events_are_kept_the_version_is_that_of_the_run() -> None:
    told = changes(client(events=Conflict("this master keeps nothing")), 4)
    assert told["has_events"] is False and told["version"] == 5


def test_since_must_be_a_version() -> None:
    answer = FakeDashboard(client()).browser.get("/api/runs/sales-1?since=-1")
    assert answer.status_code == 400 and "since" in answer.get_json()["error"]


# ── actions ───────────────────────────────────────────────────────────────────────────────────────

ACTIONS = [
    ("/runs/sales-1/cancel", "cancel", "sales-1"),
    ("/runs/sales-1/retry", "retry", "sales-1"),
    ("/runs/sales-1/jobs/load/cancel", "cancel", "sales-1/load"),
    ("/runs/sales-1/jobs/load/retry", "retry", "sales-1/load"),
]


@pytest.mark.parametrize(("path", "method", "key"), ACTIONS)
def test_actions_need_a_login_and_the_token_of_the_session(path: str, method: str, key: str) -> None:
    dashboard = FakeDashboard(client())
    assert dashboard.browser.post(path).status_code == 401
    browser = dashboard.logged_in()
    assert browser.post(path, {"csrf": "wrong"}).status_code == 403
    assert not dashboard.client.called(method)
    assert '<form method="post" class="confirm">' in browser.text(path)
    assert browser.post(path).status_code == 303 and dashboard.client.called(method) == [(key,)]


def test_a_refusal_is_told_where_it_was_asked_for_whatever_the_name() -> None:
    browser = FakeDashboard(client(cancel=Conflict("it is over"))).logged_in()
    answer = browser.post("/runs/sales-1/jobs/a%3F%20b/cancel")
    assert answer.headers["Location"] == "/runs/sales-1/jobs/a%3F%20b/cancel"
    assert "it is over" in browser.text("/runs/sales-1/jobs/a%3F%20b/cancel")


@pytest.mark.parametrize("path", [path for path, _, _ in ACTIONS] + ["/submit"])
def test_read_only_refuses_them(path: str) -> None:
    assert FakeDashboard(client(), read_only=True).logged_in().post(path).status_code == 403


# ── the card of a job ─────────────────────────────────────────────────────────────────────────────


def test_exit_codes_have_names() -> None:
    codes = {-1: "", 0: "0", 3: "3", 137: "137 (SIGKILL)", 139: "139 (SIGSEGV)", 255: "255"}
    assert {code: exit_words(code) for code in codes} == codes


def test_what_can_not_be_had_does_not_hide_the_rest() -> None:
    refused = NotFound("it has no log")
    found = card(client(log_chunks=refused, explain=refused), "sales-1/load")  # type: ignore[arg-type]
    assert (found.log, found.log_trouble, found.reasons) == ((), "it has no log", ("it has no log",))


def test_the_end_of_a_log_is_short() -> None:
    lines = b"".join(b"line %d\n" % number for number in range(5000))
    found = card(client(log_chunks=(LogChunk("r", "j", 1, 0, lines),)), "sales-1/load")  # type: ignore[arg-type]
    assert len(found.log) == 25 and found.log[-1] == "line 4999"


# ── executions, and pictures ──────────────────────────────────────────────────────────────────────


def test_attempts_are_read_out_of_events() -> None:
    found = of_events("r", [
        event(1, 1.0, "QUEUED", "RUNNING", attempt=1, worker="a:1"),
        event(2, 2.0, "RUNNING", "FAILED", attempt=1),
        event(3, 3.0, "FAILED", "QUEUED", attempt=1),
        event(4, 4.0, "QUEUED", "RUNNING", attempt=2, worker="b:1"),
        event(5, 5.0, "RUNNING", "QUEUED", attempt=2),
        event(6, 6.0, "QUEUED", "RUNNING", attempt=3, worker="b:1"),
    ])  # fmt: skip
    assert [(one.attempt, one.worker, one.started_wall, one.finished_wall, one.state) for one in found] == [
        (1, "a:1", 1.0, 2.0, "FAILED"), (2, "b:1", 4.0, 5.0, "LOST"), (3, "b:1", 6.0, 0.0, "RUNNING"),
    ]  # fmt: skip


def test_events_are_read_once() -> None:
    answering, known = client(), Executions()
    [first] = known.of_run(answering, run(job(), version=1))  # type: ignore[arg-type]
    assert [first] == known.of_run(answering, run(job(), version=1))  # type: ignore[arg-type]
    assert answering.called("events") == [("sales-1", 0)]
    answering.answers["events"] = (event(1, 101.0, "QUEUED", "RUNNING"), event(2, 103.0, "RUNNING", "COMPLETED"))
    [over] = known.of_run(answering, run(job(), version=2))  # type: ignore[arg-type]
    assert answering.called("events")[1:] == [("sales-1", 1)]
    assert (over.attempt, over.finished_wall, over.state) == (1, 103.0, "SUCCEEDED")


def test_without_events_the_latest_attempts_are_known() -> None:
    assert [(one.key, one.state) for one in of_jobs([job(), job("x", "DEAD")])] == [
        ("sales-1/load", "RUNNING"), ("sales-1/x", "FAILED"),
    ]  # fmt: skip


def test_what_overlaps_is_put_below_each_other() -> None:
    spans = [(0.0, 50.0), (10.0, 20.0), (20.0, 30.0), (60.0, 0.0)]
    placed = lane("w", [Execution("r", "j", 1, "w", *span) for span in spans], 0.0, 100.0)
    assert [(one.row, one.left, one.width) for one in placed.placed] == [
        (0, 0.0, 50.0), (1, 10.0, 10.0), (1, 20.0, 10.0), (0, 60.0, 40.0),
    ]  # fmt: skip
    assert placed.rows == 2


def test_ticks_are_round() -> None:
    found = ticks(1000.0, 1900.0, 6)
    assert [(wall, round(place)) for wall, place in found] == [(1200.0, 22), (1500.0, 56), (1800.0, 89)]


def test_a_bar_of_states_has_a_part_for_each() -> None:
    drawn = stacked((StateCount("DEAD", 1), StateCount("COMPLETED", 3), StateCount("QUEUED", 0)))
    assert re.findall(r'width="([\d.]+)" height="10" class="(fill-\w+)"', drawn) == [
        ("90.0", "fill-good"),
        ("30.0", "fill-bad"),
    ]
    assert stacked(()).count("<rect") == 0


def test_history_leads_to_jobs_and_keeps_its_time() -> None:
    now = time.time()
    found = (
        event(1, now - 30, "QUEUED", "RUNNING", attempt=1, worker="gone:1"),
        event(2, now - 20, "RUNNING", "FAILED"),
    )
    browser = FakeDashboard(client(events=found)).browser
    page = browser.text("/history?span=300")
    assert 'href="/runs/sales-1?job=load"' in page and 'aria-label="sales-1/load, attempt 1, FAILED' in page
    assert ">gone:1</" in page and WORKER.worker_id in page
    assert "attempt 1" not in browser.text(f"/history?span=300&until={int(now) - 3000}")
    assert browser.get("/history?span=x").status_code == 400


def test_history_goes_back_by_time_and_by_worker() -> None:
    dashboard = FakeDashboard(client(runs=(run(),)))
    page = dashboard.browser.text("/history?span=20&until=90&worker=box:8081")
    assert (101, 70.0, 90.0) in dashboard.client.called("runs")  # the master finds what went on then
    assert 'href="/history?span=20&amp;until=80&amp;worker=box%3A8081">← Earlier' in page
    assert 'href="/history?span=20&amp;until=100&amp;worker=box%3A8081">Later →' in page
    assert "Nothing ran in this time on box:8081" in page and 'href="/runs/sales-1"' in page
    moved = dashboard.browser.get("/history?day=2026-03-01")
    midnight = int(time.mktime((2026, 3, 2, 0, 0, 0, 0, 0, -1)))
    assert moved.headers["Location"] == f"/history?span=86400&until={midnight}"
    assert dashboard.browser.get("/history?day=tomorrow").status_code == 400


# ── samples ───────────────────────────────────────────────────────────────────────────────────────


def seen(wall: float, used: int = 1, finished: int = 0, **fields: Any) -> Snapshot:
    worker = WorkerStatus("w:1", "ONLINE", slots=4, used=used)
    cluster = ClusterStatus((worker,), finished=finished)
    return Snapshot(as_of=wall, cluster=cluster, waiting=JobList((), 7), **fields)


def test_samples_are_bounded_and_every_step() -> None:
    samples = Samples()
    for second in range(2 * 3600):
        samples.add(seen(1000.0 + second, finished=second))
    fine, found = samples.last(3600, 1000.0 + 7199)
    assert fine is RESOLUTIONS[0] and 340 <= len(found) <= 360
    newest = found[-1]
    assert newest is not None and newest[1:] == (1, 4, 7, 60.0)
    coarse, found = samples.last(7200, 1000.0 + 7199)
    assert coarse is RESOLUTIONS[1] and 115 <= len(found) <= 122


def test_nothing_is_known_while_the_master_is_away() -> None:
    samples = Samples()
    for second in (0, 10, 20):
        samples.add(seen(1000.0 + second, finished=10))
    samples.add(seen(1030.0, trouble="no route"))
    for second in (100, 110, 120):
        samples.add(seen(1000.0 + second, finished=4))
    _, found = samples.last(3600, 1120.0)
    assert [one and (one.wall, one.finished_per_minute) for one in found] == [
        (1010.0, 0.0), (1020.0, 0.0), None, (1110.0, 0.0), (1120.0, 0.0),
    ]  # fmt: skip


def test_samples_as_json_and_as_a_page() -> None:
    dashboard = FakeDashboard(client())
    now = time.time()
    for second in range(60):
        dashboard.parts.samples.add(seen(now - 60 + second, finished=second))
    told = json.loads(dashboard.browser.text("/api/samples?span=900"))
    assert (
        told["columns"] == ["wall", "used", "slots", "queued", "finished_per_minute"] and len(told["samples"][0]) == 5
    )
    assert dashboard.browser.get("/api/samples?span=1").status_code == 400
    assert "Jobs finished per minute" in dashboard.browser.text("/charts")


def test_the_end_of_a_log_is_shown_without_colours() -> None:
    assert job_card._line("\x1b[1;31merror\x1b[0m\tno <b>\x1b[2K") == "error   no <b>\\x1b[2K"
