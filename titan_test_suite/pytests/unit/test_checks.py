"""What a request may hold: names, numbers and texts, and the sentence that refuses the rest."""

from __future__ import annotations

import dataclasses
import signal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from titan_core.errors import InvalidRequest
from titan_core.protocol.checks import (
    MAX_ARGS_BYTES,
    check_capability,
    check_id,
    check_job,
    check_path,
    check_range,
    check_sha256,
    check_submission,
    shown,
)
from titan_core.protocol.messages import JobSpec, SubmitRun, Task

HOSTILE = [
    "",
    "a/b",
    "/etc/passwd",
    "..",
    "../x",
    "a\0b",
    "a\nb",
    "x" * 10_000,
    "🚀",
    "\ud800",
    "a b",
    "a|b",
    "-rf",
    ".",
]

HOSTILE_PATHS = [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "./a",
    "a/.",
    "..",
    "a/../b",
    "a/..",
    "a\\b",
    "a\0",
    "a\nb",
    "a\x7f",
]
HOSTILE_PATHS += ["\ud800", "\udcff", "x" * 256, "é" * 128, "/".join(["x" * 200] * 6), "x" * 10_000]


def job(task: dict | None = None, **fields) -> JobSpec:
    return JobSpec(**{"job_id": "a", "task": Task(**{"asset": "a.py", **(task or {})}), **fields})


def refusal(check, *arguments) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        check(*arguments)
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()
    return caught.value


class TestNames:
    @pytest.mark.parametrize("name", ["a", "A.b-c_d", "7", "_x", "x" * 128])
    def test_ids(self, name):
        assert check_id(name, "job id") == name

    @pytest.mark.parametrize("name", [*HOSTILE, "x" * 129, "a\n", ".hidden", "größe", "٣"])
    def test_hostile_ids(self, name):
        error = refusal(check_id, name, "job id")
        assert "job id" in str(error)
        assert error.details == {"field": "job id"}

    @pytest.mark.parametrize("name", ["GENERAL", "gpu", "cuda-12.1", "c++", "8GB", "x" * 64])
    def test_capabilities(self, name):
        assert check_capability(name) == name

    @pytest.mark.parametrize("name", [*HOSTILE, "x" * 65, "A,B", "[GPU]"])
    def test_hostile_capabilities(self, name):
        assert refusal(check_capability, name).details == {"field": "requirement"}

    @pytest.mark.parametrize("path", ["a", "a/b.py", "a b", "größe/🚀", ".env", "a..b", "...", "-rf", "x" * 255])
    def test_paths(self, path):
        assert check_path(path, "file") == path

    @pytest.mark.parametrize("path", HOSTILE_PATHS)
    def test_hostile_paths(self, path):
        assert "is not a file name" in str(refusal(check_path, path, "file"))

    @settings(deadline=None)
    @given(st.text(max_size=12))
    def test_an_accepted_path_stays_where_it_is_put(self, text):
        try:
            check_path(text, "file")
        except InvalidRequest:
            return
        assert not text.startswith("/")
        assert ".." not in text.split("/")
        assert text.encode()

    def test_sha256(self):
        assert check_sha256("0123456789abcdef" * 4)
        for bad in (*HOSTILE, "A" * 64, "a" * 63, "a" * 64 + "\n"):
            refusal(check_sha256, bad)


