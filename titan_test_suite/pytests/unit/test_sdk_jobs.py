"""A TitanJob: its spellings, its values, its file, and the JobSpec that is sent for it."""

from __future__ import annotations

import dataclasses
import os
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from titan_core.errors import InvalidRequest, NotFound
from titan_core.protocol.messages import JobSpec, Task
from titan_sdk import TitanJob
from titan_sdk.contents import INLINE_FILE, INLINE_TOTAL, Contents, split_archive
from titan_sdk.jobs import job_spec


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def spec_of(**fields: object) -> JobSpec:
    return job_spec(TitanJob(**{"job_id": "j", "filename": "job.py", **fields}), Contents())


def test_a_job_of_its_file_only_has_the_defaults_of_the_protocol() -> None:
    job = TitanJob(filename="steps/My extract.py")
    assert job.job_id == job.id == "My-extract"
    assert job_spec(job, Contents()) == JobSpec("My-extract", Task("steps/My extract.py"))


def test_every_field_reaches_the_wire() -> None:
    job = TitanJob(
        "load",
        "load.py",
        requirement="GPU",
        priority=10,
        parents=["extract", "other-run/x"],
        args=["--day", 3, 1.5, Path("in.csv")],
        port=8000,
        delay=1500,
        affinity=True,
        env={"MODE": "fast", "LEVEL": 3},
        timeout=90,
        retries=2,
        retry_backoff=0.5,
        max_attempts=4,
        stop_signal="INT",
        stop_grace="2s",
        warm=False,
        type="service",
    )
    task = Task(
        "load.py",
        args=("--day", "3", "1.5", "in.csv"),
        env=(("MODE", "fast"), ("LEVEL", "3")),
        timeout_s=90.0,
        port=8000,
        stop_signal=signal.SIGINT,
        stop_grace_s=2.0,
        warm=False,
    )
    parents = ("extract", "other-run/x")
    assert job_spec(job, Contents()) == JobSpec(
        "load", task, parents, "GPU", 10, 1.5, "prefer", 2, 0.5, 4, service=True
    )


@pytest.mark.parametrize(
    "aliases",
    [{"id": "j", "file": "f.py", "depends_on": ["p"]}, {"id": "j", "script": "f.py", "dependencies": "p"}],
)
def test_other_spellings_mean_the_same(aliases: dict[str, object]) -> None:
    assert TitanJob(**aliases) == TitanJob("j", "f.py", parents=["p"])


def test_none_means_the_default() -> None:
    assert TitanJob("j", "f.py", port=None, env=None, args=None, timeout=None) == TitanJob("j", "f.py")


def test_a_job_is_immutable_and_can_be_copied_with_changes() -> None:
    job = TitanJob("j", "f.py", args="a b", affinity="strict", type="service")
    with pytest.raises(dataclasses.FrozenInstanceError):
        job.priority = 3  # type: ignore[misc]
    assert dataclasses.replace(job, priority=3) == TitanJob(
        "j", "f.py", args=["a", "b"], affinity="strict", type="service", priority=3
    )


@pytest.mark.parametrize(
    ("written", "args"),
    [
        ("--name 'a b' \"$HOME\" *.csv", ("--name", "a b", "$HOME", "*.csv")),
        ("", ()),
        ("''", ("",)),
        (["a b", 1], ("a b", "1")),
        (("x",), ("x",)),
    ],
)
def test_args_are_split_as_a_shell_would(written: object, args: tuple[str, ...]) -> None:
    assert spec_of(args=written).task.args == args


@pytest.mark.parametrize(
    ("written", "seconds"),
    [(250, 0.25), ("500ms", 0.5), ("2s", 2.0), (" 1.5 m ", 90.0), ("1h", 3600.0), ("1d", 86400.0)],
)
def test_a_delay_is_milliseconds_or_says_its_unit(written: object, seconds: float) -> None:
    assert spec_of(delay=written).delay_s == pytest.approx(seconds)


def test_other_durations_are_seconds() -> None:
    assert spec_of(timeout=2.5).task.timeout_s == 2.5
    assert spec_of(timeout=timedelta(minutes=1)).task.timeout_s == 60.0


@pytest.mark.parametrize(
    ("written", "sent"), [(False, ""), (True, "prefer"), ("prefer", "prefer"), ("strict", "strict")]
)
def test_affinity(written: object, sent: str) -> None:
    assert spec_of(affinity=written).affinity == sent


