"""The commands for schedules: how they are typed and explained, and what is shown of made-up schedules and fires."""

from __future__ import annotations

import json
import shlex
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from titan_core.protocol import schedule_checks
from titan_core.protocol.messages import Alert, FireStatus, JobSpec, ScheduleStatus, Task, Timing
from titan_core.scheduler.states import CatchUp, FireOutcome, Overlap
from titan_core.timetable import upcoming
from titan_sdk.cli import rows, schedule_rows, states
from titan_sdk.cli.command_table import COMMANDS, FAMILIES, named_by, next_words
from titan_sdk.cli.completion import Completer
from titan_sdk.cli.main import main
from titan_sdk.cli.output import Output
from titan_sdk.cli.parsing import parser
from titan_sdk.cli.schedule_progress import Lines, told
from titan_test_suite.pytests.support.streams import Stream

HOSTILE = "[red]x[/red] \x1b[31m\x1b]0;title\x07\n\r\u202eevil"
NOW = datetime(2026, 3, 27, 12, 0, tzinfo=UTC).timestamp()
BERLIN = Timing("30 2 * * *", timezone="Europe/Berlin")


def read(line: str):
    return parser().parse_args(shlex.split(line))


def output(**options) -> Output:
    return Output(stdout=Stream(), stderr=Stream(), environ={"TERM": "xterm"}, **options)


def table(items, columns) -> list[list[str]]:
    shown = rows.filled(items, columns)
    return [[column.title for column in shown], *([column.cell(item) for column in shown] for item in items)]


# ── typing ────────────────────────────────────────────────────────────────────────────────────────


def test_the_forms_of_the_commands():
    options = read('schedule add n a.py GPU --cron "0 2 * * *" --timezone UTC --paused --retries 2 --name j -- --x 1')
    assert (options.command, options.schedule, options.file) == ("schedule add", "n", "a.py")
    assert (options.capability, options.cron, options.timezone) == ("GPU", "0 2 * * *", "UTC")
    assert (options.paused, options.seconds, options.overlap) == (True, None, None)
    assert (options.retries, options.name, options.program_args) == (2, "j", ["--x", "1"])
    options = read("schedule add n p.yaml --every 15m --jitter 30s --catch-up all --catch-up-window 1d --no-update")
    assert (options.every, options.jitter, options.catch_up_window) == (900, 30, 86400)
    assert (options.catch_up, options.no_update, options.cron) == ("all", True, None)
    assert read("schedule add p.yaml").file is None
    assert read("schedule next n -n 3").limit == 3
    assert read("schedule next --at 2026-12-24").schedule is None
    assert read("schedule history n --outcome missed").outcome == "MISSED"
    assert read("schedule backfill n --from 2026-01-01 --to 2026-01-02 --wait").first == "2026-01-01"
    assert read("schedule backfill n --cancel").cancel
    assert read("schedule pause n --reason 'not now'").reason == "not now"
    assert read("schedule trigger n --wait").wait
    assert read("apply x --no-update").no_update
    assert [read(f"schedule {name} n").schedule for name in ("show", "resume", "rm")] == ["n"] * 3
    assert read("schedules").command == "schedules"


@pytest.mark.parametrize("line", ["--json schedule ls", "schedule --json ls", "schedule ls --json"])
def test_flags_hold_wherever_they_stand(line):
    assert (read(line).json, read(line).command, read(line).quiet) == (True, "schedule ls", False)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("schedule", "say which: add, ls, show,"),
        ("schedule lss", "there is no command 'schedule lss'; did you mean 'schedule ls'?"),
        ("schedule '\x1b[2J'", "there is no command 'schedule \\x1b[2J'"),
        ("shedule ls", "did you mean 'schedule'?"),
        ("schedule show", "required: NAME"),
        ("schedule show ''", "NAME: it is empty"),
        ("schedule ls x", "unrecognized arguments: x"),
        ("schedule add n a.py --cron x --every 5", "not allowed with argument"),
        ("schedule add n a.py --every soon", "'soon' is not a duration"),
        ("schedule add n a.py --every 5 --overlap no", "invalid choice: 'no'"),
        ("schedule add n a.py --every 5 --catch-up some", "invalid choice: 'some'"),
        ("schedule add n a.py --every 5 --retries few", "'few' is not a whole number from 0"),
        ("schedule history n --outcome lost", "invalid choice: 'LOST'"),
        ("schedule history n -n 0", "'0' is not a whole number from 1"),
        ("schedule next n -- x", "unrecognized arguments"),
    ],
)
def test_a_mistake_is_named_and_exits_with_2(line, said, capsys):
    with pytest.raises(SystemExit) as exit:
        read(line)
    printed = capsys.readouterr()
    assert exit.value.code == 2
    assert said in printed.err and "try: titan help" in printed.err and "\x1b" not in printed.err
    assert printed.out == ""


