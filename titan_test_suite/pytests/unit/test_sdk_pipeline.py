"""Pipelines: every key in every spelling, and every mistake with its file and line."""

from __future__ import annotations

import io
import sys
import textwrap
from pathlib import Path

import pytest

from titan_core.errors import InvalidGraph, InvalidRequest, NotFound
from titan_sdk import TitanJob
from titan_sdk.errors import PipelineError
from titan_sdk.pipeline import Pipeline, load, located, prepared


def write(folder: Path, text: str | bytes, name: str = "p.yaml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
    return path


def refusal(folder: Path, text: str | bytes) -> PipelineError:
    path = write(folder, text)
    with pytest.raises(PipelineError) as caught:
        load(path)
    error = caught.value
    assert error.file == str(path)
    assert error.message == f"{path}:{error.line}: {error.problem}" if error.line else f"{path}: {error.problem}"
    return error


# ── what is right ─────────────────────────────────────────────────────────────────────────────────


def test_a_small_pipeline(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
        jobs:
          - id: extract
            file: extract.py
          - id: load
            file: load.py
            depends_on: [extract]
        """,
    )
    pipeline = load(str(path))
    assert pipeline.jobs == [TitanJob("extract", "extract.py"), TitanJob("load", "load.py", parents=["extract"])]
    assert (pipeline.name, pipeline.source, pipeline.folder, pipeline.project) == ("p", str(path), tmp_path, False)
    assert [pipeline.line("extract"), pipeline.line("load"), pipeline.line("load", "parent")] == [2, 4, 6]
    assert pipeline.line("nobody") == 0


def test_every_key_in_every_spelling(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
        name: full
        jobs:
          - job_id: a
            script: a.py
            args: --name 'a b'
            requirement: GPU
            priority: -5
            delay: 1.5
            affinity: strict
            env: {MODE: fast, LEVEL: 3, YES: yes, EMPTY: ""}
            timeout: 5m
            retries: 2
            retry_backoff: 500ms
            max_attempts: 1
            stop_signal: INT
            stop_grace: 3
            warm: false
          - {id: b, filename: b.zip/x/y.py, is_archive: true, dependencies: a, affinity: true, type: run}
          - {id: c, file: c.sh, parents: [a, b], type: service, port: 8080, delay: 250ms}
        """,
    )
    assert load(path).jobs == [
        TitanJob(
            "a",
            "a.py",
            args=["--name", "a b"],
            requirement="GPU",
            priority=-5,
            delay=1500,
            affinity="strict",
            env={"MODE": "fast", "LEVEL": "3", "YES": "yes", "EMPTY": ""},
            timeout=300,
            retries=2,
            retry_backoff=0.5,
            max_attempts=1,
            stop_signal=2,
            stop_grace=3,
            warm=False,
        ),
        TitanJob("b", "b.zip/x/y.py", is_archive=True, parents=["a"], affinity=True),
        TitanJob("c", "c.sh", parents=["a", "b"], type="service", port=8080, delay=250),
    ]


@pytest.mark.parametrize(
    ("written", "milliseconds"),
    [("2", 2000), ("0.5", 500), ("500ms", 500), ("2s", 2000), ("5m", 300_000), ("1h", 3.6e6)],
)
def test_a_delay_is_seconds_or_says_its_unit(tmp_path: Path, written: str, milliseconds: float) -> None:
    (job,) = load(write(tmp_path, f"jobs: [{{id: a, file: a.py, delay: {written}}}]")).jobs
    assert job.delay == milliseconds


def test_text_is_taken_as_it_is_written(tmp_path: Path) -> None:
    path = write(tmp_path, "jobs:\n- {id: 007, file: 1.0, args: [yes, 0x10, 1e3, 2024-01-01], requirement: on}\n")
    assert load(path).jobs == [TitanJob("007", "1.0", args=["yes", "0x10", "1e3", "2024-01-01"], requirement="on")]


def test_a_key_without_a_value_is_not_given(tmp_path: Path) -> None:
    path = write(tmp_path, "project:\ndefaults:\njobs:\n- id: a\n  file: a.py\n  depends_on:\n  port: null\n")
    assert load(path).jobs == [TitanJob("a", "a.py")]


def test_defaults_are_for_jobs_that_do_not_say_otherwise(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
        defaults: {script: main.py, retries: 3, delay: 1}
        jobs:
          - {id: a}
          - {id: b, file: b.py, retries: 0}
        """,
    )
    assert load(path).jobs == [
        TitanJob("a", "main.py", retries=3, delay=1000),
        TitanJob("b", "b.py", retries=0, delay=1000),
    ]


def test_small_anchors_and_merges_work(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
        jobs:
          - &first {id: a, file: a.py, env: &env {A: 1}, priority: 4}
          - {<<: *first, id: b, env: {<<: *env, B: 2}}
          - {<<: [{priority: 9}, *first], id: c}
        """,
    )
    assert load(path).jobs == [
        TitanJob("a", "a.py", env={"A": 1}, priority=4),
        TitanJob("b", "a.py", env={"A": 1, "B": 2}, priority=4),
        TitanJob("c", "a.py", env={"A": 1}, priority=9),
    ]


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbfjobs:\r\n- id: a\r\n  file: a.py\r\n")
    assert load(path).jobs == [TitanJob("a", "a.py")]


def test_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"jobs: [{id: a, file: a.py}]")))
    pipeline = load("-")
    assert (pipeline.name, pipeline.source, pipeline.folder) == ("pipeline", "<stdin>", tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"project: true\njobs: [{id: a, file: a.py}]")))
    with pytest.raises(PipelineError, match=r"<stdin>:1: project: true needs a file in a folder"):
        load("-")


