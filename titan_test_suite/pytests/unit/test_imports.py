"""Who imports whom, who makes threads, what a module may be called: the rules of the packages, read from the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("titan_core", "titan_sdk", "dashboard")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]

IMPURE = {"socket", "threading", "time", "random", "secrets", "os", "logging", "datetime", "select", "subprocess"}
"""What a decision has no need of: time, ids and jitter come in with the event."""

MAY_IMPORT = {
    "titan_core.protocol": {"titan_core.errors", "titan_core.frozen", "titan_core.protocol"},
    "titan_core.scheduler": {"titan_core.errors", "titan_core.frozen", "titan_core.instants", "titan_core.scheduler"},
    "titan_core.timetable": {"titan_core.errors", "titan_core.protocol", "titan_core.timetable"},
    "titan_sdk": {
        "titan_core.collector",
        "titan_core.errors",
        "titan_core.net",
        "titan_core.protocol",
        "titan_core.timetable",
        "titan_sdk",
    },
    "dashboard": {
        "titan_core.errors",
        "titan_core.lifecycle",
        "titan_core.protocol",
        "titan_core.signals",
        "titan_core.timetable",
        "titan_sdk",
        "dashboard",
    },
}
"""Packages that may import nothing of Titan but this."""

MAY_NOT_IMPORT = {
    "titan_core.net": {"titan_core.scheduler", "titan_core.master", "titan_core.worker", "titan_sdk"},
    "titan_core.worker": {"titan_core.scheduler", "titan_core.master", "titan_sdk"},
}

THREAD_MAKERS = {"threading.Thread", "Thread", "threading.Timer", "Timer", "_thread.start_new_thread"}
LINES_MOST = 400
TABLES = {"titan_core/protocol/messages.py"}
"""Declarations and nothing else; splitting them would only make them harder to look up."""


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def sources(package: str) -> list[Path]:
    return [path for path in SOURCES if below(module(path), package)]


def below(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def imports(path: Path) -> Iterator[str]:
    """Dotted names of all the file imports, wherever in it, and of what it takes `from` them."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls(path: Path) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(tree(path)) if isinstance(node, ast.Call)}


def test_there_is_something_to_judge() -> None:
    assert all(sources(package) for package in [*MAY_IMPORT, *MAY_NOT_IMPORT])


def test_the_scheduler_is_pure() -> None:
    for path in sources("titan_core.scheduler"):
        assert not {name.split(".")[0] for name in imports(path)} & IMPURE, path
        assert not calls(path) & {"open", "print", "input"}, path


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_what_a_package_may_import(package: str) -> None:
    for path in sources(package):
        of_titan = {name for name in imports(path) if name.startswith(("titan", "dashboard"))}
        strangers = {name for name in of_titan if not any(below(name, allowed) for allowed in MAY_IMPORT[package])}
        assert not strangers, f"{path} imports {strangers}"


@pytest.mark.parametrize("package", MAY_NOT_IMPORT)
def test_what_a_package_may_not_import(package: str) -> None:
    for path in sources(package):
        above = {name for name in imports(path) if any(below(name, high) for high in MAY_NOT_IMPORT[package])}
        assert not above, f"{path} imports {above}"


def test_only_lifecycle_makes_threads() -> None:
    makers = {module(path) for path in SOURCES if calls(path) & THREAD_MAKERS}
    assert makers == {"titan_core.lifecycle"}


def test_no_module_is_named_after_nothing() -> None:
    assert not {path.stem for path in SOURCES} & {"utils", "util", "common", "helpers", "helper", "misc"}


def test_no_file_is_asking_to_be_split() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    assert not {path: lines for path, lines in lengths.items() if lines > LINES_MOST and path not in TABLES}