@pytest.mark.parametrize("written", ["INT", "SIGINT", "sigint", 2, signal.SIGINT])
def test_a_signal_has_a_name_or_a_number(written: object) -> None:
    assert spec_of(stop_signal=written).task.stop_signal == 2


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("pirority", 1, "there is no field 'pirority'; did you mean 'priority'?"),
        ("zzz", 1, "there is no field 'zzz'; known are affinity, args, "),
        ("job_name", 1, "there is no field 'job_name'"),
        ("priority", "high", "priority must be a whole number, not the string 'high'"),
        ("priority", True, "priority must be a whole number, not true"),
        ("priority", 10**12, "priority is 1000000000000; it must be from"),
        ("requirement", ["GPU"], "requirement must be a string, not a list"),
        ("requirement", "G P U", "requirement 'G P U' is not a capability"),
        ("parents", {"a": 1}, "parents must be a list of names, not a mapping"),
        ("parents", ["a", 3], "parents may hold only names, not the number 3"),
        ("parents", ["../a"], "parent '..' can not be used"),
        ("args", 5, "args must be a list or a string, not the number 5"),
        ("args", "a 'b", "args must be splittable as a shell would (no closing quotation)"),
        ("args", [True], "args may hold only strings and numbers (put quotes around true and false), not true"),
        ("args", [["a"]], "args may hold only strings and numbers, not a list"),
        ("args", ["\udc80"], "args may hold only valid UTF-8"),
        ("args", ["a\0b"], "args and env can not hold"),
        ("args", ["x" * 200_000], "is the most, pass a file"),
        ("env", ["A=1"], "env must be a mapping of names to strings, not a list"),
        ("env", {1: "a"}, "env may have only strings for names, not the number 1"),
        ("env", {"A": None}, "env may hold only strings and numbers, not nothing"),
        ("env", {"A-B": "x"}, "env: 'A-B' is not the name of a variable"),
        ("env", {"TITAN_RUN_ID": "x"}, "env: TITAN_RUN_ID is set by Titan"),
        ("port", "80", "port must be a whole number, or 'auto', not the string '80'"),
        ("port", -1, "port must be a whole number, or 'auto', not the number -1"),
        ("port", True, "port must be a whole number, or 'auto', not true"),
        ("port", -2, "port is -2; it must be from 0 to 65535"),
        ("port", 70000, "port is 70000; it must be from 0 to 65535"),
        ("delay", -1, "delay is -0.001; it must be from 0 to"),
        ("delay", "soon", "delay must be a number, or a number with a unit such as 500ms"),
        ("delay", float("nan"), "delay must be a finite number"),
        ("delay", 10**400, "delay must be a finite number"),
        ("timeout", True, "timeout must be a number"),
        ("affinity", "sticky", "affinity must be false, true or 'strict', not the string 'sticky'"),
        ("type", "job", "type must be 'run' or 'service', not the string 'job'"),
        ("retries", 1.5, "retries must be a whole number, not the number 1.5"),
        ("retries", -1, "retries is -1"),
        ("stop_signal", "HUGO", "stop_signal must be the name or number of a signal, such as TERM"),
        ("stop_signal", 999, "stop_signal 999 is not a signal that can end a process"),
        ("stop_grace", "forever", "stop_grace must be a number"),
        ("is_archive", "yes", "is_archive must be true or false, not the string 'yes'"),
        ("file", "b.py", "filename is given twice, the second time as file"),
        ("id", "k", "job_id is given twice, the second time as id"),
    ],
)
def test_a_wrong_value_gets_a_sentence(field: str, value: object, problem: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        spec_of(**{field: value})
    assert problem in caught.value.message
    assert caught.value.message.startswith("job 'j': ")
    assert caught.value.details["job"] == "j"
    assert "field" in caught.value.details


@pytest.mark.parametrize("name", ["", "a/b", "..", "a\0b", "a\nb", "x" * 10_000, "❤", " a"])
def test_a_job_id_that_can_not_be_used(name: str) -> None:
    with pytest.raises(InvalidRequest, match=r"job id .* can not be used"):
        spec_of(job_id=name)


def test_a_job_without_a_file_says_so() -> None:
    with pytest.raises(InvalidRequest, match="job 'x': there is no file to run"):
        TitanJob("x")


def test_what_is_no_job_says_so() -> None:
    with pytest.raises(InvalidRequest, match="a job must be a TitanJob, not dict"):
        job_spec({"id": "a"}, Contents())  # type: ignore[arg-type]


# ── its file ──────────────────────────────────────────────────────────────────────────────────────


def test_a_local_file_is_sent_by_content_under_its_own_name() -> None:
    Path("steps").mkdir()
    Path("steps/a.py").write_text("print(1)\n")
    contents = Contents()
    task = job_spec(TitanJob("a", "steps/a.py"), contents).task
    assert task.asset == "a.py"
    assert contents.by_sha256[task.sha256].data == b"print(1)\n"


def test_what_is_not_here_is_a_name_in_perm_files() -> None:
    assert job_spec(TitanJob("a", "etl/a.py"), Contents()).task == Task("etl/a.py")


@pytest.mark.parametrize("name", ["/nowhere/a.py", "./a.py", "../a.py", "~/a.py"])
def test_a_path_that_can_only_be_local_must_exist(name: str) -> None:
    with pytest.raises(NotFound, match=f"job 'j': there is no file '{name}'"):
        spec_of(filename=name)


@pytest.mark.parametrize("name", ["a/../b.py", "a\0.py", "a\n.py", "x" * 10_000, "a\\b.py", "a//b.py"])
def test_a_name_that_no_file_can_have(name: str) -> None:
    with pytest.raises(InvalidRequest, match="is not a file name"):
        spec_of(filename=name)


def test_an_emoji_is_a_file_name_like_any_other() -> None:
    Path("🚀.py").write_text("print(1)\n")
    assert spec_of(filename="🚀.py").task.asset == "🚀.py"


def test_a_directory_where_a_file_is_meant() -> None:
    Path("folder.py").mkdir()
    with pytest.raises(InvalidRequest, match=r"job 'j': folder\.py is a directory where a file is meant"):
        spec_of(filename="folder.py")


def test_an_empty_file_has_nothing_to_run() -> None:
    Path("a.py").touch()
    with pytest.raises(InvalidRequest, match=r"job 'j': a\.py is empty: there is nothing to run"):
        spec_of(filename="a.py")


def test_a_file_without_ending_needs_its_execute_bit() -> None:
    tool = Path("tool")
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o644)
    with pytest.raises(InvalidRequest, match=r"tool has no execute bit: set it with chmod \+x"):
        spec_of(filename="tool")
    tool.chmod(0o755)
    assert spec_of(filename="tool").task.asset == "tool"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_can_not_be_read() -> None:
    Path("a.py").write_text("print(1)\n")
    Path("a.py").chmod(0)
    with pytest.raises(InvalidRequest, match=r"a\.py can not be read: Permission denied"):
        spec_of(filename="a.py")