def test_help(capsys):
    assert main(["help", "schedule"]) == 0
    family = capsys.readouterr().out
    names = [name for name in COMMANDS if name.startswith("schedule ")]
    assert len(names) == 10 and all(f"  {name} " in family for name in names)
    assert main(["help", "schedule", "backfill"]) == 0
    assert "usage: titan schedule backfill [FLAGS] NAME\n" in capsys.readouterr().out
    with pytest.raises(SystemExit) as exit:
        main(["schedule", "--help"])
    assert exit.value.code == 0 and capsys.readouterr().out == family
    with pytest.raises(SystemExit):
        main(["schedule", "rm", "-h"])
    assert "titan schedule rm [FLAGS] NAME" in capsys.readouterr().out
    assert main(["help", "schedule", "lss"]) == 4
    assert "did you mean 'schedule ls'?" in capsys.readouterr().err


def test_names_of_one_word_and_of_two():
    assert FAMILIES == ("schedule",)
    assert named_by(["schedule", "ls", "x"]) is COMMANDS["schedule ls"]
    assert named_by(["ls", "schedule"]) is COMMANDS["ls"]
    assert named_by(["schedule"]) is named_by(["schedule", "what"]) is named_by([]) is None
    assert next_words(["schedule"])[:2] == ["add", "ls"]
    assert next_words([]).count("schedule") == 1 and "schedules" in next_words([])
    assert next_words(["ls"]) == next_words(["schedule", "ls"]) == []


class Scheduled:
    """A connection to a master with two schedules."""

    @property
    def client(self):
        return self

    def schedules(self):
        return (ScheduleStatus("nightly", "ACTIVE", BERLIN), ScheduleStatus("poll", "ACTIVE", BERLIN))


@pytest.mark.parametrize(
    ("before", "text", "offers"),
    [
        ("", "sched", ["schedule ", "schedules "]),
        ("schedule ", "r", ["resume ", "rm "]),
        ("schedule show ", "", ["nightly ", "poll "]),
        ("schedule pause ", "n", ["nightly "]),
        ("schedule pause ", "--re", ["--reason "]),
        ("schedule what ", "", []),
        ("schedule ls ", "", []),
        ("help schedule ", "ba", ["backfill "]),
        ("help ", "ver", ["version "]),
    ],
)
def test_what_tab_offers(before, text, offers):
    assert Completer(Scheduled()).offers(before, text) == offers  # type: ignore[arg-type]


def test_the_words_of_the_commands_are_those_of_the_protocol():
    assert set(states.FIRE_OUTCOMES) == {outcome.value for outcome in FireOutcome}
    assert states.OVERLAPS == schedule_checks.OVERLAPS == tuple(overlap.value for overlap in Overlap)
    assert states.CATCH_UPS == schedule_checks.CATCH_UPS == tuple(choice.value for choice in CatchUp)


# ── instants and durations ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("moment", "zone", "shown"),
    [
        ("2026-11-26T01:00:00", "Europe/Berlin", "2026-11-26 02:00 CET (01:00 UTC)"),
        ("2026-07-01T22:30:05", "Europe/Berlin", "2026-07-02 00:30:05 CEST (2026-07-01 22:30:05 UTC)"),
        ("2026-11-26T01:00:00", "UTC", "2026-11-26 01:00 UTC"),
        ("2026-11-26T01:00:00", "Nowhere/Here", "2026-11-26 01:00 UTC"),
    ],
)
def test_a_slot_is_shown_in_its_zone(moment, zone, shown):
    assert schedule_rows.slot(datetime.fromisoformat(moment + "+00:00").timestamp(), zone) == shown


