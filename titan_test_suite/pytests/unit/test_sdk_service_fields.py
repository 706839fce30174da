"""The fields that only services have, in Python and in a pipeline: their values, and the sentences for others."""

from __future__ import annotations

import dataclasses
import textwrap
from pathlib import Path

import pytest

from titan_core.errors import InvalidRequest
from titan_core.protocol.messages import Health, JobSpec, Task
from titan_sdk import TitanJob
from titan_sdk.contents import Contents
from titan_sdk.jobs import job_spec
from titan_sdk.pipeline import load


def spec_of(**fields: object) -> JobSpec:
    return job_spec(TitanJob(**{"job_id": "j", "filename": "job.py", **fields}), Contents())


def service_of(**fields: object) -> JobSpec:
    return spec_of(type="service", **fields)


def test_every_field_of_a_service_reaches_the_wire() -> None:
    spec = service_of(
        port="auto",
        restart="on-failure",
        min_uptime="1m",
        instances=3,
        scope="run",
        max_memory="1.5G",
        health={"http": "/health", "interval": "5s", "timeout": 1},
        unhealthy_after=5,
        ready_timeout=0,
    )
    health = Health("/health", (), 5.0, 1.0, 5, 0.0)
    task = Task("job.py", port=-1, health=health, max_memory=3 << 29)
    assert spec == JobSpec("j", task, service=True, restart="on-failure", min_uptime_s=60.0, instances=3, scope="run")


@pytest.mark.parametrize("written", ["curl -f 'http://x:{port}/a b'", ["curl", "-f", "http://x:{port}/a b"]])
def test_a_health_command_is_split_as_args_are(written: object) -> None:
    health = service_of(health={"command": written, "http": None}).task.health
    assert health == Health(command=("curl", "-f", "http://x:{port}/a b"))


@pytest.mark.parametrize(
    ("written", "count"),
    [
        (0, 0),
        (1234, 1234),
        (" 1234 ", 1234),
        ("512K", 512 << 10),
        ("512 KiB", 512 << 10),
        ("300M", 300 << 20),
        ("300MB", 300 << 20),
        ("300MiB", 300 << 20),
        ("300mb", 300 << 20),
        ("1.5G", 3 << 29),
        ("0.5k", 512),
        ("1T", 1 << 40),
    ],
)
def test_memory_is_bytes_or_says_its_unit(written: object, count: int) -> None:
    assert service_of(max_memory=written).task.max_memory == count