def test_the_error_of_a_file_names_its_field() -> None:
    Path("a.py").touch()
    with pytest.raises(InvalidRequest) as caught:
        spec_of(filename="a.py")
    assert caught.value.details == {"job": "j", "field": "filename"}


def test_only_so_much_is_kept_in_memory() -> None:
    contents = Contents()
    many = INLINE_TOTAL // INLINE_FILE + 3
    for number in range(many):
        Path(f"{number}.py").write_bytes(b"%06d" % number + b"#" * (INLINE_FILE - 6))
        job_spec(TitanJob(f"j{number}", f"{number}.py"), contents)
    kept = [file for file in contents.by_sha256.values() if file.data is not None]
    assert (len(contents.by_sha256), len(kept)) == (many, many - 3)


# ── archives ──────────────────────────────────────────────────────────────────────────────────────


def test_an_archive_and_its_entry_are_told_apart() -> None:
    assert split_archive("a/b.zip/c.zip/d.py") == ("a/b.zip", "c.zip/d.py")
    spec = job_spec(TitanJob("a", "project.zip/steps/one.py", is_archive=True), Contents())
    assert (spec.task.asset, spec.task.sha256, spec.task.entry) == ("project.zip", "", "steps/one.py")


@pytest.mark.parametrize("name", ["project.zip", "project/one.py", ""])
def test_an_archive_without_an_entry(name: str) -> None:
    with pytest.raises(InvalidRequest, match=r"project\.zip/path/entry\.py|must be a file name"):
        job_spec(TitanJob("a", name, is_archive=True), Contents())


@pytest.mark.parametrize("name", ["p.zip/../a.py", "p.zip//a.py", "p.zip/a\0.py", "../p.zip/a.py"])
def test_an_archive_with_an_entry_that_leaves_it(name: str) -> None:
    with pytest.raises((InvalidRequest, NotFound)):
        job_spec(TitanJob("a", name, is_archive=True), Contents())


def test_a_local_archive_that_is_none() -> None:
    Path("p.zip").write_text("not a zip")
    with pytest.raises(InvalidRequest, match=r"p\.zip is not a zip archive"):
        job_spec(TitanJob("a", "p.zip/a.py", is_archive=True), Contents())
