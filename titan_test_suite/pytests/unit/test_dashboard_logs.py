"""The log of an attempt, as page, file, part and stream: all of it is there, and nothing in it is taken for HTML."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import pytest

from dashboard.logs import Follower, shown
from dashboard.rings import AttemptName, Rings
from dashboard.streams import HEARTBEAT
from titan_core.protocol.messages import AttemptStatus, JobStatus, LogChunk
from titan_sdk import TitanClient
from titan_sdk.errors import ConnectionFailed, NotFound
from titan_test_suite.pytests.support.dashboards import EVIL, FakeClient, FakeDashboard

JOB = JobStatus("run-1", "job", "RUNNING", attempts=(AttemptStatus(1, "box:8081", "RUNNING", started_wall=1.0),))
OVER = replace(JOB, state="COMPLETED", final=True, attempts=(AttemptStatus(1, "box:8081", "COMPLETED"),))
PATH = "/runs/run-1/jobs/job/log"
NAME = AttemptName("run-1", "job", 1)
CHUNK = 100
"""Bytes that this master gives at once."""


class Keeper(FakeClient):
    """Has the log of one attempt, from byte `base` on."""

    def __init__(self, log: bytes, job: JobStatus = JOB, base: int = 0) -> None:
        super().__init__(job=job)
        self.log, self.base = log, base

    def log_chunks(self, key: str, attempt: int = 0, follow: bool = False, tail_bytes: int = 0) -> Iterator[LogChunk]:
        job: JobStatus = self.job(key)
        if attempt > len(job.attempts):
            raise NotFound(f"job {key} has no attempt {attempt}")
        at = max(self.base, -tail_bytes if tail_bytes <= 0 else len(self.log) - tail_bytes)
        while True:
            data = self.log[at : at + CHUNK]
            end = job.final and at + len(data) >= len(self.log)
            if data or end:
                yield LogChunk(job.run_id, job.job_id, attempt or len(job.attempts), at, data, end, job.final)
            if end or not data:
                return
            at += len(data)


def log_of(lines: int) -> bytes:
    return b"".join(b"line %d\n" % number for number in range(1, lines + 1))


# ── page, file, part ──────────────────────────────────────────────────────────────────────────────


def test_without_a_script_the_last_lines_are_there() -> None:
    text = FakeDashboard(cast(Any, Keeper(log_of(600)))).browser.text(PATH)
    assert "line 600\n" in text and "line 101\n" in text and "line 100\n" not in text
    assert "The last 500 lines" in text and "log.txt?attempt=1" in text


def test_nothing_in_a_log_becomes_html() -> None:
    text = FakeDashboard(cast(Any, Keeper(f"{EVIL}\n\x1b[31mred\x1b[0m\0\n".encode() + b"\xff\n"))).browser.text(PATH)
    assert "<img src=x" not in text and "&lt;img src=x" in text
    assert "red\\x00\n\ufffd\n" in text


def test_a_job_that_has_not_begun_has_a_page() -> None:
    client = Keeper(b"", replace(JOB, state="QUEUED", attempts=()))
    assert "The job has not begun." in FakeDashboard(cast(Any, client)).browser.text(PATH)


def test_all_of_a_log_as_a_file() -> None:
    answer = FakeDashboard(cast(Any, Keeper(log_of(300), OVER))).browser.get(f"{PATH}.txt")
    assert answer.get_data() == log_of(300) and answer.mimetype == "text/plain"
    assert answer.headers["Content-Disposition"] == "attachment; filename=run-1-job-1.log"


def part_of(client: Keeper, query: str) -> tuple[bytes, dict[str, str]]:
    answer = FakeDashboard(cast(Any, client)).browser.get(f"/api{PATH}?{query}")
    assert answer.status_code == 200, answer.get_data()
    return answer.get_data(), {k[4:].lower(): v for k, v in answer.headers.items() if k.startswith("Log-")}


@pytest.mark.parametrize(
    ("query", "start", "stop"),
    [("offset=0", 0, None), ("offset=5&limit=150", 5, 205), ("tail=7", -7, None), ("tail=70000", 0, None)],
)
def test_parts_of_a_log(query: str, start: int, stop: int | None) -> None:
    log = log_of(300)
    data, facts = part_of(Keeper(log, OVER), query)
    assert data == log[start:stop]
    offset = start if start >= 0 else len(log) + start
    end = str(int(stop is None))
    assert facts == {"attempt": "1", "offset": str(offset), "end": end, "final": "1"}


def test_a_part_begins_later_where_what_lies_between_is_not_kept() -> None:
    data, facts = part_of(Keeper(log_of(50), base=80), "offset=10")
    assert data == log_of(50)[80:] and facts["offset"] == "80"


def test_a_part_that_is_not_there_yet_is_empty() -> None:
    assert part_of(Keeper(b"abc"), "offset=3") == (b"", {"attempt": "0", "offset": "3", "end": "0", "final": "0"})


@pytest.mark.parametrize("query", ["offset=-1", "limit=x", "attempt=99999999999", "tail=1e9"])
def test_what_is_no_number_is_refused(query: str) -> None:
    assert FakeDashboard(cast(Any, Keeper(b""))).browser.get(f"/api{PATH}?{query}").status_code == 400


def test_an_attempt_that_is_none_is_not_found() -> None:
    dashboard = FakeDashboard(cast(Any, Keeper(b"")))
    for path in (f"{PATH}?attempt=7", f"{PATH}.txt?attempt=7", f"/api{PATH}?attempt=7"):
        assert dashboard.browser.get(path).status_code == 404


def test_what_came_is_told_in_figures() -> None:
    dashboard = FakeDashboard()
    dashboard.parts.rings.add([(NAME, 0, b"hello")], refused=2)
    assert json.loads(dashboard.browser.text("/api/collector"))["collector"]["refused"] == 2
    assert "titan_dashboard_log_bytes_total 5\n" in dashboard.browser.text("/metrics")


def test_a_line_as_a_terminal_leaves_it() -> None:
    assert shown("\x1b[1;31mred\x1b[0m\x1b]0;title\x07!") == "red!"
    assert shown("10%\r20%\r") == "20%" and shown("a\tb") == "a       b" and shown("\x1b") == "\\x1b"


# ── following ─────────────────────────────────────────────────────────────────────────────────────


class Following:
    """A follower whose clock goes on by a tenth of a second each time it is read."""

    def __init__(self, client: Keeper, rings: Rings | None = None, name: AttemptName = NAME, offset: int = 0) -> None:
        self.at = 0.0
        self.rings = rings or Rings()
        self.rings.stop()  # so that nobody waits
        self.events = Follower(self.rings, cast(TitanClient, client), name, offset, self.now).events(lambda: False)

    def now(self) -> float:
        self.at += 0.1
        return self.at

    def next(self) -> dict[str, Any]:
        """The next event that says something."""
        text = next(one for one in self.events if one != HEARTBEAT)
        told: dict[str, Any] = json.loads(text.partition("data: ")[2])
        return told

    def bytes(self) -> tuple[int, bytes, str]:
        told = self.next()
        return told["offset"], base64.b64decode(told["data"]), told["via"]


def test_what_came_by_datagrams_is_told_first_and_what_comes_late_too() -> None:
    rings = Rings()
    rings.add([(NAME, 0, b"one\n"), (NAME, 4, b"two\n"), (NAME, 12, b"four\n")])
    following = Following(Keeper(b"one\ntwo\nxxx\nfour\n"), rings)
    assert following.bytes() == (0, b"one\ntwo\n", "datagrams")
    assert following.bytes() == (12, b"four\n", "datagrams")
    rings.add([(NAME, 8, b"xxx\n")])
    assert following.bytes() == (8, b"xxx\n", "datagrams")


def test_where_nothing_comes_the_master_is_asked() -> None:
    client = Keeper(log_of(20))
    following = Following(client)
    assert following.bytes() == (0, log_of(20)[:100], "master")
    assert following.bytes() == (100, log_of(20)[100:], "master")
    client.log += b"more\n"
    assert following.bytes() == (len(log_of(20)), b"more\n", "master")


def test_the_end_is_told_and_ends_the_stream() -> None:
    following = Following(Keeper(b"all\n", OVER))
    assert following.bytes() == (0, b"all\n", "master")
    assert following.next() == {"end": True, "final": False, "next": 0, "trouble": ""}
    assert following.next() == {"end": True, "final": True, "next": 0, "trouble": ""}
    assert [one for one in following.events if one != HEARTBEAT] == []


def test_a_further_attempt_is_told() -> None:
    client = Keeper(b"", replace(JOB, state="QUEUED", attempts=()))
    following = Following(client, name=NAME._replace(attempt=0))
    client.answers["job"] = JOB
    assert following.next()["next"] == 1


def test_a_master_that_is_away_is_told_and_its_coming_back_too() -> None:
    client = Keeper(b"hello\n")
    client.away = ConnectionFailed("no master answers")
    following = Following(client)
    assert following.next()["trouble"] == "no master answers"
    client.away = None
    assert following.bytes() == (0, b"hello\n", "master")
    assert following.next()["trouble"] == ""


def test_there_is_a_sign_of_life_while_nothing_happens() -> None:
    events = Following(Keeper(b"")).events
    assert next(events) == HEARTBEAT


def test_a_stream_goes_on_where_the_one_before_has_ended() -> None:
    dashboard = FakeDashboard(cast(Any, Keeper(log_of(5), OVER)))
    text = dashboard.browser.text(f"/api{PATH}/events?attempt=1&offset=0", Last_Event_ID="14")
    told = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    assert (told[0]["offset"], base64.b64decode(told[0]["data"])) == (14, log_of(5)[14:])
    assert told[-1]["final"] and f"id: {len(log_of(5))}\n" in text
