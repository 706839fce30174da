"""What commands print: hostile text stays text, tables align, JSON is JSON."""

from __future__ import annotations

import json
import time

import pytest

from titan_core.protocol.messages import (
    AttemptStatus,
    InstanceStatus,
    JobStatus,
    LogChunk,
    RunStatus,
    ServiceStatus,
    StateCount,
    WorkerStatus,
)
from titan_sdk.cli import rows, text
from titan_sdk.cli.log_output import last_lines, write_log
from titan_sdk.cli.output import Output
from titan_sdk.cli.tables import Column, fitting, plain_lines
from titan_sdk.services import key_of
from titan_test_suite.pytests.support.streams import Stream

HOSTILE = "[red]x[/red] \x1b[31m\x1b]0;title\x07\n\r\u202eevil\x9b2J"


def output(terminal: bool = False, **options) -> Output:
    environ = {"TERM": "xterm"}
    return Output(stdout=Stream(terminal), stderr=Stream(terminal), environ=environ, **options)


def job(job_id: str = "extract", state: str = "COMPLETED", **fields) -> JobStatus:
    return JobStatus("etl-20260101t000000-abcd", job_id, state, **fields)


def chunk(data: bytes, attempt: int = 1, offset: int = 0, **fields) -> LogChunk:
    return LogChunk("etl-1", "extract", attempt, offset, data, **fields)


# ── text ──────────────────────────────────────────────────────────────────────────────────────────


def test_clean_shows_what_does_not_print():
    assert text.clean("plain ünïcode 漢字") == "plain ünïcode 漢字"
    assert text.clean("a\nb\tc\x1b[0m\u202e\x9b") == "a\\nb\\tc\\x1b[0m\\u202e\\x9b"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-1, "0ms"),
        (0.0351, "35ms"),
        (0.9996, "1.0s"),
        (4.24, "4.2s"),
        (59.96, "1m00s"),
        (125, "2m05s"),
        (3599.6, "1h00m"),
        (3725, "1h02m"),
        (93600, "1d02h"),
    ],
)
def test_durations(seconds, shown):
    assert text.duration(seconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (512, "512 B"), (1024, "1.0 KiB"), (3565158, "3.4 MiB"), (1 << 50, "1024.0 TiB")]
)
def test_sizes(count, shown):
    assert text.size(count) == shown


def test_instants_are_local_and_say_the_day_when_it_is_another():
    now = time.mktime((2026, 5, 4, 12, 0, 0, 0, 0, -1))
    assert text.clock(0, now) == ""
    assert text.clock(now - 3600, now) == "11:00:00"
    assert text.clock(now - 86400, now) == "2026-05-03 12:00:00"


# ── tables ────────────────────────────────────────────────────────────────────────────────────────


def test_columns_align_also_with_wide_characters():
    columns = [Column("NAME", lambda row: row[0]), Column("N", lambda row: row[1], right=True)]
    assert plain_lines([("漢字", "1"), ("abcdef", "100")], columns) == ["NAME      N", "漢字      1", "abcdef  100"]


@pytest.mark.parametrize("terminal", [False, True])
def test_hostile_names_are_only_text_in_a_table(terminal):
    out = output(terminal, color=False)
    jobs = [job(HOSTILE, "DEAD", reason=HOSTILE)]
    out.listing(jobs, rows.key, rows.filled(jobs, rows.JOBS), "jobs")
    printed = out.stdout.text
    assert "[red]x[/red]" in printed
    assert len(printed.splitlines()) == 2 or terminal
    left = printed.replace("\x1b[1m", "").replace("\x1b[2m", "").replace("\x1b[0m", "") if terminal else printed
    assert not any(char in left for char in "\x1b\x07\r\u202e\x9b")


def test_where_there_is_no_room_minor_columns_are_left_out_before_names_are_cut():
    worker = WorkerStatus("build-host:8081", "ONLINE", ("GENERAL", "GPU"), 4, 1, memory_total=1 << 34, max_services=9)

    def titles(room):
        return [column.title for column in fitting([worker], rows.filled([worker], rows.WORKERS), room)]

    assert titles(100) == ["WORKER", "STATE", "LOAD", "SERVICES", "CAPABILITIES", "CPU", "MEMORY"]
    assert titles(65) == ["WORKER", "STATE", "LOAD", "SERVICES", "CAPABILITIES", "CPU"]
    assert titles(10) == ["WORKER", "STATE", "LOAD", "SERVICES", "CAPABILITIES"]


def test_no_color_means_no_colours():
    jobs = [job("a", "DEAD")]
    coloured, plain = output(True), output(True, color=False)
    for out in (coloured, plain):
        out.listing(jobs, rows.key, rows.JOBS, "jobs")
    assert "\x1b[31m" in coloured.stdout.text
    assert "\x1b[3" not in plain.stdout.text
    assert not Output(environ={"NO_COLOR": "1"}).color