def test_how_far_away():
    assert schedule_rows.ahead(NOW + 10925, NOW) == "in 3h02m"
    assert schedule_rows.ahead(NOW, NOW) == "now"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(900, "15m"), (90, "90s"), (5400, "90m"), (604800, "7d"), (7200, "2h"), (0, "0s"), (1.5, "1.5s")],
)
def test_durations_are_shown_as_one_writes_them(seconds, shown):
    assert schedule_rows.period(seconds) == shown


# ── tables ────────────────────────────────────────────────────────────────────────────────────────


def fire(hour: int, outcome: str = "RAN", **fields) -> FireStatus:
    wall = time.mktime((2026, 3, 2, hour, 0, 0, 0, 0, -1))
    decided = {"decided_wall": wall + 1, "finished_wall": wall + 61} if outcome == "RAN" else {}
    return FireStatus("nightly", wall, fields.pop("kind", "schedule"), outcome, **decided, **fields)


def schedule(state: str = "ACTIVE", **fields) -> ScheduleStatus:
    defaults = {"overlap": "skip", "catch_up": "last", "catch_up_window_s": 604800.0, "job_count": 1}
    return ScheduleStatus("nightly", state, fields.pop("timing", BERLIN), **{**defaults, **fields})


def test_schedules_are_rows():
    first = schedule(last=(fire(2, run_state="FAILED"),), live=("a", "b"), queued=3, next_wall=fire(4).slot_wall)
    second = schedule("PAUSED", reason="moved", timing=Timing(every_s=900.0), last=(fire(3, "MISSED"),))
    assert table([first, second], schedule_rows.SCHEDULES) == [
        ["SCHEDULE", "STATE", "WHEN", "ZONE", "NEXT", "LAST", "RUNNING", "QUEUED", "JOBS", "REASON"],
        [
            "nightly",
            "ACTIVE",
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-02 04:00:00",
            "FAILED 2026-03-02 02:00:00",
            "2",
            "3",
            "1",
            "",
        ],
        ["nightly", "PAUSED", "every 15m", "UTC", "", "MISSED 2026-03-02 03:00:00", "", "", "1", "moved"],
    ]
    assert schedule_rows.when(Timing(at="2026-12-24T18:00")) == "at 2026-12-24T18:00"


def test_what_there_is_to_say_of_a_schedule():
    timing = Timing("30 2 * * *", timezone="Europe/Berlin", jitter_s=90.0, start="2026-01-01", end="2027-01-01")
    notify = JobSpec("notify", Task("p.zip", entry="n.py"))
    told = schedule(
        timing=timing, next_wall=NOW, on_missed=Alert("https://host/x"), on_failure=Alert(jobs=(notify,)), revision=2
    )
    facts = {name: value for name, value in schedule_rows.facts(told) if value}
    assert facts["when"] == "30 2 * * *" and facts["jitter"] == "90s"
    assert (facts["start"], facts["end"]) == ("2026-01-01", "2027-01-01")
    assert facts["catch-up"] == "last, of the past 7d"
    assert (facts["on missed"], facts["on failure"]) == ("https://host/x", "job notify (p.zip/n.py)")
    assert facts["next"].startswith("2026-03-27 13:00 CET (12:00 UTC), ")
    bare = {name for name, value in schedule_rows.facts(schedule(catch_up="none")) if value}
    assert bare == {"schedule", "state", "when", "timezone", "overlap", "catch-up", "revision"}


def test_the_jobs_of_a_schedule_are_rows():
    jobs = [JobSpec("a", Task("a.py", args=("--day", "1"))), JobSpec("b", Task("p.zip", entry="b.py"), ("a",))]
    assert table(jobs, schedule_rows.JOBS) == [
        ["JOB", "FILE", "ARGS", "REQUIREMENT", "AFTER"],
        ["a", "a.py", "--day 1", "GENERAL", ""],
        ["b", "p.zip/b.py", "", "GENERAL", "a"],
    ]


