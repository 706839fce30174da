"""The tables of the documentation against what the code declares: settings, keys, states, actions, errors, limits."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import titan_sdk
from titan_core.config import MasterConfig, WorkerConfig
from titan_core.master.__main__ import parser as master_parser
from titan_core.net.server import MAX_CONNECTIONS
from titan_core.protocol.checks import MAX_JOBS
from titan_core.scheduler.settings import Settings
from titan_core.scheduler.states import (
    EDGES,
    FINAL,
    INFRASTRUCTURE,
    INFRASTRUCTURE_BUDGET,
    JobState,
    Outcome,
    RunState,
    ServiceState,
    WorkerState,
)
from titan_core.worker.__main__ import _parser as worker_parser
from titan_sdk import TitanClient, TitanJob
from titan_sdk.fields import ALIASES, READERS
from titan_sdk.handles import JobHandle, RunHandle
from titan_sdk.pipeline import load
from titan_sdk.pipeline_file import _TOP_KEYS
from titan_sdk.schedule_fields import FIELDS, WHEN, Schedule
from titan_test_suite.pytests.support.documents import ROOT, code_spans, names_in, section, tables

DOCS = ROOT / "docs"
OPERATIONS, PIPELINES, SCHEDULING, SDK, STATES = (
    DOCS / f"{name}.md" for name in ("operations", "pipelines", "scheduling", "sdk", "states")
)
SOURCES = [path for package in ("titan_core", "titan_sdk") for path in sorted((ROOT / package).rglob("*.py"))]
_LOCK_NAMES = ("lock", "condition", "_filled", "_changed", "_GATE")
NOT_VARIABLES = {"TITAN_PROTO", "TITAN_MASTER_", "TITAN_WORKER_", "TITAN_WORKER_X"}


# ── operations ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("heading, config", [("the master", MasterConfig), ("a worker", WorkerConfig)])
def test_settings(heading: str, config: type) -> None:
    (rows,) = tables(OPERATIONS, f"Settings of {heading}")
    declared = [(field.name, _variable(config, field)) for field in dataclasses.fields(config)]
    assert [(names_in(row[0])[0], names_in(row[2])[0]) for row in rows] == declared
    for row, field in zip(rows, dataclasses.fields(config), strict=True):
        if field.default is not dataclasses.MISSING:
            assert row[3] == _written(field.default), field.name


@pytest.mark.parametrize("heading, parser", [("the master", master_parser()), ("a worker", worker_parser())])
def test_flags_of_settings(heading: str, parser: Any) -> None:
    (rows,) = tables(OPERATIONS, f"Settings of {heading}")
    documented = {flag for row in rows for flag in names_in(row[1])}
    assert documented == {*parser._option_string_actions} - {"-h", "--help"}


@pytest.mark.parametrize("heading, config", [("the master", MasterConfig), ("a worker", WorkerConfig)])
def test_flags_that_refusals_name(heading: str, config: type) -> None:
    (rows,) = tables(OPERATIONS, f"Settings of {heading}")
    for row, field in zip(rows, dataclasses.fields(config), strict=True):
        assert names_in(row[1]) in ([], [field.metadata["flag"] or f"--{field.name.replace('_', '-')}"])


def test_environment_variables() -> None:
    mentioned = {name for path in SOURCES for name in re.findall(r"\bTITAN_[A-Z_]+\b", path.read_text())}
    assert mentioned - NOT_VARIABLES <= {*code_spans(OPERATIONS)}


def test_log_actions() -> None:
    (rows,) = tables(OPERATIONS, "Logs")
    documented = [names_in(row[0])[0] for row in rows]
    assert len(documented) == len({*documented})
    assert {*documented} == {action for path in SOURCES for action in _actions(path)}


def test_messages_that_are_explained() -> None:
    (rows,) = tables(OPERATIONS, "Troubleshooting")
    said = [message for path in SOURCES for message in _messages(path)]
    explained = [message for row in rows for message in names_in(row[0])]
    assert explained
    assert not [message for message in explained if not any(message in text for text in said)]


def test_limits() -> None:
    text = section(OPERATIONS, "Limits")
    settings = Settings()
    for limit in (MAX_JOBS, MAX_CONNECTIONS, settings.runs_kept, settings.jobs_kept):
        assert f"{limit:,}" in text


def _variable(config: type, field: dataclasses.Field[Any]) -> str:
    section_name = config.__name__.removesuffix("Config")
    return field.metadata["variable"] or f"TITAN_{section_name}_{field.name}".upper()


def _written(default: object) -> str:
    """A default as a person writes it."""
    if default in (None, ""):
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return "-".join(map(str, default)) if isinstance(default[0], int) else ",".join(default)
    return f"{default:g}" if isinstance(default, float) else str(default)


def _messages(path: Path) -> Iterator[str]:
    """The texts of a file, with `…` for what is filled in."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _actions(path: Path) -> Iterator[str]:
    """The values of `"action"` in the dictionaries of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "action":
                    assert isinstance(value, ast.Constant), f"{path}: an action is a word, not made at run time"
                    yield value.value


# ── pipelines ─────────────────────────────────────────────────────────────────────────────────────


def test_keys_of_a_pipeline() -> None:
    (rows,) = tables(PIPELINES, "The file")
    assert [names_in(row[0])[0] for row in rows] == list(_TOP_KEYS)


def test_keys_of_a_job() -> None:
    (rows,) = tables(PIPELINES, "Keys of a job")
    documented = [name for row in rows for name in (*names_in(row[0]), *names_in(row[1]))]
    assert sorted(documented) == sorted({*READERS, *ALIASES})
    for row in rows:
        meant = {ALIASES.get(name, name) for name in (*names_in(row[0]), *names_in(row[1]))}
        assert len(meant) == 1, row[0]


def test_keys_of_a_schedule(tmp_path: Path) -> None:
    """Each has a row, with an example that says something else than the default."""
    (rows,) = tables(SCHEDULING, "Keys of a schedule")
    assert [names_in(row[0])[0] for row in rows] == list(FIELDS)
    for name, (*_, example) in zip(FIELDS, rows, strict=True):
        time = "" if name in WHEN else f"cron: {'0 ' * (name == 'seconds')}0 2 * * *"
        path = tmp_path / "p.yaml"
        path.write_text(f"jobs: [{{id: a, file: a.py}}]\nschedule:\n  {names_in(example)[0]}\n  {time}\n")
        assert getattr(load(path).schedule, name) != getattr(Schedule(), name), example


def test_defaults_and_examples_of_keys() -> None:
    (rows,) = tables(PIPELINES, "Keys of a job")
    defaults = {field.name: field.default for field in dataclasses.fields(TitanJob)}
    for key, _, _, default, _, example in rows:
        field = ALIASES.get(names_in(key)[0], names_in(key)[0])
        assert default.strip("`") == _default_in_yaml(field, defaults[field]), field
        assert names_in(example)[0].startswith(f"{names_in(key)[0]}: ")


def _default_in_yaml(field: str, default: Any) -> str:
    if default is dataclasses.MISSING:
        return ""
    if default in ((), None):
        return "none"
    if field == "stop_signal":
        return signal.Signals(default).name.removeprefix("SIG")
    return _written(default)


# ── states ────────────────────────────────────────────────────────────────────────────────────────


def test_job_states_and_edges() -> None:
    states, edges = tables(STATES, "Jobs")
    assert {row[0] for row in states} == {state.value for state in JobState}
    assert {row[0] for row in states if row[2] == "yes"} == {state.value for state in FINAL}
    drawn = [(row[0], row[1]) for row in edges]
    assert len(drawn) == len({*drawn})
    assert {*drawn} == {(before.value, after.value) for before, afters in EDGES.items() for after in afters}


def test_other_states() -> None:
    assert [row[0] for row in tables(STATES, "Services")[0]] == [state.value for state in ServiceState]
    assert [row[0] for row in tables(STATES, "Runs")[0]] == [state.value for state in RunState]
    assert [row[0] for row in tables(STATES, "Workers")[0]] == [state.value for state in WorkerState]
    (attempts,) = tables(STATES, "Attempts")
    assert [row[0] for row in attempts] == [outcome.value for outcome in Outcome]
    assert {row[0] for row in attempts if "other budget" in row[2]} == {o.value for o in INFRASTRUCTURE}


def test_budgets() -> None:
    (rows,) = tables(STATES, "The two budgets")
    assert rows[1][1] == f"{INFRASTRUCTURE_BUDGET}, fixed"
    assert {*rows[1][2].split(", ")} == {outcome.value for outcome in INFRASTRUCTURE}


# ── architecture ──────────────────────────────────────────────────────────────────────────────────


def test_threads() -> None:
    (rows,) = tables(DOCS / "architecture.md", "Threads")
    documented = [name for row in rows for name in names_in(row[0])]
    made = {name for path in SOURCES for name in _threads(ast.parse(path.read_text()))}
    assert made
    assert not [name for name in made if not any(row.startswith(name) for row in documented)]


def _threads(module: ast.Module) -> Iterator[str]:
    """The names that threads are given, up to what is filled in."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".spawn"):
            name = node.args[0].values[0] if isinstance(node.args[0], ast.JoinedStr) else node.args[0]
            assert isinstance(name, ast.Constant)
            yield name.value