@pytest.mark.parametrize("names", [["titan.yaml", "other.yaml"], ["pipeline.yaml", "x.yml"], ["any.yml", "a.txt"]])
def test_a_directory_holds_a_pipeline(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        write(tmp_path, "jobs: [{id: a, file: a.py}]", name)
    assert load(tmp_path).source == str(tmp_path / names[0])


def test_a_directory_with_several_says_which(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yml"):
        write(tmp_path, "jobs: [{id: a, file: a.py}]", name)
    with pytest.raises(InvalidRequest, match=r"several pipelines, a\.yaml, b\.yml: say which"):
        load(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"there is no pipeline in .*: it needs a titan.yaml"):
        load(tmp_path)
    with pytest.raises(NotFound, match="there is no pipeline '"):
        load(tmp_path / "nothing.yaml")


# ── what is wrong ─────────────────────────────────────────────────────────────────────────────────

LAUGHS = "\n".join(["a0: &a0 x"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)])
JOB = "jobs:\n- id: a\n  file: a.py\n"


SERVICE = JOB + "  type: service\n"


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("", 0, "the file is empty; it needs at least 'jobs:'"),
        ("# only a comment\n", 0, "the file is empty"),
        (b"jobs:\n- id: \xff\n", 2, "byte 0xff is not UTF-8"),
        (b"jobs:\n\n- id: a\0\n", 3, "the character '\\x00' has no place in a text file"),
        (b"jobs:\n- id: \x07\n", 2, "the character '\\x07' has no place"),
        ("jobs:\n\t- id: a\n", 2, "a tab indents this line; YAML takes only spaces there"),
        ("jobs:\n  - id: a\n  \tfile: a.py\n", 3, "a tab indents this line"),
        ("jobs: [", 2, "this is not YAML: "),
        ("jobs: 'a\n", 2, "while scanning a quoted scalar, found unexpected end of stream"),
        ("a: b: c\n", 1, "this is not YAML: mapping values are not allowed in this context"),
        (JOB + "---\n" + JOB, 4, "expected a single document in the stream, but found another document"),
        ("jobs: *nobody\n", 1, "this is not YAML: found undefined alias"),
        ("[" * 100_000, 1, "more than 32 levels of nesting"),
        (LAUGHS + "\n" + JOB, 1, "aliases (*name) stand for more than 100000 values"),
        ("jobs: &a [*a]\n", 1, "an alias (*name) stands for something that contains it"),
        ("jobs: !!python/object:os.system x\n", 1, "the tag 'tag:yaml.org,2002:python/object:os.system' is not"),
        ("just text\n", 1, "a pipeline must be a mapping of keys to values, not 'just text'"),
        ("- id: a\n", 1, "a pipeline must be a mapping of keys to values, not a list"),
        ("name: x\n", 1, "there is no 'jobs:' in this pipeline"),
        ("name: x\ntasks: []\n", 2, "there is no field 'tasks'"),
        ("name: x\njob:\n- id: a\n", 2, "there is no field 'job'; did you mean 'jobs'?"),
        ("name: [x]\n" + JOB, 1, "name must be a string, not a list"),
        ("name: a b\n" + JOB, 1, "name 'a b' can not be used"),
        (f"name: {'x' * 101}\n" + JOB, 1, "is 101 characters long; 100 is the most"),
        ("project: maybe\n" + JOB, 1, "project must be true or false, not 'maybe'"),
        ("project: true\n" + JOB + "  is_archive: true\n", 3, "leave is_archive out"),
        ("defaults: {id: x}\n" + JOB, 1, "there is no field 'id'"),
        ("defaults: [x]\n" + JOB, 1, "defaults must be a mapping"),
        ("defaults:\n  retries: many\n" + JOB, 2, "job 'a': retries must be a whole number"),
        ("jobs:\n", 1, "jobs must be a list, not nothing"),
        ("jobs: []\n", 1, "'jobs:' is an empty list; there is nothing to run"),
        ("jobs:\n  a: {file: a.py}\n", 2, "jobs must be a list, not a mapping"),
        ("jobs:\n- a.py\n", 2, "a job must be a mapping of keys to values, not 'a.py'"),
        ("jobs:\n- file: a.py\n", 2, "this job has no id; give it one with 'id:'"),
        ("jobs:\n- id:\n  file: a.py\n", 2, "this job has no id"),
        ("jobs:\n- id: a\n", 2, "job 'a': there is no file to run"),
        ("jobs:\n- id: a/b\n  file: a.py\n", 2, "job id 'a/b' can not be used"),
        ("jobs:\n- file: a.py\n  id: ❤\n", 3, "can not be used"),
        (JOB + "  dependz_on: [b]\n", 4, "there is no field 'dependz_on'; did you mean 'depends_on'?"),
        (JOB + "  file: b.py\n", 4, "the key 'file' is there twice, first in line 3"),
        (JOB + "  script: b.py\n", 4, "script and file are two names of one thing"),
        (JOB + "  ? [x]\n  : y\n", 4, "a key of a job must be a word, not a list"),
        (JOB + "- id: b\n  file: b.py\n- file: c.py\n  id: a\n", 7, "the job id 'a' is there twice, first in line 2"),
        (JOB + "  priority: high\n", 4, "job 'a': priority must be a whole number, not the string 'high'"),
        (JOB + "  priority: [1]\n", 4, "priority must be a whole number, not a list"),
        (JOB + "  delay: -5\n", 4, "delay is -5; it must be from 0 to"),
        (JOB + "  delay: -5s\n", 4, "delay is -5; it must be from 0 to"),
        (JOB + "  delay: .nan\n", 4, "delay must be a finite number"),
        (JOB + "  delay: soon\n", 4, "delay must be a number, or a number with a unit"),
        (JOB + "  port: 70000\n", 4, "port is 70000; it must be from 0 to 65535"),
        (JOB + "  port: '80'\n", 4, "port must be a whole number, or 'auto', not the string '80'"),
        (JOB + "  port: -1\n", 4, "port must be a whole number, or 'auto', not the number -1"),
        (JOB + "  port: auto\n", 4, "port: auto is for services; add type: service"),
        (JOB + "  restart: always\n", 4, "restart is for services; add type: service"),
        (JOB + "  type: run\n  instances: 1\n", 5, "instances is for services; add type: service"),
        (JOB + "  health: {}\n", 4, "health is for services; add type: service"),
        (JOB + "  type: cron\n  restart: no\n", 4, "type must be 'run' or 'service'"),
        (SERVICE + "  restart: no\n", 5, "restart must be 'always', 'on-failure' or 'never', not the string 'no'"),
        (SERVICE + "  max_memory: 1e9\n", 5, "max_memory must be a whole number of bytes"),
        (SERVICE + "  instances: 0\n", 5, "instances is 0; it must be from 1 to 1000"),
        (SERVICE + "  min_uptime: .nan\n", 5, "min_uptime must be a finite number"),
        (SERVICE + "  health: /\n", 5, "health must be a mapping such as {http: /health}, not the string '/'"),
        (SERVICE + "  health:\n    http: /\n", 5, "health: http needs a port"),
        (SERVICE + "  health:\n    comand: x\n", 6, "there is no field 'comand'; did you mean 'command'?"),
        (SERVICE + "  health:\n    unhealthy_after: 3\n", 6, "there is no field 'unhealthy_after'"),
        (SERVICE + "  health:\n    command: x\n    interval: 0\n", 5, "the interval of health is 0"),
        (SERVICE + "  health:\n    command: x\n    command: y\n", 7, "the key 'command' is there twice"),
        ("defaults:\n  restart: maybe\n" + SERVICE, 2, "restart must be 'always', 'on-failure' or 'never'"),
        (JOB + f"  port: {'9' * 5000}\n", 4, "is not a value that can be read"),
        (JOB + "  timeout: 2024-13-45\n", 4, "is not a value that can be read"),
        (JOB + "  timeout: 2024-01-01\n", 4, "timeout must be a number"),
        (JOB + "  affinity: sticky\n", 4, "affinity must be false, true or 'strict'"),
        (JOB + "  args: {a: b}\n", 4, "args must be a list or a string, not a mapping"),
        (JOB + "  args: [a, ~]\n", 4, "args may hold only strings and numbers, not nothing"),
        (JOB + '  args: "\'"\n', 4, "args must be splittable as a shell would"),
        (JOB + "  env: [A]\n", 4, "env must be a mapping of names to strings, not a list"),
        (JOB + "  env: {A: }\n", 4, "env may hold only strings and numbers, not nothing"),
        (JOB + "  env: {A: 1, A: 2}\n", 4, "the key 'A' is there twice"),
        (JOB + "  type: cron\n", 4, "type must be 'run' or 'service'"),
        (JOB + "  depends_on: [[x]]\n", 4, "parents may hold only names, not a list"),
        (JOB + "  depends_on: ['../x']\n", 4, "parent '..' can not be used"),
        (JOB + "  stop_signal: KILLER\n", 4, "stop_signal must be the name or number of a signal"),
        (JOB + "  requirement: ''\n", 4, "requirement '' is not a capability"),
        (JOB + "  <<: 3\n", 4, "what << names must be a mapping"),
    ],
)
def test_a_mistake_gets_its_line_and_a_sentence(tmp_path: Path, text: str | bytes, line: int, problem: str) -> None:
    error = refusal(tmp_path, text)
    assert problem in error.problem
    assert error.line == line