def test_fires_are_rows():
    fires = [
        fire(6, "QUEUED", reason="waits for its turn", made_up=True),
        fire(5, run_id="r-5", run_state="FAILED", alert="sent"),
        fire(4, kind="trigger", run_id="r-4", run_state="COMPLETED"),
        fire(3, run_id="r-3", run_state="COMPLETED", made_up=True, reason="made up for"),
        fire(1, "MISSED", reason="there was no master", until_wall=fire(2).slot_wall),
    ]
    day = "2026-03-02"
    assert table(fires, schedule_rows.FIRES) == [
        ["DUE", "OUTCOME", "KIND", "RUN", "STATE", "BEGAN", "TIME", "ALERT", "REASON"],
        [f"{day} 06:00:00", "QUEUED", "made up", "", "", "", "", "", "waits for its turn"],
        [f"{day} 05:00:00", "RAN", "", "r-5", "FAILED", f"{day} 05:00:01", "1m00s", "sent", ""],
        [f"{day} 04:00:00", "RAN", "by hand", "r-4", "COMPLETED", f"{day} 04:00:01", "1m00s", "", ""],
        [f"{day} 03:00:00", "RAN", "made up", "r-3", "COMPLETED", f"{day} 03:00:01", "1m00s", "", ""],
        [f"{day} 01:00:00 – {day} 02:00:00", "MISSED", "", "", "", "", "", "", "there was no master"],
    ]


def test_what_is_due_next_is_rows(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: NOW)
    found = upcoming(BERLIN, NOW, 3)
    assert table(found, schedule_rows.UPCOMING) == [
        ["LOCAL", "UTC", "IN", "NOTE"],
        ["2026-03-28 02:30 CET", "2026-03-28 01:30", "13h30m", ""],
        ["2026-03-29 03:00 CEST", "2026-03-29 01:00", "1d13h", "clocks go forward 1h before this"],
        ["2026-03-30 02:30 CEST", "2026-03-30 00:30", "2d12h", ""],
    ]
    autumn = upcoming(BERLIN, NOW + timedelta(days=211).total_seconds(), 2)
    assert table(autumn, schedule_rows.UPCOMING)[2][-1] == "clocks go back 1h before this"
    assert schedule_rows.record(found[0]) == {
        "slot_wall": 1774661400,
        "local": "2026-03-28T02:30:00+01:00",
        "utc": "2026-03-28T01:30:00Z",
        "shift_s": 0,
    }


@pytest.mark.parametrize(
    ("state", "colour"),
    [("ACTIVE", 32), ("PAUSED", 33), ("RAN", 32), ("SKIPPED", 33), ("MISSED", 31), ("FINISHED", 2)],
)
def test_states_of_schedules_and_fires_have_colours(state, colour):
    out = Output(stdout=Stream(True), stderr=Stream(True), environ={"TERM": "xterm"})
    out.listing([schedule(state)], lambda item: item.name, schedule_rows.SCHEDULES, "schedules")
    assert f"\x1b[{colour}m{state}" in out.stdout.text


def test_hostile_texts_are_only_text():
    out = output()
    job = JobSpec(HOSTILE, Task(HOSTILE, args=(HOSTILE,)))
    out.listing([schedule(HOSTILE, reason=HOSTILE)], lambda item: item.name, schedule_rows.SCHEDULES, "schedules")
    out.listing([fire(1, HOSTILE, reason=HOSTILE, run_id=HOSTILE)], str, schedule_rows.FIRES, "fires")
    out.listing([job], str, schedule_rows.JOBS, "jobs")
    assert len(out.stdout.text.splitlines()) == 6
    assert not any(char in out.stdout.text for char in "\x1b\x07\r\u202e")


# ── progress of a backfill ────────────────────────────────────────────────────────────────────────


def progress(fires: list[FireStatus], **options) -> Output:
    out, ended = output(**options), Counter[str]()
    lines = Lines(out, len(fires))
    for item in fires:
        ended[schedule_rows.outcome(item)] += 1
        lines.update(item, ended)
    return out


def test_each_run_of_a_backfill_is_told():
    fires = [fire(1, run_id="r-1", run_state="COMPLETED"), fire(2, "SKIPPED", reason="cancelled", run_id="r-2")]
    told_lines = [line.split("  ", 1)[1] for line in progress(fires).stderr.text.splitlines()]
    assert told_lines == ["1 of 2 over  r-1 COMPLETED", "2 of 2 over  r-2 SKIPPED: cancelled"]
    records = [json.loads(line) for line in progress(fires, json=True).stdout.text.splitlines()]
    assert [item["run_id"] for item in records] == ["r-1", "r-2"]
    assert progress(fires, quiet=True).stderr.text == ""