def test_locks() -> None:
    (rows,) = tables(DOCS / "architecture.md", "Locks")
    documented = sorted(name for row in rows for name in names_in(row[0]))
    assert documented == sorted({name for path in SOURCES for name in _locks(ast.parse(path.read_text()))})


def _locks(parent: ast.AST, owner: str = "") -> Iterator[str]:
    """What is assigned a lock, or a condition with a lock of its own, as `Class._name`."""
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.Assign) and re.search(r"threading\.(Lock\(|Condition\(\))", ast.unparse(node.value)):
            for target in ast.walk(node.targets[0]):
                if isinstance(target, ast.Attribute | ast.Name) and ast.unparse(target).endswith(_LOCK_NAMES):
                    yield owner + ast.unparse(target).removeprefix("self.")
        else:
            yield from _locks(node, f"{node.name}." if isinstance(node, ast.ClassDef) else owner)


# ── the SDK ───────────────────────────────────────────────────────────────────────────────────────


def test_methods_of_the_client() -> None:
    (rows,) = tables(SDK, "Every method")
    documented = {name: words for row in rows for name, words in map(_call, names_in(row[0]))}
    assert documented.keys() == _methods(TitanClient)
    for name, words in documented.items():
        assert words == [*inspect.signature(getattr(TitanClient, name)).parameters][1:], name


def test_methods_of_handles() -> None:
    (rows,) = tables(SDK, "Handles")
    for column, handle in enumerate((RunHandle, JobHandle)):
        documented = {name for row in rows for name, _ in map(_call, names_in(row[column])) if name[0] != "."}
        assert documented == _methods(handle)


def test_errors() -> None:
    (rows,) = tables(SDK, "Errors")
    exported = {getattr(titan_sdk, name) for name in titan_sdk.__all__}
    errors = {kind.__name__ for kind in exported if issubclass(kind, Exception)}
    assert {names_in(row[0])[0] for row in rows} == errors


def _call(text: str) -> tuple[str, list[str]]:
    """`name(a, b=1)` as the name and those of its arguments."""
    name, _, arguments = text.partition("(")
    words = [word.strip().lstrip("*") for word in arguments.rstrip(")").split(",")]
    return name, [word.partition("=")[0] for word in words if word]


def _methods(kind: type) -> set[str]:
    """Its public methods, and those of the parts that it is made of."""
    return {name for name, value in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}
