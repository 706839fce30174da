"""What the pages, the JSON and the metrics say of a snapshot; names that look like HTML; a master that is away."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from dashboard import ledgers, metrics, streams
from dashboard.attention import concerns
from dashboard.cluster import ClusterWatch, Snapshot
from dashboard.ledgers import Ledgers
from dashboard.present import boxes, instant, state
from titan_core.protocol.messages import (
    ClusterStatus,
    FireStatus,
    JobList,
    JobStatus,
    LostWorker,
    PoolStatus,
    RunStatus,
    ScheduleStatus,
    ServiceStatus,
    StateCount,
    Timing,
    WorkerHistory,
    WorkerStatus,
)
from titan_sdk.errors import ConnectionFailed, InvalidRequest, NotFound
from titan_test_suite.pytests.support.dashboards import EVIL, WORKER, FakeClient, FakeDashboard

PAGES = ("/", "/workers", "/jobs", "/jobs?state=DEAD", "/login", "/nope", f"/workers/{EVIL}", f"/login?next={EVIL}")


def fire(outcome: str = "MISSED", slot: float = 0.0, **fields: str) -> FireStatus:
    return FireStatus("nightly", slot or time.time() - 60, "schedule", outcome, **fields)


def evil_client() -> FakeClient:
    """Everything that can have a name or a reason has a nasty one."""
    worker = WorkerStatus(
        EVIL, "DISCONNECTED", (EVIL,), 4, 1, (f"{EVIL}/s",), (f"{EVIL}/j",), trouble=EVIL, parent=EVIL, address=EVIL,
        history=(WorkerHistory(EVIL, EVIL),),
    )  # fmt: skip
    job = JobStatus(EVIL, EVIL, EVIL, EVIL, worker=EVIL, finished_wall=time.time())
    return FakeClient(
        cluster=ClusterStatus((worker,), (StateCount(EVIL, 1),), EVIL, (PoolStatus(EVIL, trouble=EVIL),)),
        runs=(RunStatus(EVIL, EVIL, EVIL, 1, (StateCount(EVIL, 2),), 1.0),),
        dead_jobs=JobList((job,), 1),
        jobs=JobList((job,), 1),
        services=(ServiceStatus(EVIL, EVIL, "CRASHLOOP", EVIL),),
        schedules=(ScheduleStatus(EVIL, "ACTIVE", Timing("@daily"), last=(fire(reason=EVIL),)),),
        schedule_history=(fire(reason=EVIL, run_id=EVIL),),
    )


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def tags(page: str) -> list[tuple[str, dict[str, str | None]]]:
    reader = _Tags()
    reader.feed(page)
    return reader.found


# ── pages ─────────────────────────────────────────────────────────────────────────────────────────


def test_of_a_worker_that_runs_many_jobs_some_are_named() -> None:
    busy = replace(WORKER, slots=8, jobs=tuple(f"sales-1/job-{number}" for number in range(7)))
    dashboard = FakeDashboard(FakeClient(cluster=ClusterStatus((busy,))))
    for path in ("/", "/workers"):
        page = dashboard.browser.text(path)
        assert "sales-1/job-3" in page and "sales-1/job-4" not in page and ">3 more</a>" in page


def test_of_a_schedule_with_many_runs_some_are_named() -> None:
    live = tuple(f"run-{number}" for number in range(9))
    schedule = ScheduleStatus("nightly", "ACTIVE", Timing("@daily"), live=live)
    dashboard = FakeDashboard(FakeClient(get_schedule=schedule))
    page = dashboard.browser.text("/schedules/nightly")
    assert "run-4" in page and "run-5" not in page and ">4 more</a>" in page


@pytest.mark.parametrize("path", PAGES)
def test_nasty_names_are_text(path: str) -> None:
    dashboard = FakeDashboard(evil_client())
    page = dashboard.logged_in().text(path)
    assert "<img" not in page
    for tag, attributes in tags(page):
        assert not {name for name in attributes if name.startswith("on")} and "style" not in attributes
        assert tag != "script" or (attributes.get("src") or "").startswith("/static/")
        assert not (attributes.get("href") or "").lower().startswith("javascript:")


@pytest.mark.parametrize(
    "path", ["/", "/workers", "/workers/box:8081", "/jobs", "/workers/box:8081/shutdown", "/nope"]
)
def test_every_page_can_be_found_one_s_way_around(path: str) -> None:
    page = FakeDashboard().logged_in().text(path)
    names = [tag for tag, _ in tags(page)]
    assert names.count("h1") == names.count("main") == 1 and "nav" in names
    assert 'class="skip" href="#main"' in page and '<html lang="en">' in page
    for tag, attributes in tags(page):
        if tag in ("input", "select") and attributes.get("type") not in ("hidden", "checkbox"):
            assert f'for="{attributes["id"]}"' in page
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))


def test_a_fragment_is_what_can_change() -> None:
    browser = FakeDashboard().browser
    page, fragment = browser.text("/"), browser.text("/", X_Fragment="1")
    assert "<nav" not in fragment and "<html" not in fragment
    for region in re.findall(r'id="([^"]*)" data-live', page):
        assert f'id="{region}" data-live' in fragment


def test_home_tells_first_what_needs_a_person() -> None:
    dashboard = FakeDashboard(FakeClient(dead_jobs=JobList((JobStatus("r", "load", "DEAD", "exit code 3"),), 12)))
    page = dashboard.browser.text("/")
    assert '<a href="/jobs?state=DEAD">12 dead jobs</a>' in page and "exit code 3" in page and "and 11 more" in page
    assert "Nothing needs you" in FakeDashboard().browser.text("/")


def test_workers_are_filtered() -> None:
    other = WorkerStatus("gpu:1", "DRAINING", ("GPU",), 4)
    browser = FakeDashboard(FakeClient(cluster=ClusterStatus((WORKER, other)))).browser
    assert "gpu:1" in browser.text("/workers?capability=GPU") and "box:8081" not in browser.text(
        "/workers?state=DRAINING"
    )
    assert "None of 2 workers" in browser.text("/workers?state=trouble")


def test_a_worker_that_is_gone() -> None:
    answer = FakeDashboard().browser.get("/workers/box:1")
    assert answer.status_code == 404 and "taken for dead" in answer.get_data(as_text=True)


def test_how_a_worker_is_stopped() -> None:
    dashboard = FakeDashboard()
    dashboard.logged_in().post("/workers/box:8081/shutdown", {"now": "on"})
    assert dashboard.client.called("shutdown_worker") == [("box:8081", False, True)]


def test_a_defect_says_nothing_of_itself(caplog: pytest.LogCaptureFixture) -> None:
    dashboard = FakeDashboard(FakeClient(jobs=JobList()))
    dashboard.client.answers["jobs"] = RuntimeError("secret")
    answer = dashboard.browser.get("/jobs")
    assert answer.status_code == 500 and "secret" not in answer.get_data(as_text=True) and "secret" in caplog.text


def test_pictures_and_words() -> None:
    assert boxes(1, 4).count("used") == 1 and boxes(1, 4).count("<rect") == 4 and "bar" in boxes(3, 100)
    assert "bar" in boxes(0, 0)
    assert state("DEAD") == '<span class="state bad"><span aria-hidden="true">✕</span> DEAD</span>'
    assert instant(0.0) == "" and 'datetime="1970-01-01T00:00:01Z"' in instant(1.0)


# ── away and back ─────────────────────────────────────────────────────────────────────────────────


def test_the_last_snapshot_stays_while_the_master_is_away_and_is_replaced_when_it_is_back() -> None:
    dashboard = FakeDashboard()
    before = dashboard.cluster.look()
    dashboard.client.away = ConnectionFailed("nobody answers at box:9090")
    dashboard.cluster.refresh()
    away = dashboard.cluster.look()
    assert (away.cluster, away.as_of, away.version) == (before.cluster, before.as_of, before.version + 1)
    page = dashboard.browser.text("/")
    assert "nobody answers at box:9090" in page and "as of" in page and "box:8081" in page
    assert dashboard.browser.get("/readyz").status_code == 503 and dashboard.browser.get("/livez").status_code == 200
    assert dashboard.browser.get("/jobs").status_code == 503
    assert dashboard.browser.get("/api/jobs").get_json() == {
        "error": "nobody answers at box:9090", "code": "CONNECTION_FAILED"
    }  # fmt: skip
    dashboard.client.away = None
    dashboard.cluster.refresh()
    assert not dashboard.cluster.look().trouble and dashboard.browser.get("/readyz").status_code == 200


def test_a_version_stays_while_nothing_changes() -> None:
    dashboard = FakeDashboard()
    before = dashboard.cluster.look()
    dashboard.cluster.refresh()
    after = dashboard.cluster.look()
    assert after.version == before.version and after.as_of >= before.as_of


def test_before_the_master_was_reached() -> None:
    watch = ClusterWatch(FakeDashboard().parts.client)
    assert not watch.look().known and watch.look().trouble


def test_browsers_cost_the_master_nothing() -> None:
    dashboard = FakeDashboard()
    asked = len(dashboard.client.calls)
    for path in ("/", "/workers", "/workers/box:8081", "/api/workers", "/metrics", "/readyz") * 20:
        dashboard.browser.get(path)
    assert len(dashboard.client.calls) == asked


# ── ledgers ───────────────────────────────────────────────────────────────────────────────────────


def test_a_ledger_is_read_again_only_when_its_last_line_is_new() -> None:
    def nightly(last: FireStatus) -> ScheduleStatus:
        return ScheduleStatus("nightly", "ACTIVE", Timing("@daily"), last=(last,))

    now = time.time()
    missed, ran = fire(slot=now - 60), fire("RAN", now, run_state="COMPLETED")
    client = FakeClient(schedule_history=(ran, missed, fire(slot=now - 2 * ledgers.SHOWN_S)))
    reader, as_client = Ledgers(), FakeDashboard(client).parts.client
    for _ in range(3):
        assert reader.read(as_client, [nightly(ran)]) == (missed,)
    assert len(client.called("schedule_history")) == 1
    reader.read(as_client, [nightly(fire("RAN", now, run_state="FAILED"))])
    assert len(client.called("schedule_history")) == 2
    assert reader.read(as_client, []) == ()


def test_a_schedule_that_was_removed_meanwhile() -> None:
    client = FakeClient(schedule_history=NotFound("no schedule"))
    schedule = ScheduleStatus("nightly", "ACTIVE", Timing("@daily"), last=(fire(),))
    assert Ledgers().read(FakeDashboard(client).parts.client, [schedule]) == ()


def test_concerns_are_in_order_and_waiting_jobs_by_reason() -> None:
    def waits(job_id: str, reason: str) -> JobStatus:
        return JobStatus("r", job_id, "QUEUED", reason)

    waiting = JobList((waits("a", "busy"), waits("b", "busy"), waits("c", "no worker has GPU")), 3)
    pools = (PoolStatus("GPU", trouble="no webhook"),)
    lost = WorkerStatus("w:1", "DISCONNECTED", jobs=("r/x",))
    found = concerns(
        Snapshot(
            cluster=ClusterStatus((lost,), (), "the disk is full", pools),
            waiting=waiting,
            fires=(fire(),),
            services=(ServiceStatus("r", "s", "DEGRADED"), ServiceStatus("r", "t", "CRASHLOOP")),
        )
    )
    assert [one.kind for one in found] == ["master", "services", "workers", "fires", "services", "pools", "waiting"]
    assert [(item.name, item.why) for item in found[-1].items] == [
        ("r/a", "busy (and 1 other)"),
        ("r/c", "no worker has GPU"),
    ]


def test_each_number_of_the_first_page_leads_to_what_it_counts() -> None:
    busy = WorkerStatus("box:1", "ONLINE", ("GPU",), 4, 2, services=("r/s",), jobs=("r/1", "r/2"))
    client = FakeClient(
        cluster=ClusterStatus((busy,), (StateCount("DEAD", 3),), pools=(PoolStatus("GPU", 1, 4, 2, 7),)),
        services=(ServiceStatus("r", "s", "READY"), ServiceStatus("r", "t", "DEAD")),
        schedules=(ScheduleStatus("n", "PAUSED", Timing("@daily")),),
        schedule_history=(fire(),),
        dead_jobs=JobList((JobStatus("r", "x", "DEAD"),), 3),
    )
    page = FakeDashboard(client).browser.text("/")
    for path, words in {
        "/jobs?state=DEAD": "3", "/jobs?state=RUNNING": "2", "/jobs?state=QUEUED&amp;requirement=GPU": "7",
        "/workers?capability=GPU": "2", "/workers/box:1#now": "2", "/workers/box:1#services": "1",
        "/services?state=READY": "1 service", "/services?state=DEAD": "1 service DEAD",
        "/schedules?state=PAUSED": "1 schedule", "/runs?state=FAILED": "FAILED",
    }.items():  # fmt: skip
        assert re.search(rf'<a href="{re.escape(path)}"[^>]*>{words}</a>', page), path


def test_fires_of_one_schedule_are_told_together() -> None:
    fires = (*(fire("RAN", slot=50.0 - n, run_state="FAILED") for n in range(3)), fire(reason="the master was away"))
    (concern,) = concerns(Snapshot(fires=fires))
    assert [(item.name, item.state, item.why, item.wall) for item in concern.items[:1]] == [
        ("nightly", "FAILED", "2 more like it", 50.0)
    ]
    assert (concern.items[1].why, concern.count, concern.more) == ("the master was away", 4, 0)


def test_fires_that_came_to_nothing_are_listed_where_their_number_leads() -> None:
    client = FakeClient(schedules=(ScheduleStatus("nightly", "ACTIVE", Timing("@daily"), last=(fire(),)),))
    client.answers["schedule_history"] = (fire(reason="the master was away"),)
    browser = FakeDashboard(client).browser
    assert '<a href="/schedules#missed">1 fire missed or failed in the last day</a>' in browser.text("/")
    section = browser.text("/schedules").partition('<section id="missed"')[2]
    assert "MISSED" in section and "the master was away" in section


def test_jobs_are_found_by_what_they_need() -> None:
    jobs = tuple(JobStatus("r", f"j{n}", "QUEUED", requirement="GPU" if n % 2 else "GENERAL") for n in range(6))
    client = FakeClient(jobs=JobList(jobs, 9))
    browser = FakeDashboard(client).browser
    page = browser.text("/jobs?state=QUEUED&requirement=GPU")
    assert client.called("jobs")[-1] == ("QUEUED", 2000)
    assert page.count("<tr data-key") == 3 and "3 of 9 jobs; the first 6 were looked through" in page
    assert 'href="/jobs?state=QUEUED&amp;requirement=GPU&amp;limit=400"' in page
    assert "needs FPGA" in browser.text("/jobs?requirement=FPGA")


def test_a_worker_that_was_lost_is_told_of_first_and_wherever_it_is_looked_for() -> None:
    lost = LostWorker("gone:1", time.time() - 60, f"{EVIL} was not heard", 2, ("GPU",))
    browser = FakeDashboard(FakeClient(cluster=ClusterStatus((WORKER,), lost=(lost,)))).browser
    (concern,) = browser.get("/api/attention").get_json()["attention"]
    assert (concern["kind"], concern["title"]) == ("lost", "1 worker lost")
    assert concern["items"][0]["why"].endswith("was not heard; 2 attempts lost with it")
    assert '<a href="/workers?state=lost">1 worker lost</a>' in browser.text("/")
    for path, is_listed in {"/workers": True, "/workers?state=lost": True, "/workers?state=ONLINE": False}.items():
        assert ("gone:1" in browser.text(path)) is is_listed
    assert "box:8081" not in browser.text("/workers?state=lost")
    assert browser.get("/api/workers").get_json()["lost"][0]["attempts"] == 2
    answer = browser.get("/workers/gone:1")
    assert answer.status_code == 404 and "it was lost 1m" in answer.get_data(as_text=True)


# ── json ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_cluster_as_json() -> None:
    found = FakeDashboard().browser.get("/api/cluster").get_json()
    assert found["cluster"]["counts"] == {"RUNNING": 1} and found["as_of"] > 0 and found["trouble"] == ""
    assert found["cluster"]["workers"][0]["worker_id"] == "box:8081"


def test_errors_as_json() -> None:
    browser = FakeDashboard(FakeClient(jobs=InvalidRequest("'x' is not a state"))).browser
    answer = browser.get("/api/jobs?state=x")
    assert (answer.status_code, answer.get_json()) == (400, {"error": "'x' is not a state", "code": "INVALID"})
    for path in ("/api/nope", "/api/workers/nope"):
        assert browser.get(path).get_json()["code"] == "NOT_FOUND"
    for limit in ("0", "-1", "x", "9" * 30, "٣"):
        assert browser.get(f"/api/runs?limit={limit}").status_code == 400
    assert browser.post("/api/runs").status_code == 401


@pytest.mark.parametrize("name", ["attention", "workers", "pools", "dead", "services", "schedules", "fires", "jobs"])
def test_lists_as_json(name: str) -> None:
    answer = FakeDashboard(evil_client()).browser.get(f"/api/{name}")
    assert answer.mimetype == "application/json" and (json.dumps(EVIL)[1:-1] in answer.text or name == "fires")


# ── metrics ───────────────────────────────────────────────────────────────────────────────────────

_LABEL = r'[a-z_]+="(?:[^"\\\n]|\\\\|\\"|\\n)*"'
_SAMPLE = re.compile(rf"[a-z_]+(\{{{_LABEL}(,{_LABEL})*\}})? -?[0-9.e+-]+")


def test_metrics_have_their_format_whatever_things_are_called() -> None:
    name = 'a"b\\c\nd}e'
    client = evil_client()
    client.answers["cluster"] = ClusterStatus(
        (WorkerStatus(name, name, slots=4),), pools=(PoolStatus(name, waiting=2),)
    )
    answer = FakeDashboard(client).browser.get("/metrics")
    assert answer.content_type == metrics.CONTENT_TYPE
    lines = answer.get_data(as_text=True).removesuffix("\n").split("\n")
    assert all(line.startswith(("# HELP ", "# TYPE ")) or _SAMPLE.fullmatch(line) for line in lines)
    assert 'titan_worker_slots{worker="a\\"b\\\\c\\nd}e"} 4' in lines
    typed = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(typed) == len(set(typed))


def test_what_the_metrics_say() -> None:
    dashboard = FakeDashboard(FakeClient(schedules=(ScheduleStatus("n", "PAUSED", Timing("@daily")),)))
    dashboard.browser.get("/")
    lines = dashboard.browser.text("/metrics").splitlines()
    for line in (
        "titan_up 1",
        'titan_workers{state="ONLINE"} 1',
        'titan_workers{state="DRAINING"} 0',
        'titan_jobs{state="RUNNING"} 1',
        'titan_schedules{state="PAUSED"} 1',
        "titan_fires_missed_last_day 0",
        'titan_dashboard_requests_total{method="GET",status="200"} 1',
        "titan_dashboard_streams 0",
    ):
        assert line in lines


def test_metrics_of_a_master_that_is_away() -> None:
    dashboard = FakeDashboard()
    dashboard.client.away = ConnectionFailed()
    dashboard.cluster.refresh()
    text = dashboard.browser.text("/metrics")
    assert "titan_up 0" in text and "titan_jobs" not in text


# ── streams ───────────────────────────────────────────────────────────────────────────────────────


def test_half_of_the_threads_may_be_streams() -> None:
    dashboard = FakeDashboard(threads=4)
    http = dashboard.app.test_client()
    opened = [http.get("/events", buffered=False) for _ in range(2)]
    assert [answer.status_code for answer in opened] == [200, 200] and dashboard.parts.streams.open == 2
    assert http.get("/events").status_code == 503
    for answer in opened:
        answer.close()
        answer.close()
    assert dashboard.parts.streams.open == 0


def test_a_stream_tells_versions_and_lives_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.0)
    dashboard = FakeDashboard()
    now = [0.0]
    limited = streams.Streams(4, lambda: now[0])
    told = iter(limited.respond(streams.versions(dashboard.cluster)).response)
    version = dashboard.cluster.look().version
    assert [next(told) for _ in range(3)] == [
        "retry: 1000\n\n",
        streams.event({"version": version}),
        streams.HEARTBEAT,
    ]
    now[0] = streams.LIFE_S
    assert list(told) == []
    dashboard.cluster.stop()
    assert list(streams.versions(dashboard.cluster)) == []
