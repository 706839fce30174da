"""What the definition of a schedule may hold, and the sentence and the details that refuse the rest."""

from __future__ import annotations

from dataclasses import replace

import pytest

from titan_core.errors import InvalidRequest
from titan_core.protocol import checks
from titan_core.protocol.messages import Alert, JobSpec, ScheduleSpec, Task, Timing
from titan_core.protocol.schedule_checks import MAX_SCHEDULE_NAME, check_rules, check_schedule

JOB = JobSpec("a", Task("a.py"))
SPEC = ScheduleSpec("nightly", Timing("0 2 * * *"), (JOB,))
YEAR = 365 * 86400.0


def refusal(**changes: object) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        check_schedule(replace(SPEC, **changes))  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize("overlap", ["skip", "queue", "allow", "replace"])
@pytest.mark.parametrize("catch_up", ["none", "last", "all"])
@pytest.mark.parametrize("window", [0, 1.5, 10 * YEAR])
def test_what_is_right(overlap: str, catch_up: str, window: float) -> None:
    check_schedule(replace(SPEC, overlap=overlap, catch_up=catch_up, catch_up_window_s=window))


def test_alerts_that_are_right() -> None:
    check_schedule(replace(SPEC, on_missed=Alert("https://host:8000/x"), on_failure=Alert(jobs=(JOB,))))
    check_schedule(replace(SPEC, name="x" * MAX_SCHEDULE_NAME, jobs=(JOB, replace(JOB, job_id="b", parents=("a",)))))


@pytest.mark.parametrize("name", ["", "a b", "a/b", "..", "-rf", "a\n", "größe", "\x1b[2J", "x" * 81, "x" * 10_000])
def test_hostile_names(name: str) -> None:
    error = refusal(name=name)
    assert error.details == {"field": "name"}
    assert error.message.isprintable() and len(error.message) < 300


@pytest.mark.parametrize(
    ("changes", "field", "problem"),
    [
        ({"overlap": "parallel"}, "overlap", "overlap 'parallel' is not one of skip, queue, allow, replace"),
        ({"overlap": ""}, "overlap", "overlap '' is not one of"),
        ({"catch_up": "some"}, "catch_up", "catch_up 'some' is not one of none, last, all"),
        ({"catch_up_window_s": -1.0}, "catch_up_window", "catch_up_window is -1; it must be from 0 to"),
        ({"catch_up_window_s": 11 * YEAR}, "catch_up_window", "catch_up_window is 346896000; it must be from 0"),
        ({"catch_up_window_s": float("nan")}, "catch_up_window", "catch_up_window is nan; it must be"),
        ({"jobs": ()}, "jobs", "the submission has no jobs"),
    ],
)
def test_rules_that_are_none(changes: dict[str, object], field: str, problem: str) -> None:
    error = refusal(**changes)
    assert problem in error.message
    assert error.details == {"field": field}


def test_too_many_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MAX_JOBS", 2)
    assert "3 jobs in one submission; 2 is the most" in refusal(jobs=(JOB, JOB, JOB)).message


def test_jobs_are_judged_as_those_of_a_run() -> None:
    error = refusal(jobs=(JOB, replace(JOB, job_id="b", retries=-1)))
    assert error.details == {"job": "b", "field": "retries"}


def test_a_parent_of_another_run_is_refused() -> None:
    error = refusal(jobs=(JOB, replace(JOB, job_id="b", parents=("a", "etl-1/a"))))
    assert "its parent 'etl-1/a' is of another run" in error.message
    assert error.details == {"job": "b", "field": "parents"}


@pytest.mark.parametrize("alert", ["on_missed", "on_failure"])
@pytest.mark.parametrize(
    ("told", "field", "problem"),
    [
        (Alert("https://host/x", (JOB,)), "", "name a webhook or one job, not both"),
        (Alert(jobs=(JOB, JOB)), "", "name a webhook or one job"),
        (Alert("ftp://host/x"), "webhook", "webhook 'ftp://host/x' can not be called"),
        (Alert("https://me:secret@host/x"), "webhook", "without a user and a password"),
        (Alert("https://host/\r\nX-Evil: 1"), "webhook", "can not be called"),
        (Alert(jobs=(replace(JOB, job_id="a/b"),)), "job id", "job id 'a/b' can not be used"),
        (Alert(jobs=(replace(JOB, parents=("b",)),)), "parents", "it runs alone; take its parents away"),
        (Alert(jobs=(replace(JOB, service=True),)), "type", "it has to end, which a service does not"),
    ],
)
def test_alerts_that_are_none(alert: str, told: Alert, field: str, problem: str) -> None:
    error = refusal(**{alert: told})
    assert error.message.startswith(f"{alert}: ") and problem in error.message
    assert (error.details["alert"], error.details["field"]) == (alert, field or alert)


def test_the_rules_can_be_judged_without_the_jobs() -> None:
    check_rules(replace(SPEC, jobs=()))