class TestNumbers:
    @pytest.mark.parametrize("value", [-1, 65536, 10**400, -(10**400), float("inf"), float("nan")])
    def test_out_of_range(self, value):
        assert "it must be from 0 to 65535" in str(refusal(check_range, value, 0, 65535, "port"))

    def test_figures_are_written_out(self):
        assert str(refusal(check_range, 2_000_000, -1_000_000, 1_000_000, "priority")) == (
            "priority is 2000000; it must be from -1000000 to 1000000"
        )

    @pytest.mark.parametrize(
        "fields",
        [
            {"priority": 1_000_001},
            {"delay_s": -0.001},
            {"delay_s": float("nan")},
            {"retries": -1},
            {"retries": 1001},
            {"retry_backoff_s": -1.0},
            {"max_attempts": -1},
            {"task": {"port": -1}},
            {"task": {"port": 65536}},
            {"task": {"timeout_s": -1.0}},
            {"task": {"stop_grace_s": 3601.0}},
        ],
    )
    def test_of_a_job(self, fields):
        error = refusal(check_job, job(**fields))
        assert error.details["job"] == "a"
        assert error.details["field"]

    @pytest.mark.parametrize(
        "number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGUSR1, signal.SIGRTMIN]
    )
    def test_stop_signals(self, number):
        check_job(job({"stop_signal": int(number)}))

    @pytest.mark.parametrize("number", [0, -15, 65, 10**9, signal.SIGSTOP, signal.SIGCONT])
    def test_what_is_no_stop_signal(self, number):
        assert "stop_signal" in str(refusal(check_job, job({"stop_signal": int(number)})))


class TestJobs:
    def test_a_good_one(self):
        task = {"entry": "x/y.sh", "args": ("größe", "a b", ""), "env": (("PATH_2", "x=y\n"),), "sha256": "a" * 64}
        check_job(job(task, parents=("b", "run-1/c"), affinity="strict", requirement="GPU", service=True))

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"job_id": "a/b"}, "job 'a/b': job id 'a/b' can not be used"),
            ({"requirement": ""}, "is not a capability"),
            ({"parents": ("b", "")}, "parent ''"),
            ({"parents": ("a/b/c",)}, "parent 'b/c'"),
            ({"affinity": "maybe"}, "affinity 'maybe' is not one of"),
            ({"task": {"asset": "../a.py"}}, "file '../a.py'"),
            ({"task": {"entry": "/a.py"}}, "entry '/a.py'"),
            ({"task": {"sha256": "abc"}}, "sha256 'abc'"),
            ({"task": {"env": (("A B", "x"),)}}, "'A B' is not the name of a variable"),
            ({"task": {"env": (("", "x"),)}}, "'' is not the name of a variable"),
            ({"task": {"env": (("TITAN_TOKEN", "x"),)}}, "TITAN_TOKEN is set by Titan"),
            ({"task": {"env": (("A", "x\0"),)}}, "a NUL, or no valid text"),
            ({"task": {"args": ("x\0",)}}, "a NUL, or no valid text"),
            ({"task": {"args": ("\udcff",)}}, "a NUL, or no valid text"),
        ],
    )
    def test_broken_ones(self, fields, reason):
        assert reason in str(refusal(check_job, job(**fields)))

    @pytest.mark.parametrize(("char", "width"), [("x", 1), ("é", 2), ("🚀", 4)])
    def test_arguments_are_measured_in_bytes(self, char, width):
        check_job(job({"args": (char * (MAX_ARGS_BYTES // width - 1),)}))
        assert "pass a file" in str(refusal(check_job, job({"args": (char * (MAX_ARGS_BYTES // width),)})))

    def test_what_is_accepted_can_be_sent(self):
        good = job({"args": ("größe",)}, priority=10**6, delay_s=10 * 365 * 86400.0)
        check_job(good)
        assert JobSpec.decode(good.encode()) == good


class TestSubmissions:
    def test_a_good_one(self):
        check_submission(SubmitRun("demo", (job(),)))
        check_submission(SubmitRun("", (job(),), run_id="demo-1"))

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"name": ""}, "name"),
            ({"name": "a b"}, "name"),
            ({"name": "x" * 101}, "name"),
            ({"run_id": "../x"}, "run id"),
            ({"jobs": ()}, "jobs"),
            ({"jobs": (job(), job(priority=10**7))}, "priority"),
        ],
    )
    def test_broken_ones(self, fields, field):
        good = SubmitRun("demo", (job(),))
        assert refusal(check_submission, dataclasses.replace(good, **fields)).details["field"] == field


@settings(deadline=None)
@given(st.text())
def test_shown_texts_fit_in_a_sentence(text):
    assert shown(text).isprintable()
    assert len(shown(text)) < 700
