"""The dashboard's pages of services: what they show, what a person may do there, names that look like HTML."""

from __future__ import annotations

import pytest

from titan_core.protocol.messages import Ack, InstanceStatus, JobList, JobStatus, ServiceStatus
from titan_sdk.errors import Conflict, ConnectionFailed, NotFound
from titan_test_suite.pytests.support.dashboards import EVIL, FakeClient, FakeDashboard

WEB = ServiceStatus(
    "site-1", "web", "DEGRADED", "web.2 is not ready", wanted=2, ready=1, revision=3, asset="web.py",
    requirement="GENERAL", restart="always", scope="cluster",
    instances=(
        InstanceStatus("web", "RUNNING", ready=True, worker="box:8081", address="box:9100", attempt=1, revision=3,
                       started_wall=1.0, cpu_percent=12.0, memory=64 << 20),
        InstanceStatus("web.2", "QUEUED", "exit code 3", attempt=4, restarts=3, revision=3),
    ),
)  # fmt: skip
DB = ServiceStatus("site-1", "db", "READY", wanted=1, ready=1, instances=(InstanceStatus("db", "RUNNING"),))
PAGE = "/services/site-1/web"
ACTIONS = {"start": "start_service", "stop": "stop_service", "restart": "restart_service", "scale": "scale_service"}


def a_client(**answers: object) -> FakeClient:
    actions = {method: Ack(f"{method} is done") for method in ACTIONS.values()}
    return FakeClient(**{"services": (WEB, DB), **actions, **answers})


def test_the_list_and_its_filter() -> None:
    browser = FakeDashboard(a_client()).browser
    page = browser.text("/services")
    assert "site-1/web" in page and "site-1/db" in page and "1 of 2" in page and "web.2 is not ready" in page
    assert "64.0 MiB" in page and "12 %" in page and "box:9100" in page
    only = browser.text("/services?state=READY")
    assert "site-1/db" in only and "site-1/web" not in only
    assert "None of 2 services" in browser.text("/services?state=CRASHLOOP")


def test_those_that_were_stopped_are_asked_for_when_they_are_looked_for() -> None:
    stopped = JobStatus("old-1", "api", "CANCELLED", "stopped on request", service=True)
    further = JobStatus("old-1", "api.2", "CANCELLED", service=True, instance_of="api")
    dashboard = FakeDashboard(a_client(jobs=JobList((stopped, further), 2)))
    asked = len(dashboard.client.called("jobs"))
    dashboard.browser.text("/services")
    assert len(dashboard.client.called("jobs")) == asked
    page = dashboard.browser.text("/services?state=STOPPED")
    assert 'href="/services/old-1/api"' in page and "stopped on request" in page and "old-1/api.2" not in page


def test_one_of_them_with_its_instances_and_their_logs() -> None:
    page = FakeDashboard(a_client()).logged_in().text(PAGE)
    for shown in ("DEGRADED", "web.py", "1 of 2", "exit code 3", "box:9100", "64.0 MiB", "until it is stopped"):
        assert shown in page
    for instance in ("web", "web.2"):
        assert f'href="/runs/site-1/jobs/{instance}/log"' in page
    assert all(f'href="{PAGE}/{word}"' in page for word in ("restart", "scale", "stop"))
    assert f"{PAGE}/start" not in page


def test_one_is_shown_while_the_master_is_away_and_one_that_is_not_wanted_is_asked_for() -> None:
    dashboard = FakeDashboard(a_client(service=NotFound("there is no service")))
    assert dashboard.browser.get("/services/site-1/gone").status_code == 404
    dashboard.client.answers["service"] = ServiceStatus("site-1", "old", "STOPPED")
    assert f"{PAGE[:-3]}old/start" in dashboard.logged_in().text("/services/site-1/old")
    dashboard.client.away = ConnectionFailed()
    dashboard.cluster.refresh()
    assert "web.py" in dashboard.browser.text(PAGE)


@pytest.mark.parametrize("word", ACTIONS)
def test_what_a_person_may_do(word: str) -> None:
    dashboard = FakeDashboard(a_client())
    path, method = f"{PAGE}/{word}", ACTIONS[word]
    form = {"instances": "5"} if word == "scale" else {}
    assert dashboard.browser.post(path, form).status_code == 401
    browser = dashboard.logged_in()
    asked = browser.text(path)
    assert '<form method="post"' in asked and 'name="csrf"' in asked
    assert browser.post(path, {**form, "csrf": "x"}).status_code == 403 and not dashboard.client.called(method)
    answer = browser.post(path, form)
    assert (answer.status_code, answer.headers["Location"]) == (303, PAGE)
    assert dashboard.client.called(method) == [("site-1/web", 5) if form else ("site-1/web",)]
    assert f"{method} is done" in browser.text(PAGE)


@pytest.mark.parametrize("count", ["", "x", "-1", "٣", "1.5"])
def test_a_number_that_is_none(count: str) -> None:
    dashboard = FakeDashboard(a_client())
    browser = dashboard.logged_in()
    browser.post(f"{PAGE}/scale", {"instances": count})
    assert "use a number from 1 to" in browser.text(PAGE) and not dashboard.client.called("scale_service")


def test_a_refusal_is_told() -> None:
    browser = FakeDashboard(a_client(stop_service=Conflict("it was stopped already"))).logged_in()
    browser.post(f"{PAGE}/stop")
    assert "it was stopped already" in browser.text(PAGE)


def test_read_only_offers_nothing() -> None:
    browser = FakeDashboard(a_client(), read_only=True).logged_in()
    assert f"{PAGE}/restart" not in browser.text(PAGE)
    assert browser.post(f"{PAGE}/stop").status_code == 403


def test_nasty_names_are_text() -> None:
    nasty = ServiceStatus(
        EVIL, EVIL, EVIL, EVIL, asset=EVIL, requirement=EVIL, restart=EVIL, scope=EVIL,
        instances=(InstanceStatus(EVIL, EVIL, EVIL, worker=EVIL, address=EVIL, attempt=1, memory=1),),
    )  # fmt: skip
    jobs = JobList((JobStatus(EVIL, EVIL, "CANCELLED", EVIL),), 1)
    browser = FakeDashboard(a_client(services=(nasty,), service=nasty, jobs=jobs)).logged_in()
    paths = (f"/services/{EVIL}/{EVIL}".replace("&", "%26"), f"/services/a/{EVIL}/stop", "/services/a/b/scale")
    for path in ("/services", "/services?state=STOPPED", f"/services?state={EVIL}", "/services/a/b", *paths):
        page = browser.text(path)
        assert "<img" not in page and "<h1>" in page


def test_as_json() -> None:
    browser = FakeDashboard(a_client(service=WEB)).browser
    assert [one["job_id"] for one in browser.get("/api/services").get_json()["services"]] == ["web", "db"]
    assert browser.get("/api/services/site-1/web").get_json()["service"]["instances"][1]["restarts"] == 3
