"""Schedules as a program and as a pipeline file say them: every key, and every mistake with its file and line."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from titan_core.errors import Conflict, InvalidRequest, NotFound
from titan_core.protocol.messages import Timing
from titan_sdk import TitanJob
from titan_sdk.contents import Contents
from titan_sdk.errors import PipelineError
from titan_sdk.pipeline import load, located, prepared, rescheduled
from titan_sdk.schedule_fields import FIELDS, Schedule, schedule_of, schedule_spec

JOBS = "jobs: [{id: a, file: a.py}]\n"
CRON = {"cron": "0 2 * * *"}
URL = "https://host:8000/hook"


def write(folder: Path, schedule: str, name: str = "nightly") -> Path:
    """A pipeline whose schedule begins in line 3, or in line 2 where it is on the line of its key."""
    path = folder / "p.yaml"
    separator = "\n" if schedule.startswith(" ") else " "
    path.write_text(f"name: {name}\nschedule:{separator}{schedule}\n{JOBS}")
    return path


# ── fields ────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_not_said_has_its_default() -> None:
    schedule = schedule_of({**CRON, "timezone": None, "on_missed": None, "paused": None})
    assert schedule == Schedule(cron="0 2 * * *")
    assert schedule.timing() == Timing("0 2 * * *", timezone="UTC")


def test_every_field_as_a_program_gives_it() -> None:
    notify = TitanJob("notify", "notify.py")
    schedule = schedule_of(
        {
            "every": timedelta(minutes=15),
            "timezone": "Europe/Berlin",
            "jitter": "1.5m",
            "start": datetime(2026, 12, 1, 8, tzinfo=UTC),
            "end": date(2027, 12, 1),
            "seconds": False,
            "paused": True,
            "overlap": "replace",
            "catch_up": "none",
            "catch_up_window": 3600,
            "on_missed": {"webhook": URL},
            "on_failure": {"job": notify},
        }
    )
    assert schedule == Schedule(
        every=900.0,
        timezone="Europe/Berlin",
        jitter=90.0,
        start="2026-12-01T08:00:00+00:00",
        end="2027-12-01",
        paused=True,
        overlap="replace",
        catch_up="none",
        catch_up_window=3600.0,
        on_missed=URL,
        on_failure=notify,
    )


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        (URL, URL),
        ({"webhook": URL, "job": None}, URL),
        (TitanJob("n", "n.py"), TitanJob("n", "n.py")),
        ({"job": {"file": "n.py", "args": "a b"}}, TitanJob("n", "n.py", args=["a", "b"])),
    ],
)
def test_who_is_told(told: object, meant: object) -> None:
    assert schedule_of({**CRON, "on_missed": told}).on_missed == meant


@pytest.mark.parametrize(
    ("fields", "field", "problem"),
    [
        ({}, "schedule", "a schedule needs a time: give it 'cron', 'every' or 'at'"),
        ({"cron": None}, "schedule", "a schedule needs a time"),
        (
            {**CRON, "every": 5},
            "every",
            "a schedule has one of 'cron', 'every' and 'at'; take 'every' away, or 'cron'",
        ),
        ({"cron": ""}, "cron", "cron must be a string such as '0 2 * * *', not the string ''"),
        ({"cron": 5}, "cron", "cron must be a string"),
        ({"every": 0}, "every", "every must be at least a second, not the number 0"),
        ({"every": timedelta(0)}, "every", "every must be at least a second"),
        ({"every": "soon"}, "every", "every must be a number, or a number with a unit"),
        ({"every": float("inf")}, "every", "every must be a finite number"),
        ({"at": 20261224}, "at", "at must be an instant such as '2026-12-24T18:00'"),
        ({**CRON, "start": ""}, "start", "start must be an instant"),
        ({**CRON, "timezone": 1}, "timezone", "timezone must be the name of a time zone"),
        ({**CRON, "seconds": "yes"}, "seconds", "seconds must be true or false"),
        ({**CRON, "overlap": "no"}, "overlap", "overlap must be 'skip', 'queue', 'allow' or 'replace'"),
        ({**CRON, "catch_up": True}, "catch_up", "catch_up must be 'none', 'last' or 'all', not true"),
        ({**CRON, "jiter": 1}, "jiter", "there is no field 'jiter'; did you mean 'jitter'?"),
        ({**CRON, "on_missed": ""}, "on_missed", "on_missed must be a URL, or a mapping"),
        ({**CRON, "on_missed": {}}, "on_missed", "on_missed must name a webhook or a job, one of the two"),
        ({**CRON, "on_missed": {"webhook": URL, "job": "x"}}, "on_missed", "one of the two"),
        ({**CRON, "on_missed": {"url": URL}}, "url", "there is no field 'url'"),
        ({**CRON, "on_missed": {"webhook": 5}}, "on_missed", "on_missed: webhook must be a URL, not the number 5"),
        ({**CRON, "on_missed": {"job": "n.py"}}, "on_missed", "on_missed: job must be a mapping of its fields"),
        ({**CRON, "on_failure": {"job": {"file": "n", "retries": "x"}}}, "retries", "on_failure: retries must be a"),
        ({**CRON, "on_failure": {"job": {}}}, "filename", "on_failure: there is no file to run"),
    ],
)
def test_a_value_of_the_wrong_type_gets_a_sentence(fields: dict[str, Any], field: str, problem: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        schedule_of(fields)
    assert problem in caught.value.message
    assert caught.value.details["field"] == field


def test_what_is_said_goes_before_what_is_there_already() -> None:
    base = Schedule(cron="* 0 2 * * *", seconds=True, timezone="Europe/Berlin", jitter=5.0)
    assert schedule_of({"every": 60}, base) == Schedule(every=60.0, timezone="Europe/Berlin", jitter=5.0)
    assert schedule_of({"jitter": 0}, base) == replace(base, jitter=0.0)


def test_what_is_sent(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("print(1)\n")
    (tmp_path / "n.py").write_text("print(2)\n")
    contents = Contents(tmp_path)
    schedule = schedule_of({"every": "15m", "on_missed": URL, "on_failure": {"job": {"file": "n.py"}}})
    spec = schedule_spec("x", schedule, [TitanJob("a", "a.py")], contents)
    assert (spec.timing, [job.job_id for job in spec.jobs]) == (Timing(every_s=900.0), ["a"])
    assert (spec.overlap, spec.catch_up, spec.catch_up_window_s) == ("skip", "last", 604800.0)
    assert (spec.on_missed.webhook, [job.job_id for job in spec.on_failure.jobs]) == (URL, ["n"])
    assert len(contents.by_sha256) == 2


def test_a_schedule_is_judged_before_it_is_sent(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="never due"):
        schedule_spec("x", schedule_of({"cron": "0 0 31 2 *"}), [TitanJob("a", "a.py")], Contents(tmp_path))
    with pytest.raises(InvalidRequest, match="is of another run"):
        job = TitanJob("a", "a.py", parents=["etl-1/a"])
        schedule_spec("x", schedule_of(CRON), [job], Contents(tmp_path))
    with pytest.raises(NotFound, match=r"^on_failure: job 'n': there is no file '\./n\.py'") as caught:
        schedule = schedule_of({**CRON, "on_failure": TitanJob("n", "./n.py")})
        schedule_spec("x", schedule, [TitanJob("a", "a.py")], Contents(tmp_path))
    assert caught.value.details == {"field": "filename", "job": "n", "alert": "on_failure"}


# ── in a file ─────────────────────────────────────────────────────────────────────────────────────

EVERY_KEY = """\
  cron: 0 2 * * 1-5
  timezone: Europe/Berlin
  jitter: 30s
  start: 2026-12-01
  end: 2027-12-01T12:00Z
  seconds: false
  paused: false
  overlap: queue
  catch_up: none
  catch_up_window: 12h
  on_missed: {webhook: "https://host:8000/hook"}
  on_failure:
    job:
      file: notify.py
      args: [yes, 1]
      delay: 3"""


def test_every_key(tmp_path: Path) -> None:
    pipeline = load(write(tmp_path, EVERY_KEY))
    assert pipeline.schedule == Schedule(
        cron="0 2 * * 1-5",
        timezone="Europe/Berlin",
        jitter=30.0,
        start="2026-12-01",
        end="2027-12-01T12:00Z",
        paused=False,
        overlap="queue",
        catch_up="none",
        catch_up_window=43200.0,
        on_missed=URL,
        on_failure=TitanJob("notify", "notify.py", args=["yes", "1"], delay=3000),
    )
    assert (pipeline.name, pipeline.jobs) == ("nightly", [TitanJob("a", "a.py")])
    lines = pipeline.schedule_lines
    assert (lines["schedule"], lines["cron"], lines["on_failure"], lines["on_failure.args"]) == (2, 3, 14, 17)
    assert {name.partition(".")[0] for name in lines} <= {*FIELDS, "schedule", "name"}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("'0 2 * * *'", Schedule(cron="0 2 * * *")),
        ("0 2 * * *", Schedule(cron="0 2 * * *")),
        ("'@daily'", Schedule(cron="@daily")),
        ("{at: 2026-12-24T18:00}", Schedule(at="2026-12-24T18:00")),
        ("{at: 2026-12-24}", Schedule(at="2026-12-24")),
        ("{every: 90}", Schedule(every=90.0)),
        ("{every: 1d, start: 2026-12-01 08:00:00}", Schedule(every=86400.0, start="2026-12-01 08:00:00")),
        ("{cron: '*/30 0 2 * * *', seconds: true}", Schedule(cron="*/30 0 2 * * *", seconds=True)),
        (f"{{cron: 0 2 * * *, on_missed: '{URL}'}}", Schedule(cron="0 2 * * *", on_missed=URL)),
        ("{cron: 0 2 * * *, jitter: , on_missed: ~, paused: null}", Schedule(cron="0 2 * * *")),
    ],
)
def test_the_forms_of_a_schedule(tmp_path: Path, written: str, meant: Schedule) -> None:
    assert load(write(tmp_path, written)).schedule == meant


@pytest.mark.parametrize(
    ("schedule", "line", "problem"),
    [
        ("", 2, "schedule says nothing; say when, or leave it out"),
        ("~", 2, "schedule says nothing"),
        ("0 0 31 2 *", 2, "cron '0 0 31 2 *' is never due"),
        ("0 2 * *", 2, "cron '0 2 * *' has 4 fields"),
        ("@reboot", 2, "a text that begins with @ needs quotes around it"),
        ("* * * * *", 2, "a text that begins with * needs quotes around it"),
        ("[0 2 * * *]", 2, "a schedule must be a mapping of keys to values, not a list"),
        ("{}", 2, "a schedule needs a time: give it 'cron', 'every' or 'at'"),
        ("  timezone: UTC", 2, "a schedule needs a time"),
        ("  cron: 61 2 * * *", 3, "the minute must be from 0 to 59"),
        ("  cron: 0 2 * FOO *", 3, "the month must be"),
        ("  timezone: UTC\n  cron: 0 0 2 * * *", 4, "cron '0 0 2 * * *' has six fields; if the first is for seconds"),
        ("  cron: 0 2 * * *\n  seconds: true", 4, "has no field for seconds"),
        ("  every: 15m\n  seconds: true", 4, "seconds is for cron, not for every"),
        ("  cron: [0 2 * * *]", 3, "cron must be a string such as '0 2 * * *', not a list"),
        ("  cron: 0 2 * * *\n  timezone: Berlin", 4, "timezone 'Berlin' is unknown; did you mean Europe/Berlin"),
        ("  cron: 0 2 * * *\n  timezone: ../etc/passwd", 4, "timezone '../etc/passwd' is unknown"),
        ("  every: 0s", 3, "every must be at least a second, not the string '0s'"),
        ("  every: -5m", 3, "every is -300"),
        ("  every: 1500ms", 3, "it must be whole seconds"),
        ("  every: often", 3, "every must be a number, or a number with a unit"),
        ("  cron: 0 2 * * *\n  every: 5m", 4, "a schedule has one of 'cron', 'every' and 'at'; take 'every' away"),
        ("  every: 5m\n  cron: 0 2 * * *\n  at: 2026-01-01", 3, "take 'every' and 'at' away, or 'cron'"),
        ("  at: 2026-13-45", 3, "there is no such day"),
        ("  at: tomorrow", 3, "at 'tomorrow' is not a time"),
        ("  every: 1h\n  start: 2026-12-02\n  end: 2026-12-01", 5, "an end before the start"),
        ("  cron: 0 2 * * *\n  jitter: 2d", 4, "jitter is 172800; it must be from 0 to 86400"),
        ("  cron: 0 2 * * *\n  jitter: -1", 4, "jitter is -1; it must be from 0"),
        ("  cron: 0 2 * * *\n  paused: soon", 4, "paused must be true or false, not the string 'soon'"),
        ("  cron: 0 2 * * *\n  overlap: skp", 4, "overlap must be 'skip', 'queue', 'allow' or 'replace'"),
        ("  cron: 0 2 * * *\n  catch_up: no", 4, "catch_up must be 'none', 'last' or 'all', not the string 'no'"),
        ("  cron: 0 2 * * *\n  catch_up_window: 4000d", 4, "catch_up_window is 345600000; it must be from 0 to"),
        ("  cron: 0 2 * * *\n  overlapp: skip", 4, "there is no field 'overlapp'; did you mean 'overlap'?"),
        ("  cron: 0 2 * * *\n  cron: 0 3 * * *", 4, "the key 'cron' is there twice, first in line 3"),
        ("  cron: 0 2 * * *\n  on_missed: [x]", 4, "on_missed must be a URL, or a mapping"),
        ("  cron: 0 2 * * *\n  on_missed: ftp://host/x", 4, "on_missed: webhook 'ftp://host/x' can not be called"),
        ("  cron: 0 2 * * *\n  on_missed:\n    webhook: here", 5, "on_missed: webhook 'here' can not be called"),
        (
            "  cron: 0 2 * * *\n  on_missed:\n    wbhook: here",
            5,
            "there is no field 'wbhook'; did you mean 'webhook'?",
        ),
        ("  cron: 0 2 * * *\n  on_missed: {}", 4, "on_missed must name a webhook or a job, one of the two"),
        ("  cron: 0 2 * * *\n  on_missed:\n    job: x.py", 5, "a job must be a mapping of keys to values"),
        ("  cron: 0 2 * * *\n  on_missed:\n    job:\n      files: x.py", 6, "there is no field 'files'"),
        ("  cron: 0 2 * * *\n  on_missed:\n    job:\n      file: x.py\n      retries: -1", 7, "retries is -1"),
        ("  cron: 0 2 * * *\n  on_missed:\n    job:\n      file: x.py\n      parents: a", 7, "take its parents away"),
        ("  cron: 0 2 * * *\n  on_missed:\n    job:\n      file: x.py\n      type: service", 7, "a service does not"),
        ("  cron: 0 2 * * *\n  on_missed:\n    job:\n      args: x", 6, "there is no file to run"),
    ],
)
def test_a_mistake_gets_its_line_and_a_sentence(tmp_path: Path, schedule: str, line: int, problem: str) -> None:
    path = write(tmp_path, schedule)
    with pytest.raises(PipelineError) as caught:
        load(path)
    assert problem in caught.value.problem
    assert (caught.value.file, caught.value.line) == (str(path), line)


@pytest.mark.parametrize("name", ["a/b", "'a b'", "../x", "-x", '"\\e[2J"', "x" * 81])
def test_hostile_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(PipelineError) as caught:
        load(write(tmp_path, "0 2 * * *", name))
    assert caught.value.line == 1 and caught.value.message.isprintable()


def test_a_name_may_be_longer_without_a_schedule(tmp_path: Path) -> None:
    path = tmp_path / "long.yaml"
    path.write_text(f"name: {'x' * 81}\njobs: [{{id: a, file: a.py}}]\n")
    assert load(path).schedule is None
    with pytest.raises(PipelineError, match="is 81 characters long; of a schedule 80 are the most"):
        load(write(tmp_path, "0 2 * * *", "x" * 81))


def test_defaults_are_not_for_those_who_are_told(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        f"defaults: {{retries: 3}}\nschedule: {{cron: 0 2 * * *, on_missed: {{job: {{file: n.py}}}}}}\n{JOBS}"
    )
    pipeline = load(path)
    assert pipeline.jobs[0].retries == 3
    assert pipeline.schedule and pipeline.schedule.on_missed == TitanJob("n", "n.py")


# ── on the way to the master ──────────────────────────────────────────────────────────────────────


def test_who_is_told_may_be_a_file_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("print(1)\n")
    (tmp_path / "n.py").write_text("print(2)\n")
    (tmp_path / "p.yaml").write_text(
        "project: true\n"
        f"schedule: {{cron: 0 2 * * *, on_missed: '{URL}', on_failure: {{job: {{file: ./n.py}}}}}}\n{JOBS}"
    )
    with prepared(load(tmp_path)) as ready:
        assert ready.schedule is not None
        assert ready.jobs == [TitanJob("a", "p.zip/a.py", is_archive=True)]
        assert ready.schedule.on_missed == URL
        assert ready.schedule.on_failure == TitanJob("n", "p.zip/n.py", is_archive=True)
        spec = schedule_spec(ready.name, ready.schedule, ready.jobs, Contents(ready.folder))
    assert spec.jobs[0].task.sha256 == spec.on_failure.jobs[0].task.sha256 != ""


def test_is_archive_has_no_place_in_a_project(tmp_path: Path) -> None:
    told = "{job: {file: x.zip/n.py, is_archive: true}}"
    (tmp_path / "p.yaml").write_text(f"project: true\nschedule:\n  cron: 0 2 * * *\n  on_missed: {told}\n{JOBS}")
    with pytest.raises(PipelineError, match=r":4: in a project every file is an entry already"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("details", "line"),
    [
        ({"field": "cron"}, 3),
        ({"field": "on_failure", "alert": "on_failure"}, 14),
        ({"field": "entry", "job": "notify", "alert": "on_failure"}, 16),
        ({"field": "priority", "job": "notify", "alert": "on_failure"}, 14),
        ({"field": "file", "job": "a"}, 19),
    ],
)
def test_a_refusal_of_the_master_gets_the_line_of_what_it_is_about(
    tmp_path: Path, details: dict[str, str], line: int
) -> None:
    pipeline = load(write(tmp_path, EVERY_KEY))
    with pytest.raises(PipelineError) as caught, located(pipeline):
        raise InvalidRequest("no", **details)
    assert caught.value.line == line


def test_a_refusal_of_all_of_it_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(Conflict, match=r"^it is there$"), located(load(write(tmp_path, EVERY_KEY))):
        raise Conflict("it is there")


def test_what_a_program_says_has_no_line(tmp_path: Path) -> None:
    pipeline = rescheduled(load(write(tmp_path, EVERY_KEY)), {"cron": "0 3 * * *", "on_failure": URL})
    assert pipeline.schedule and (pipeline.schedule.cron, pipeline.schedule.on_failure) == ("0 3 * * *", URL)
    assert [pipeline.line_at_fault({"field": name}) for name in ("cron", "on_failure", "jitter")] == [0, 0, 5]
    with pytest.raises(InvalidRequest) as caught, located(pipeline):
        raise InvalidRequest("no", field="cron")
    assert type(caught.value) is InvalidRequest


def test_a_client_imports_nothing_about_time_zones() -> None:
    """Most need none of it, and it takes a while."""
    code = "import sys, titan_sdk.client, titan_sdk.cli.main; print({'cronsim', 'zoneinfo'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"
