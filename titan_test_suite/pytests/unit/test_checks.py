"""What a request may hold: names, numbers and texts, and the sentence that refuses the rest."""

from __future__ import annotations

import dataclasses
import signal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from titan_core.errors import InvalidRequest
from titan_core.protocol.checks import (
    AUTO_PORT,
    MAX_ARGS_BYTES,
    MAX_MEMORY,
    MAX_SERVICE_ID,
    MAX_URL_PATH,
    check_capability,
    check_id,
    check_instances,
    check_job,
    check_path,
    check_range,
    check_sha256,
    check_submission,
    shown,
)
from titan_core.protocol.messages import Health, JobSpec, SubmitRun, Task

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


class TestServices:
    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {"restart": "on-failure", "scope": "run", "min_uptime_s": 0.0, "instances": 1000},
            {"task": {"port": AUTO_PORT, "health": Health("/{port}/x?y=1")}},
            {"task": {"port": 80, "health": Health("/"), "max_memory": MAX_MEMORY}},
            {"task": {"health": Health(command=("curl", "http://localhost:{port}/größe", ""))}},
            {"task": {"health": Health(ready_timeout_s=0.0, unhealthy_after=1, interval_s=0.05)}},
            {"job_id": "x" * MAX_SERVICE_ID},
        ],
    )
    def test_good_ones(self, fields):
        good = job(**fields, service=True)
        check_job(good)
        assert JobSpec.decode(good.encode()) == good

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"restart": ""}, "restart"),
            ({"restart": "Always"}, "restart"),
            ({"restart": "x" * 10_000}, "restart"),
            ({"scope": ""}, "scope"),
            ({"scope": "\ud800"}, "scope"),
            ({"min_uptime_s": -1.0}, "min_uptime"),
            ({"min_uptime_s": float("nan")}, "min_uptime"),
            ({"min_uptime_s": 1e300}, "min_uptime"),
            ({"instances": 0}, "instances"),
            ({"instances": -(2**63)}, "instances"),
            ({"instances": 1001}, "instances"),
            ({"job_id": "x" * (MAX_SERVICE_ID + 1)}, "job id"),
            ({"task": {"port": -2}}, "port"),
            ({"task": {"port": -(2**63)}}, "port"),
            ({"task": {"max_memory": -1}}, "max_memory"),
            ({"task": {"max_memory": 2**63 - 1}}, "max_memory"),
        ],
    )
    def test_broken_ones(self, fields, field):
        assert refusal(check_job, job(**fields, service=True)).details == {
            "job": job(**fields).job_id,
            "field": field,
        }

    @pytest.mark.parametrize(
        ("health", "field"),
        [
            ({"http": "/", "command": ("true",)}, "health"),
            ({"http": "health"}, "health"),
            ({"http": "http://elsewhere/"}, "health"),
            ({"http": "/a b"}, "health"),
            ({"http": "/a\r\nHost: x"}, "health"),
            ({"http": "/größe"}, "health"),
            ({"http": "/\ud800"}, "health"),
            ({"http": "/" + "x" * MAX_URL_PATH}, "health"),
            ({"command": ("",)}, "health"),
            ({"command": ("a\0",)}, "health"),
            ({"command": ("\udcff",)}, "health"),
            ({"command": ("x" * MAX_ARGS_BYTES,)}, "args"),
            ({"interval_s": 0.0}, "health"),
            ({"interval_s": float("nan")}, "health"),
            ({"timeout_s": -1.0}, "health"),
            ({"timeout_s": float("inf")}, "health"),
            ({"unhealthy_after": 0}, "unhealthy_after"),
            ({"unhealthy_after": 2**63 - 1}, "unhealthy_after"),
            ({"ready_timeout_s": -0.1}, "ready_timeout"),
            ({"ready_timeout_s": float("nan")}, "ready_timeout"),
        ],
    )
    def test_broken_health(self, health, field):
        error = refusal(check_job, job({"port": 80, "health": Health(**health)}, service=True))
        assert error.details["field"] == field

    def test_http_needs_a_port(self):
        assert "port: auto" in str(refusal(check_job, job({"health": Health("/")}, service=True)))

    def test_arguments_and_the_health_command_count_together(self):
        half = ("x" * (MAX_ARGS_BYTES // 2),)
        error = refusal(check_job, job({"args": half, "health": Health(command=half)}, service=True))
        assert "pass a file" in str(error)

    @pytest.mark.parametrize(
        ("fields", "name"),
        [
            ({"restart": "x" * 10_000}, "restart"),
            ({"min_uptime_s": float("nan")}, "min_uptime"),
            ({"instances": 10**18}, "instances"),
            ({"scope": "run"}, "scope"),
            ({"task": {"max_memory": 1}}, "max_memory"),
            ({"task": {"health": Health("/")}}, "health"),
            ({"task": {"health": Health(interval_s=1.0)}}, "health"),
            ({"task": {"health": Health(unhealthy_after=1)}}, "unhealthy_after"),
            ({"task": {"health": Health(ready_timeout_s=1.0)}}, "ready_timeout"),
            ({"task": {"port": AUTO_PORT}}, "port: auto"),
        ],
    )
    def test_a_job_that_ends_has_none_of_it(self, fields, name):
        error = refusal(check_job, job(**fields))
        assert str(error) == f"job 'a': {name} is for services; add type: service"
        assert error.details["field"] == name.partition(":")[0]

    @pytest.mark.parametrize("count", [0, -1, 1001, 10**20])
    def test_scaling(self, count):
        check_instances(1)
        check_instances(1000)
        assert refusal(check_instances, count).details == {"field": "instances"}


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
