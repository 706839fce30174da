"""The dashboard's pages of schedules: fires past and to come, zones, actions, names that look like HTML."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from dashboard import fires
from titan_core.protocol.messages import Ack, Alert, Backfilled, FireStatus, JobSpec, ScheduleStatus, Task, Timing
from titan_sdk.errors import Conflict, NotFound
from titan_sdk.schedules import next_fires
from titan_test_suite.pytests.support.dashboards import EVIL, FakeClient, FakeDashboard

SLOT = datetime(2026, 11, 26, 1, 30, tzinfo=UTC).timestamp()
PAGE = "/schedules/nightly"
TIMING = Timing("30 2 * * *", timezone="Europe/Berlin", jitter_s=30.0)
NIGHTLY = ScheduleStatus(
    "nightly", "PAUSED", TIMING, "the database is moved", "queue", "all", 86400.0, time.time() + 5.5 * 3600,
    live=("nightly-1",), queued=2, job_count=1, jobs=(JobSpec("etl", Task("etl.py", args=("{scheduled_for}",))),),
    on_failure=Alert("https://host/failed"),
)  # fmt: skip
FIRES = (
    FireStatus("nightly", SLOT, "schedule", "RAN", run_id="nightly-2", run_state="FAILED", decided_wall=SLOT + 1,
               finished_wall=SLOT + 61, alert="sent", made_up=True),
    FireStatus("nightly", SLOT - 60, "trigger", "QUEUED", "run nightly-1 still goes on", run_id="nightly-3"),
    FireStatus("nightly", SLOT - 864000, "span", "MISSED", "there was no master", until_wall=SLOT - 86400),
)  # fmt: skip
ACTIONS = {
    "pause": ("pause_schedule", {"reason": "moving"}, ("nightly", "moving")),
    "resume": ("resume_schedule", {}, ("nightly",)),
    "trigger": ("trigger_schedule", {}, ("nightly",)),
    "backfill": ("backfill_schedule", {"from": "2026-11-01T00:00", "to": "2026-11-02T00:00"},
                 ("nightly", "2026-11-01T00:00", "2026-11-02T00:00")),
    "backfill/cancel": ("cancel_backfill", {}, ("nightly",)),
    "remove": ("remove_schedule", {}, ("nightly",)),
}  # fmt: skip


def a_client(**answers: object) -> FakeClient:
    known = {
        "schedules": (NIGHTLY,),
        "get_schedule": NIGHTLY,
        "schedule_history": FIRES,
        "pause_schedule": NIGHTLY,
        "resume_schedule": NIGHTLY,
        "trigger_schedule": FIRES[0],
        "backfill_schedule": Backfilled("24 fires will be made up for"),
        "cancel_backfill": Backfilled("nothing waits any more"),
        "remove_schedule": Ack("it is removed"),
    }
    return FakeClient(**{**known, **answers})


def test_the_list_and_its_filter() -> None:
    browser = FakeDashboard(a_client()).browser
    page = browser.text("/schedules")
    for shown in ("nightly", "PAUSED", "the database is moved", "30 2 * * *", "Europe/Berlin", "in 5h"):
        assert shown in page
    assert "nightly" in browser.text("/schedules?state=PAUSED")
    assert "None of 1 schedule" in browser.text("/schedules?state=ACTIVE")


def test_one_of_them() -> None:
    page = FakeDashboard(a_client()).logged_in().text(PAGE)
    for shown in (
        "the database is moved", "Europe/Berlin", "30s", "queue", "all, of the past 1d", "https://host/failed",
        'href="/runs/nightly-1"', "2 fires", "etl.py", "{scheduled_for}", "It is paused",
    ):  # fmt: skip
        assert shown in page
    assert f'href="{PAGE}/resume"' in page and f'href="{PAGE}/pause"' not in page
    assert f'href="{PAGE}/backfill/cancel"' in page


def test_what_became_of_its_fires() -> None:
    page = FakeDashboard(a_client()).browser.text(PAGE)
    assert "2026-11-26 02:30 CET (01:30 UTC)" in page
    assert "from 2026-11-16 02:30 CET (01:30 UTC) to 2026-11-25 02:30 CET (01:30 UTC)" in page
    for shown in (
        'href="/runs/nightly-2"',
        "FAILED",
        "1m00s",
        "sent",
        "made up for",
        "by hand",
        "there was no master",
    ):
        assert shown in page
    assert 'href="/runs/nightly-3"' not in page  # there is no such run yet


def test_its_ledger_page_by_page() -> None:
    many = tuple(FireStatus("nightly", SLOT - place * 60, "schedule", "RAN") for place in range(fires.PAGE + 1))
    dashboard = FakeDashboard(a_client(schedule_history=many))
    older = f"{PAGE}?outcome=RAN&amp;before={int(many[-1].slot_wall) + 1}"
    assert older in dashboard.browser.text(f"{PAGE}?outcome=RAN")
    dashboard.client.answers["schedule_history"] = many[:1]
    page = dashboard.browser.text(older.replace("&amp;", "&"))
    assert "Older" not in page and "Newest" in page
    assert dashboard.client.called("schedule_history")[-1] == ("nightly", 51, int(many[-1].slot_wall) + 1, "RAN")
    for wrong in ("outcome=x", "before=x", "before=-1", f"before={'9' * 12}"):
        assert dashboard.browser.get(f"{PAGE}?{wrong}").status_code == 400


def test_what_is_to_come_with_the_changes_of_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fires, "COMING", 12)  # months, so that both changes are among them
    monthly = ScheduleStatus("nightly", "ACTIVE", Timing("30 2 1 * *", timezone="Europe/Berlin"))
    page = FakeDashboard(a_client(get_schedule=monthly)).browser.text(PAGE)
    first = next_fires(monthly.timing, 1)[0]
    assert f"{first.local:%Y-%m-%d %H:%M}" in page and "clocks go forward 1h before this" in page
    assert "clocks go back 1h before this" in page
    unknown = ScheduleStatus("nightly", "ACTIVE", Timing("@daily", timezone="No/Where"))
    page = FakeDashboard(a_client(get_schedule=unknown)).browser.text(PAGE)
    assert "is unknown; use a name such as UTC" in page and "What is to come" in page


@pytest.mark.parametrize(
    ("timing", "said"),
    [
        (Timing(at="2020-01-01"), "its time has passed"),
        (Timing("@daily", end="2020-01-01"), "its end, 2020-01-01, has passed"),
    ],
)
def test_why_it_is_finished(timing: Timing, said: str) -> None:
    over = ScheduleStatus("nightly", "FINISHED", timing)
    assert said in FakeDashboard(a_client(get_schedule=over, schedules=(over,))).browser.text("/schedules")


def test_the_ledger_of_one_that_was_removed() -> None:
    dashboard = FakeDashboard(a_client(get_schedule=NotFound("there is no schedule 'nightly'")))
    page = dashboard.logged_in().text(PAGE)
    assert "was removed" in page and "there was no master" in page and "Backfill" not in page
    dashboard.client.answers["schedule_history"] = ()
    assert dashboard.browser.get(PAGE).status_code == 404


@pytest.mark.parametrize("word", ACTIONS)
def test_what_a_person_may_do(word: str) -> None:
    dashboard = FakeDashboard(a_client())
    path, (method, form, asked) = f"{PAGE}/{word}", ACTIONS[word]
    assert dashboard.browser.post(path, dict(form)).status_code == 401
    browser = dashboard.logged_in()
    page = browser.text(path)
    assert '<form method="post"' in page and all(f'name="{field}"' in page for field in ("csrf", *form))
    assert browser.post(path, {**form, "csrf": "x"}).status_code == 403 and not dashboard.client.called(method)
    answer = browser.post(path, dict(form))
    assert (answer.status_code, answer.headers["Location"]) == (303, "/schedules" if word == "remove" else PAGE)
    assert dashboard.client.called(method) == [asked]
    assert 'class="notice good"' in browser.text(PAGE)
    read_only = FakeDashboard(a_client(), read_only=True).logged_in()
    assert read_only.post(path, dict(form)).status_code == 403


def test_what_is_refused_is_told() -> None:
    dashboard = FakeDashboard(a_client(trigger_schedule=Conflict("run nightly-1 still goes on")))
    browser = dashboard.logged_in()
    browser.post(f"{PAGE}/trigger")
    assert "run nightly-1 still goes on" in browser.text(PAGE).partition("<h1>")[0]
    browser.post(f"{PAGE}/backfill", {"from": "2026-11-01"})
    assert "needs both instants" in browser.text(PAGE) and not dashboard.client.called("backfill_schedule")


def test_a_fire_that_waits_is_told_so() -> None:
    browser = FakeDashboard(a_client(trigger_schedule=FIRES[1])).logged_in()
    answer = browser.post(f"{PAGE}/trigger", Accept="application/json")
    assert answer.get_json() == {"text": "nightly fires once the runs before it are over"}


def test_nasty_names_are_text() -> None:
    job = JobSpec(EVIL, Task(EVIL, args=(EVIL,)), requirement=EVIL, parents=(EVIL,))
    fire = FireStatus(EVIL, SLOT, EVIL, EVIL, EVIL, EVIL, EVIL, alert=EVIL)
    nasty = ScheduleStatus(
        EVIL, EVIL, Timing(EVIL, timezone=EVIL, end=EVIL), EVIL, EVIL, EVIL, live=(EVIL,), last=(fire,), jobs=(job,),
        on_missed=Alert(EVIL), on_failure=Alert(jobs=(job,)),
    )  # fmt: skip
    client = a_client(schedules=(nasty,), get_schedule=nasty, schedule_history=(fire,))
    browser = FakeDashboard(client).logged_in()
    for path in ("/schedules", f"/schedules?state={EVIL}", "/schedules/x", "/schedules/x/backfill"):
        page = browser.text(path)
        assert "<img" not in page and "<h1>" in page
    for word in ACTIONS:
        assert "<img" not in browser.text(f"/schedules/{EVIL}/{word}")


def test_as_json() -> None:
    dashboard = FakeDashboard(a_client(next_fires=next_fires(TIMING, 2)))
    found = dashboard.browser.get("/api/schedules/nightly/fires?outcome=RAN&limit=3&before=99").get_json()["fires"]
    assert [fire["outcome"] for fire in found] == ["RAN", "QUEUED", "MISSED"]
    assert dashboard.client.called("schedule_history")[-1] == ("nightly", 3, 99, "RAN")
    assert dashboard.browser.get("/api/schedules").get_json()["schedules"][0]["state"] == "PAUSED"
    assert len(dashboard.browser.get("/api/schedules/nightly/next?limit=2").get_json()["next"]) == 2
