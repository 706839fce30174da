"""The dashboard and somebody who means harm, without sockets: numbers, headers, names and texts."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from markupsafe import escape

from dashboard import drafts
from titan_core.protocol.messages import AssetInfo, AttemptStatus, ClusterStatus
from titan_test_suite.pytests.support.dashboard_runs import client, job
from titan_test_suite.pytests.support.dashboards import WORKER, FakeDashboard

LOG = "/runs/sales-1/jobs/load/log"

# ── numbers ───────────────────────────────────────────────────────────────────────────────────────

NO_NUMBERS = ("-1", "1.5", "1e400", "nan", "٣", "²", " 1", "0" * 21 + "9", "9" * 20, "9" * 100_000, "\0")
NUMBERS = (
    ("/runs", "limit"),
    ("/jobs", "limit"),
    ("/history", "span"),
    ("/history", "until"),
    ("/charts", "span"),
    ("/schedules/nightly", "before"),
    ("/api/runs", "limit"),
    ("/api/jobs", "limit"),
    ("/api/runs/sales-1", "since"),
    ("/api/runs/sales-1/events", "after"),
    ("/api/schedules/nightly/fires", "before"),
    ("/api/schedules/nightly/next", "limit"),
    ("/api/samples", "span"),
    ("/api/runs/sales-1/jobs/load/log", "offset"),
    ("/api/runs/sales-1/jobs/load/log", "tail"),
    ("/runs/sales-1/jobs/load/log", "attempt"),
    ("/runs/sales-1/jobs/load/log.txt", "attempt"),
)


@pytest.mark.parametrize(("path", "name"), NUMBERS)
def test_a_number_that_is_none_is_refused_in_a_sentence(path: str, name: str) -> None:
    browser = FakeDashboard(client()).browser
    for text in NO_NUMBERS:
        answer = browser.get(f"{path}?{name}={quote(text)}", Accept="application/json")
        assert answer.status_code == 400, (text[:30], answer.get_data()[:200])
        assert (
            answer.get_json()["error"].startswith(f"{name} is ") and "use a number from" in answer.get_json()["error"]
        )


def test_an_instant_in_no_year_that_can_be_written() -> None:
    browser = FakeDashboard(client()).browser
    for path in ("/history?until", "/schedules/nightly?before", "/api/schedules/nightly/fires?before"):
        assert browser.get(f"{path}=253402300800").status_code == 400
    assert browser.get("/history?until=253402000000").status_code == 200
    assert 'until=1"' in browser.text("/history?until=1"), "the way back ends where the numbers do"


@pytest.mark.parametrize("text", ["-1", "0", "1001", "9" * 19, "0" * 30 + "1", "٣", ""])
def test_a_service_is_scaled_to_no_such_number(text: str) -> None:
    dashboard = FakeDashboard(client())
    answer = dashboard.logged_in().post("/services/a/b/scale", {"instances": text}, Accept="application/json")
    assert answer.status_code == 400 and "use a number from 1 to 1,000" in answer.get_json()["error"]
    assert not dashboard.client.called("scale_service")


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf, 1e300, 1e18, 253402300800.0])
def test_a_worker_or_a_file_with_a_clock_of_its_own_breaks_no_page(odd: float) -> None:
    late = replace(WORKER, cpu_percent=odd, started_wall=odd, connected_wall=odd)
    tried = AttemptStatus(1, "box:8081", "RUNNING", started_wall=odd, finished_wall=odd)
    browser = FakeDashboard(
        client(
            cluster=ClusterStatus((late,)),
            job=replace(job(attempts=(tried,)), started_wall=odd, finished_wall=odd),
            assets=(AssetInfo("a", "0" * 64, 1, odd),),
        )
    ).browser
    for path in ("/", "/workers", "/workers/box:8081", "/runs/sales-1?job=load", LOG, "/assets", "/metrics"):
        assert browser.get(path).status_code == 200, path
    for path in ("/api/cluster", "/api/runs/sales-1/jobs/load", "/api/assets"):
        assert not re.search("NaN|Infinity", browser.text(path))


@pytest.mark.parametrize("name", ["If-Modified-Since", "If-Unmodified-Since", "If-Range"])
def test_a_date_of_no_year_in_a_header(name: str) -> None:
    date = "Sun, 06 Nov 99999999994 08:49:37 GMT"
    answer = FakeDashboard().browser.get("/static/style.css", **{name: date, "Accept": "application/json"})
    assert answer.status_code == 400 and "in no year" in answer.get_json()["error"]


# ── pipelines ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "number", ["0x" + "f" * 5000, "-0x" + "f" * 5000, "1" + ":59" * 3000, "1" + ":59" * 3000 + ".5"]
)
@pytest.mark.parametrize("field", ["timeout", "delay", "priority", "is_archive", "stop_signal", "affinity"])
def test_numbers_that_fit_nowhere_are_refused_with_their_line(field: str, number: str) -> None:
    [problem] = drafts.read(
        f"jobs:\n  - id: a\n    file: etl.py\n    {field}: {number}\n".encode(), ["etl.py"]
    ).problems
    assert problem.line == 4 and "is not a value that can be read" in problem.sentence and len(problem.sentence) < 200


# ── names ─────────────────────────────────────────────────────────────────────────────────────────

UNSEEN = "\u202e\u2066\x1b]0;title\x07\x9b\u200b\u2028"
"""What turns the direction of text, sets a title, or is not seen."""


def test_what_is_not_seen_is_shown_as_its_code_and_text_keeps_its_lines() -> None:
    worker = replace(WORKER, worker_id=f"box{UNSEEN}:1", trouble=UNSEEN, capabilities=(UNSEEN,))
    answering = client(cluster=ClusterStatus((worker,)), assets=(AssetInfo(f"a{UNSEEN}", "0" * 64, 1),))
    answering.answers["job"] = job(attempts=(AttemptStatus(1, f"box{UNSEEN}", "RUNNING", reason=UNSEEN),))
    browser = FakeDashboard(answering).logged_in()
    odd = quote(UNSEEN)
    shown = [browser.text(path) for path in ("/", "/workers", f"/workers/{odd}/drain", f"/assets?q={odd}", LOG)]
    assert not [page for page in shown if any(char in page for char in UNSEEN if not char.isprintable())]
    assert all("\\u202e" in page for page in shown)
    text = f"name: '{UNSEEN[0]}x'\njobs: []\n"
    assert f"\n{escape(text)}</textarea>" in browser.post("/submit", {"text": text}).get_data(as_text=True)


def test_the_name_under_which_a_file_is_saved_says_what_it_is(tmp_path: Path) -> None:
    content = tmp_path / "content"
    content.write_bytes(b"x")
    browser = FakeDashboard(client(fetch_artifact=content, log_chunks=iter(()))).browser
    for path in ("/assets/file/a/invoice%E2%80%AEfdp.exe", "/runs/a%0Ab/jobs/%E2%80%AEc%22/log.txt"):
        answer = browser.get(path)
        told = unquote(answer.headers["Content-Disposition"])
        assert answer.status_code == 200 and told.startswith("attachment; filename") and told.isprintable()


def test_a_line_of_our_log_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    browser = FakeDashboard(client(run=ValueError("a defect"))).browser
    assert browser.get("/runs/x%0AERROR%20forged").status_code == 500
    assert [record.getMessage() for record in caplog.records] == ["GET /runs/x\\nERROR forged failed"]