def test_a_file_called_so_that_no_run_can_be_needs_a_name(tmp_path: Path) -> None:
    path = write(tmp_path, JOB, "my pipeline.yaml")
    with pytest.raises(PipelineError, match=r"name 'my pipeline' can not be used.*'name:'"):
        load(path)


def test_a_file_too_large_is_no_pipeline(tmp_path: Path) -> None:
    path = write(tmp_path, b"#" * (16 * 1024 * 1024 + 1))
    with pytest.raises(InvalidRequest, match="larger than 16 MiB"):
        load(path)


# ── on the way to the master ──────────────────────────────────────────────────────────────────────


def test_a_refusal_of_the_master_gets_the_line_of_its_job(tmp_path: Path) -> None:
    pipeline = load(write(tmp_path, JOB + "- id: b\n  file: b.py\n  depends_on: [a, nobody]\n"))
    with pytest.raises(PipelineError, match=r"p\.yaml:4: cycle: a → b → a") as caught, located(pipeline):
        raise InvalidGraph("cycle: a → b → a", job="b")
    assert (caught.value.line, caught.value.details) == (4, {"job": "b"})
    with pytest.raises(PipelineError, match=r"p\.yaml:6: there is no parent"), located(pipeline):
        raise InvalidGraph("there is no parent 'nobody'", job="b", field="parents")
    with pytest.raises(PipelineError, match=r"p\.yaml:3: there is no file"), located(pipeline):
        raise NotFound("there is no file 'a.py' in perm_files/", job="a", field="file")


def test_a_refusal_that_names_no_job_stays_what_it_is(tmp_path: Path) -> None:
    pipeline = load(write(tmp_path, JOB))
    with pytest.raises(InvalidRequest, match=r"^too many$") as caught, located(pipeline):
        raise InvalidRequest("too many")
    assert type(caught.value) is InvalidRequest


def test_a_project_is_packed_and_its_files_are_entries(tmp_path: Path) -> None:
    (tmp_path / "steps").mkdir()
    (tmp_path / "steps" / "a.py").write_text("print(1)\n")
    pipeline = load(write(tmp_path, "project: true\nname: etl\njobs: [{id: a, file: ./steps/a.py}]"))
    with prepared(pipeline) as ready:
        assert ready.jobs == [TitanJob("a", "etl.zip/steps/a.py", is_archive=True)]
        assert (ready.folder / "etl.zip").is_file()
    assert not ready.folder.exists()


def test_a_pipeline_without_a_project_is_submitted_as_it_is(tmp_path: Path) -> None:
    pipeline: Pipeline = load(write(tmp_path, JOB))
    with prepared(pipeline) as ready:
        assert (ready.jobs, ready.folder) == (pipeline.jobs, tmp_path)