def test_a_copy_of_a_service_is_the_same() -> None:
    job = TitanJob("j", "f.py", type="service", port="auto", health={"command": "true"}, max_memory="1M", scope="run")
    assert dataclasses.replace(job, priority=1) == job
    assert job.health == {"command": ("true",)}
    assert dataclasses.replace(TitanJob("j", "f.py"), priority=2).health == {}


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("restart", "sometimes", "restart must be 'always', 'on-failure' or 'never', not the string 'sometimes'"),
        ("restart", False, "restart must be 'always', 'on-failure' or 'never', not false"),
        ("scope", "global", "scope must be 'cluster' or 'run', not the string 'global'"),
        ("min_uptime", "soon", "min_uptime must be a number"),
        ("min_uptime", -1, "min_uptime is -1; it must be from 0 to 86400"),
        ("instances", 0, "instances is 0; it must be from 1 to 1000"),
        ("instances", 10**20, "instances is out of reach"),
        ("instances", "3", "instances must be a whole number, not the string '3'"),
        ("instances", 1.5, "instances must be a whole number"),
        ("max_memory", -1, "max_memory is -1; it must be from 0"),
        ("max_memory", 10**30, "max_memory is out of reach"),
        ("max_memory", "9999999T", "max_memory is out of reach"),
        ("max_memory", "-5M", "max_memory must be a whole number of bytes, or a number with a unit"),
        ("max_memory", "1.5", "max_memory must be a whole number of bytes"),
        ("max_memory", 1.5, "max_memory must be a whole number of bytes"),
        ("max_memory", "lots", "max_memory must be a whole number of bytes"),
        ("max_memory", "5MM", "max_memory must be a whole number of bytes"),
        ("max_memory", "9" * 5000, "max_memory must be a whole number of bytes"),
        ("max_memory", "٣M", "max_memory must be a whole number of bytes"),
        ("max_memory", "", "max_memory must be a whole number of bytes"),
        ("max_memory", True, "max_memory must be a whole number of bytes"),
        ("unhealthy_after", 0, "unhealthy_after is 0; it must be from 1 to 1000"),
        ("ready_timeout", float("inf"), "ready_timeout must be a finite number"),
        ("ready_timeout", -1, "ready_timeout is -1; it must be from 0 to 86400"),
        ("health", "/health", "health must be a mapping such as {http: /health}, not the string '/health'"),
        ("health", {"htp": "/"}, "there is no field 'htp'; did you mean 'http'?"),
        ("health", {3: "/"}, "health may have only strings for keys, not the number 3"),
        ("health", {"http": 3}, "health: http must be a path such as /health, not the number 3"),
        ("health", {"http": ""}, "health: http must be a path such as /health"),
        ("health", {"http": "/a"}, "health: http needs a port; give the service one, or 'port: auto'"),
        ("health", {"command": []}, "health: command must name a program, not a list"),
        ("health", {"command": "a 'b"}, "health: command must be splittable as a shell would"),
        ("health", {"command": ["a", True]}, "health: command may hold only strings and numbers"),
        ("health", {"command": ["a\0"]}, "can not hold"),
        ("health", {"command": ["x" * 200_000]}, "is the most, pass a file"),
        ("health", {"http": "/", "command": "true"}, "health is checked by http or by a command, not by both"),
        ("health", {"interval": 0}, "the interval of health is 0; it must be from 0.05 to 86400"),
        ("health", {"timeout": "soon"}, "health: timeout must be a number"),
        ("health", {"timeout": 10**400}, "health: timeout must be a finite number"),
    ],
)
def test_a_wrong_value_of_a_service_gets_a_sentence(field: str, value: object, problem: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        service_of(**{field: value})
    assert problem in caught.value.message
    assert caught.value.message.startswith("job 'j': ")
    assert caught.value.details["job"] == "j"
    assert caught.value.details["field"] in (field, "htp", "args")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("restart", "never"),
        ("min_uptime", 1),
        ("instances", 2),
        ("scope", "run"),
        ("max_memory", 1),
        ("health", {"command": "true"}),
        ("unhealthy_after", 1),
        ("ready_timeout", 1),
    ],
)
def test_what_is_for_services_is_refused_in_a_run(field: str, value: object) -> None:
    with pytest.raises(InvalidRequest, match=f"job 'j': {field} is for services; add type: service"):
        spec_of(**{field: value})


def test_a_port_of_its_own_is_for_services() -> None:
    with pytest.raises(InvalidRequest, match="job 'j': port: auto is for services; add type: service"):
        spec_of(port="auto")
    assert spec_of(port=8080).task.port == 8080


# ── in a pipeline ─────────────────────────────────────────────────────────────────────────────────


def pipeline(folder: Path, text: str) -> Path:
    path = folder / "p.yaml"
    path.write_text(textwrap.dedent(text))
    return path


def test_a_service_with_every_key(tmp_path: Path) -> None:
    path = pipeline(
        tmp_path,
        """\
        jobs:
          - id: web
            file: web.py
            type: service
            port: auto
            restart: on-failure
            min_uptime: 1m
            instances: 2
            scope: run
            max_memory: 300M
            health: {http: /health, interval: 5, timeout: 500ms}
            unhealthy_after: 5
            ready_timeout: 2m
          - {id: queue, file: queue.py, type: service, health: {command: [test, -e, yes]}}
        """,
    )
    assert load(path).jobs == [
        TitanJob(
            "web",
            "web.py",
            type="service",
            port="auto",
            restart="on-failure",
            min_uptime=60,
            instances=2,
            scope="run",
            max_memory=300 << 20,
            health={"http": "/health", "interval": 5, "timeout": 0.5},
            unhealthy_after=5,
            ready_timeout=120,
        ),
        TitanJob("queue", "queue.py", type="service", health={"command": ["test", "-e", "yes"]}),
    ]


def test_defaults_for_services_do_not_hold_for_other_jobs(tmp_path: Path) -> None:
    path = pipeline(
        tmp_path,
        """\
        defaults: {restart: never, health: {command: 'true'}, port: auto, instances: 2, retries: 1}
        jobs:
          - {id: web, file: web.py, type: service, instances: 3}
          - {id: check, file: check.py}
          - {id: report, file: report.py, type: run, port: 80, restart: }
        """,
    )
    web, check, report = load(path).jobs
    assert web == TitanJob(
        "web",
        "web.py",
        type="service",
        restart="never",
        health={"command": "true"},
        port="auto",
        instances=3,
        retries=1,
    )
    assert check == TitanJob("check", "check.py", retries=1)
    assert report == TitanJob("report", "report.py", port=80, retries=1)