def test_ids_alone_when_quiet():
    out = output(quiet=True)
    out.listing([job("a"), job("b")], rows.key, rows.JOBS, "jobs")
    out.say("nobody hears this")
    assert out.stdout.text == "etl-20260101t000000-abcd/a\netl-20260101t000000-abcd/b\n"
    assert out.stderr.text == ""


def test_empty_columns_are_left_out():
    titles = [column.title for column in rows.filled([job("a")], rows.JOBS)]
    assert titles == ["JOB", "STATE"]
    out = output()
    out.listing([], rows.key, rows.filled([], rows.JOBS), "jobs")
    assert (out.stdout.text, out.stderr.text) == ("", "no jobs\n")


def test_counts_are_in_the_order_of_life():
    values = (StateCount("DEAD", 1), StateCount("RUNNING", 2), StateCount("COMPLETED", 3), StateCount("QUEUED", 0))
    assert rows.counts(values) == "3 COMPLETED, 2 RUNNING, 1 DEAD"


def instance(job_id: str = "web", state: str = "RUNNING", **fields) -> InstanceStatus:
    return InstanceStatus(job_id, state, **fields)


def service(state: str = "READY", *instances: InstanceStatus, **fields) -> ServiceStatus:
    ready = sum(item.ready for item in instances)
    return ServiceStatus("site-1", "web", state, wanted=len(instances), ready=ready, instances=instances, **fields)


def table(items, columns) -> list[list[str]]:
    """The cells of the table, without the heading, as one reads them."""
    shown = rows.filled(items, columns)
    return [[column.cell(item) for column in shown] for item in items]


def test_a_service_is_a_row():
    began = time.time() - 90
    up = {"started_wall": began, "memory": 5 << 20, "cpu_percent": 1.5, "restarts": 2}
    found = service(
        "DEGRADED",
        instance(ready=True, worker="a:1", address="a:9100", **up),
        instance("web.2", ready=True, worker="b:1", address="b:9100", **up),
        instance("web.3", "FAILED", reason="exit code 1", worker="c:1", started_wall=1.0, memory=9, restarts=4),
        reason="web.3: exit code 1",
        port=9100,
    )
    assert table([found], rows.SERVICES) == [
        [
            "site-1/web",
            "DEGRADED",
            "2/3",
            "a:9100, b:9100",
            "8",
            "3%",
            "10.0 MiB",
            "a:1, b:1",
            "1m30s",
            "web.3: exit code 1",
        ]
    ]
    assert table(found.instances, rows.INSTANCES)[2] == [
        "web.3",
        "FAILED",
        "no",
        "",
        "4",
        "",
        "",
        "c:1",
        "",
        "exit code 1",
    ]


@pytest.mark.parametrize(("port", "shown"), [(0, ""), (-1, "auto"), (9100, ":9100")])
def test_where_a_service_will_answer(port, shown):
    assert rows.where(service("STARTING", instance(reason="starting"), port=port)) == shown


def test_many_addresses_are_cut_short():
    many = [instance(f"web.{n}", ready=True, address=f"h:{n}") for n in range(2, 9)]
    assert rows.where(service("READY", *many)) == "h:2, h:3, h:4 and 4 more"


def test_kinds_of_workers():
    workers = [
        WorkerStatus("a:1", "ONLINE", slots=4, used=1, permanent=True, max_services=32, services=("r/web",)),
        WorkerStatus(
            "a:2", "ONLINE", slots=4, ephemeral=True, parent="a:1", max_services=32, started_wall=time.time()
        ),
        WorkerStatus("a:3", "DRAINING", slots=4, max_services=32),
    ]
    titles = [column.title for column in rows.filled(workers, rows.WORKERS)]
    assert titles == ["WORKER", "STATE", "KIND", "LOAD", "SERVICES", "CPU", "PARENT", "AGE"]
    first, second, third = table(workers, rows.WORKERS)
    assert first[1:5] == ["ONLINE", "permanent", "1/4", "1/32"]
    assert (second[2], second[6]) == ("ephemeral", "a:1") and second[7].endswith("ms")
    assert third[2] == ""


@pytest.mark.parametrize("terminal", [False, True])
def test_hostile_services_are_only_text(terminal):
    out = output(terminal, color=False)
    found = [service("READY", instance(ready=True, address=HOSTILE, worker=HOSTILE), reason=HOSTILE)]
    out.listing(found, key_of, rows.filled(found, rows.SERVICES), "services")
    printed = out.stdout.text
    left = printed.replace("\x1b[1m", "").replace("\x1b[2m", "").replace("\x1b[0m", "") if terminal else printed
    assert not any(char in left for char in "\x1b\x07\r\u202e\x9b")