def test_of_a_large_backfill_each_tenth_is_told():
    fires = [fire(1, run_id="r", run_state="COMPLETED") for _ in range(500)]
    fires[7] = fire(1, run_id="bad", run_state="FAILED")
    lines = progress(fires).stderr.text.splitlines()
    assert len(lines) == 11 and sum("bad FAILED" in line for line in lines) == 1
    assert told(Counter(COMPLETED=2, FAILED=1)) == "2 COMPLETED, 1 FAILED"


# ── without a master ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No master can be found."""
    for name in ("TITAN_MASTER", "TITAN_TOKEN", "TITAN_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TITAN_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def test_an_expression_can_be_tried(nowhere, capsys):
    line = ["schedule", "next", "--cron", "30 2 * * 0", "--timezone", "Europe/Berlin", "-n", "60", "--jitter", "30s"]
    assert main(line) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 61 and "clocks go forward 1h before this" in printed.out
    assert "each is put off by up to 30s (jitter)" in printed.err
    assert main([*line, "--json"]) == 0
    assert [due["shift_s"] for due in json.loads(capsys.readouterr().out) if due["shift_s"]]
    assert main(["schedule", "next", "--every", "15m", "-n", "2", "-q"]) == 0
    first, second = map(datetime.fromisoformat, capsys.readouterr().out.split())
    assert (second - first).total_seconds() == 900
    assert main(["schedule", "next", "--at", "2020-01-01"]) == 0
    assert capsys.readouterr().err == "no further fires\n"


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("schedule next", 2, "name a schedule, or say when with --cron, --every or --at"),
        ("schedule next nightly --every 5", 2, "name a schedule, or say when"),
        ("schedule next --timezone UTC", 3, "a schedule needs a time"),
        ("schedule next --cron '0 0 31 2 *'", 3, "cron '0 0 31 2 *' is never due"),
        ("schedule next --cron '0 2 * * *' --timezone Berlin", 3, "did you mean Europe/Berlin"),
        ("schedule add nightly", 2, "say what nightly is to run: titan schedule add nightly FILE"),
        ("schedule add nightly a.py", 2, "say when it is due: --cron, --every or --at"),
        ("schedule add nightly ./a.py --every 5", 4, "there is no file './a.py'"),
        ("schedule add a/b run.py --every 5", 3, "name 'a/b' can not be used"),
        ("schedule add n run.py --every 5 --on-missed ftp://x/y", 3, "on_missed: webhook 'ftp://x/y' can not"),
        ("schedule add n run.py --every 5 --on-missed ./no.py", 4, "on_missed: job 'no': there is no file"),
        ("schedule add n plain.yaml", 3, "a schedule needs a time: give it 'cron', 'every' or 'at'"),
        ("schedule add n plain.yaml --every 5 --retries 3", 2, "--retries is for a single file; the jobs of a"),
        ("schedule add n plain.yaml GPU --every 5", 2, "GPU is for a single file"),
        ("schedule add n plain.yaml --every 5 -- x", 2, "x is for a single file"),
        ("schedule add n timed.yaml --cron 'x y'", 3, "titan: cron 'x y' has 2 fields"),
        ("schedule backfill n", 2, "say --from TIME and --to TIME, or --cancel alone"),
        ("schedule backfill n --from 2026-01-01", 2, "say --from TIME and --to TIME"),
        ("schedule backfill n --cancel --to 2026-01-01", 2, "or --cancel alone"),
        ("schedule backfill n --cancel --wait", 2, "or --cancel alone"),
        ("apply timed.yaml --wait", 2, "timed.yaml has a schedule, which starts no run now: leave out --wait"),
        ("deploy timed.yaml --wait", 2, "or fire it with: titan schedule trigger timed --wait"),
        ("apply plain.yaml --no-update", 2, "--no-update is for a pipeline with 'schedule:'"),
        ("run timed.yaml", 3, "timed.yaml is a pipeline, run takes one file; try: titan apply timed.yaml"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anybody_is_asked(nowhere, tmp_path, capsys, line, code, said):
    (tmp_path / "run.py").write_text("print(1)\n")
    (tmp_path / "plain.yaml").write_text("jobs: [{id: a, file: run.py}]\n")
    (tmp_path / "timed.yaml").write_text("schedule: 0 2 * * *\njobs: [{id: a, file: run.py}]\n")
    assert main(shlex.split(line)) == code
    printed = capsys.readouterr()
    assert said in printed.err and printed.err.count("\n") == 1
    assert printed.out == ""
