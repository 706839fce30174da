"""How a run is shown while one waits for it."""

from __future__ import annotations

import json
import time

from titan_core.protocol.messages import JobStatus, RunStatus, StateCount
from titan_sdk.cli.output import Output
from titan_sdk.cli.progress import MANY, change_line, most_telling, show
from titan_sdk.cli.text import clock
from titan_test_suite.pytests.support.streams import Stream


def job(job_id: str, state: str, **fields) -> JobStatus:
    return JobStatus("etl-1", job_id, state, final=state in ("COMPLETED", "DEAD", "CANCELLED"), **fields)


def status(state: str, *jobs: JobStatus, **counts: int) -> RunStatus:
    return RunStatus(
        "etl-1",
        "etl",
        state,
        1,
        tuple(StateCount(name, count) for name, count in counts.items()),
        time.time(),
        jobs=jobs,
        final=state != "RUNNING",
    )


STORY = [
    status("RUNNING", job("a", "QUEUED", reason="no worker has GPU"), job("b", "BLOCKED"), QUEUED=1, BLOCKED=1),
    status("RUNNING", job("a", "RUNNING", worker="host:1", started_wall=1.0), RUNNING=1, BLOCKED=1),
    status("RUNNING", job("a", "RUNNING", worker="host:1", started_wall=1.0), RUNNING=1, BLOCKED=1),
    status(
        "FAILED",
        job("a", "DEAD", exit_code=3, reason="exit 3\x1b[2J"),
        job("b", "CANCELLED", reason="a is DEAD"),
        DEAD=1,
        CANCELLED=1,
    ),
]


def output(terminal: bool = False, **options) -> Output:
    return Output(stdout=Stream(terminal), stderr=Stream(terminal), environ={"TERM": "xterm"}, **options)


def test_lines_tell_each_change_once():
    out = output()
    assert show(out, iter(STORY)) is STORY[-1]
    told = [line.split("  ")[1:] for line in out.stderr.text.splitlines()]
    assert told == [
        ["a", "QUEUED", "no worker has GPU"],
        ["a", "RUNNING", "on host:1"],
        ["a", "DEAD", "exit 3\\x1b[2J"],
        ["b", "CANCELLED", "a is DEAD"],
    ]
    assert out.stdout.text == ""


def test_a_line_has_the_time_of_the_change_not_of_the_telling():
    began, ended = time.time() - 86400, time.time() - 3600
    running = job("a", "RUNNING", started_wall=began)
    dead = job("a", "DEAD", started_wall=began, finished_wall=ended)
    assert [change_line(item).split("  ")[0] for item in (running, dead)] == [clock(began), clock(ended)]


def test_a_large_run_is_told_in_tenths_with_its_deaths():
    out = output()
    total = MANY * 5

    def story():
        yield status("RUNNING", *(job(f"j{n}", "QUEUED") for n in range(total)), QUEUED=total)
        for n in range(total):
            state = "DEAD" if n == 17 else "COMPLETED"
            yield status("RUNNING", job(f"j{n}", state), QUEUED=total - n - 1, COMPLETED=n + 1)

    show(out, story())
    lines = out.stderr.text.splitlines()
    assert len(lines) == 11
    assert "j17" in lines[0] and f"{total} of {total} jobs over" in lines[-1]


def test_json_lines_hold_each_change_and_the_end():
    out = output(json=True)
    show(out, iter(STORY))
    records = [json.loads(line) for line in out.stdout.text.splitlines()]
    assert [record.get("job_id") for record in records] == ["a", "b", "a", "a", "a", "b", None]
    assert records[-1]["state"] == "FAILED" and records[-1]["counts"] == {"DEAD": 1, "CANCELLED": 1}
    assert out.stderr.text == ""


def test_quiet_shows_nothing():
    out = output(quiet=True)
    show(out, iter(STORY))
    assert out.stderr.text == out.stdout.text == ""


def test_a_terminal_ends_with_every_job_in_its_last_state():
    out = output(True, color=False)
    show(out, iter(STORY))
    last = out.stderr.text.rpartition("etl-1")[2]
    assert "2/2" in last and "DEAD" in last and "CANCELLED" in last
    assert "\x1b[2J" not in out.stderr.text
    assert out.stdout.text == ""


def test_where_there_is_no_room_what_happens_now_comes_first():
    jobs = [job(f"done{n}", "COMPLETED", finished_wall=float(n)) for n in range(9)]
    jobs += [job("now", "RUNNING"), job("broken", "DEAD"), job("later", "BLOCKED")]
    assert [item.job_id for item in most_telling(jobs, 3)] == ["done8", "now", "broken"]
    assert most_telling(jobs, 50) == jobs