@pytest.mark.parametrize(
    ("state", "colour"),
    [("READY", 32), ("DEGRADED", 33), ("UPDATING", 36), ("STARTING", 36), ("WAITING", 2), ("CRASHLOOP", 31)],
)
def test_states_of_services_have_colours(state, colour):
    out = output(True)
    out.listing([service(state)], key_of, rows.SERVICES, "services")
    assert f"\x1b[{colour}m{state}" in out.stdout.text


# ── JSON ──────────────────────────────────────────────────────────────────────────────────────────


def test_messages_become_objects():
    out = output(json=True)
    attempt = AttemptStatus(1, "host:1", "FAILED", 3, HOSTILE, 100.5, 0.0, 7)
    out.record(RunStatus("r", "n", "RUNNING", 4, (StateCount("DEAD", 1),), 99.5, jobs=(job(attempts=(attempt,)),)))
    printed = out.stdout.text
    assert printed.isascii() and printed.count("\n") == 1 and "\x1b" not in printed
    value = json.loads(printed)
    assert value["counts"] == {"DEAD": 1}
    assert value["finished_wall"] is None and value["submitted_wall"] == 99.5
    assert value["jobs"][0]["exit_code"] is None
    assert value["jobs"][0]["attempts"][0]["exit_code"] == 3
    assert value["jobs"][0]["attempts"][0]["reason"] == HOSTILE


def test_an_error_is_an_object_too():
    from titan_core.errors import NotFound

    out = output(json=True)
    out.error(NotFound("no such job"), "no such job")
    assert json.loads(out.stderr.text)["error"] == {"code": "NOT_FOUND", "message": "no such job", "details": {}}


# ── logs ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_pipe_gets_the_bytes_as_they_are():
    out = output()
    data = b"\x1b[2J\xff\x00 raw\r\n"
    write_log(out, [chunk(data[:3]), chunk(data[3:], offset=3)])
    assert out.stdout.buffer.getvalue() == data


def test_a_terminal_gets_colours_but_no_cursor_movements_or_titles():
    out = output(True)
    data = "\x1b[31mred\x1b[0m \x1b[2J\x1b]0;owned\x07 caf\u00e9 \u202e\n".encode()
    write_log(out, [chunk(bytes([byte]), offset=at) for at, byte in enumerate(data)])
    assert "\x1b[31mred\x1b[0m" in out.stdout.text
    assert "caf\u00e9" in out.stdout.text
    assert "\x1b[2J" not in out.stdout.text and "\x1b]" not in out.stdout.text and "\u202e" not in out.stdout.text


def test_a_terminal_is_left_on_a_new_line_without_colour():
    out = output(True)
    write_log(out, [chunk(b"\x1b[31mno end")])
    assert out.stdout.text.endswith("\x1b[0m\n")


def test_json_lines_say_where_each_line_is_from():
    out = output(json=True)
    write_log(out, [chunk(b"one\ntw"), chunk(b"o\nend", offset=6), chunk(b"again\n", attempt=2)])
    lines = [json.loads(line) for line in out.stdout.text.splitlines()]
    assert [(line["attempt"], line["line"]) for line in lines] == [(1, "one"), (1, "two"), (1, "end"), (2, "again")]
    assert lines[0]["run_id"] == "etl-1" and lines[0]["job_id"] == "extract"


class GrowingLog:
    """Serves `data` like a master, in pieces; grows by `more` between the first look and the following."""

    def __init__(self, data: bytes, more: bytes = b"", piece: int = 1000) -> None:
        self.data, self.more, self.piece = data, more, piece

    def log_chunks(self, key, attempt=0, follow=False, tail_bytes=0):
        if follow:
            self.data += self.more
        start = max(0, len(self.data) - tail_bytes) if tail_bytes else 0
        for offset in range(start, len(self.data), self.piece):
            yield chunk(self.data[offset : offset + self.piece], offset=offset)


@pytest.mark.parametrize("lines", [0, 1, 3, 5000])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_the_last_lines(lines, end):
    log = [b"line %d" % number for number in range(20_000)]
    data = b"\n".join(log) + end
    chunks = list(last_lines(GrowingLog(data), "k", 0, False, lines))
    wanted = b"\n".join(log[len(log) - lines :]) + end if lines else b""
    assert b"".join(item.data for item in chunks) == wanted


@pytest.mark.parametrize("more", [b"", b"x", b"new\n" * 10_000])
def test_following_begins_where_the_last_lines_end(more):
    chunks = last_lines(GrowingLog(b"one\ntwo\nthree\n", more), "k", 0, True, 2)
    assert b"".join(item.data for item in chunks) == b"two\nthree\n" + more


def test_the_last_lines_of_nothing():
    assert list(last_lines(GrowingLog(b""), "k", 0, False, 5)) == []
    assert b"".join(c.data for c in last_lines(GrowingLog(b"", b"new"), "k", 0, True, 5)) == b"new"
