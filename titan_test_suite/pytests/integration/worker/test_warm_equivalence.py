"""Whatever a script looks at and however it ends: a warm start is none that it could tell from a cold one."""

from __future__ import annotations

import os
import py_compile
import re
import shutil
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from titan_core.worker.process import Launch, StartProcess, start_process
from titan_core.worker.warm import Warm, WarmProcess
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.pytests.support.warm_cases import CASES, LATIN_1, Case

COMMON = {"PATH": os.environ["PATH"], "HOME": "/", "LANG": "C.UTF-8", "PARENT": str(os.getpid())}
NO_LOCALE = {name: value for name, value in COMMON.items() if name != "LANG"}
"""A Python that is started in it sets a variable by itself."""
LOCALE = {"environment", "variables", "flags_and_paths", "stdio", "locales", "subprocesses", "text_of_all_kinds"}
"""Cases that look at what it is."""
AT_ONCE = 4
ADDRESS = re.compile(rb"0x[0-9a-f]{8,}")
"""Of an object: no two runs have the same."""


class Seen(NamedTuple):
    output: bytes
    """Standard output and error, as they came; no addresses."""
    ending: int
    """The exit code, or minus the signal."""


class Both(NamedTuple):
    cold: Seen
    warm: Seen
    was_warm: bool


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Both]:
    """Of every case, what a cold and what a warm run showed."""
    return _run_all(CASES, COMMON, tmp_path_factory.mktemp("cases"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_warm_run_is_as_a_cold_one(case: Case, seen: dict[str, Both]) -> None:
    both = seen[case.name]
    assert both.warm == both.cold
    assert both.was_warm == case.warm


def test_there_are_many_cases_and_they_end_in_many_ways(seen: dict[str, Both]) -> None:
    assert len(seen) == len(CASES) > 100
    assert {0, 1, 2, 3, 120, -2, -9, -11, -15} <= {both.cold.ending for both in seen.values()}


def test_where_a_python_sets_a_variable_by_itself(tmp_path: Path) -> None:
    looking = [case for case in CASES if case.name in LOCALE]
    for both in _run_all(looking, NO_LOCALE, tmp_path).values():
        assert both.warm == both.cold
        assert both.was_warm


def _run_all(cases: list[Case], common: dict[str, str], place: Path) -> dict[str, Both]:
    warm = Warm(common)
    warm.start()
    wait_until(lambda: warm.server_pid)

    def run_both(case: Case) -> Both:
        cold, _ = _run(case, common, place / case.name, start_process)
        return Both(cold, *_run(case, common, place / case.name, warm.start_process))

    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return dict(zip((case.name for case in cases), pool.map(run_both, cases), strict=True))
    finally:
        warm.stop()
        assert warm.join(5)


def _run(case: Case, common: dict[str, str], place: Path, start: StartProcess) -> tuple[Seen, bool]:
    """What it shows, and whether it was warm. Always at the same place, for its path is seen."""
    script = _write(case, place)
    scratch = place.with_suffix(".scratch")
    log = os.open(place.with_suffix(".log"), os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    try:
        env = {**common, "SCRATCH": str(scratch), **case.env}
        process = start(Launch([sys.executable, "-u", str(script), *case.args], str(place), env, log), None)
        ending = process.wait()
        return Seen(ADDRESS.sub(b"0x", os.pread(log, 1 << 24, 0)), ending), isinstance(process, WarmProcess)
    finally:
        os.close(log)
        shutil.rmtree(place)


def _write(case: Case, place: Path) -> Path:
    """The files of a case; the path of its script."""
    place.mkdir()
    for name, content in case.files.items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text(content)
    link, _, real = case.file.partition(" -> ")
    path = place / (real or link)
    path.parent.mkdir(exist_ok=True)
    path.write_text(case.script, "latin-1" if case.name in LATIN_1 else "utf-8", newline="")
    if real:
        (place / link).symlink_to(real)
        return place / link
    return _special(case, place, path)


def _special(case: Case, place: Path, path: Path) -> Path:
    if case.script == "ZIP":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("__main__.py", "import sys\nprint(__name__, __file__, sys.argv, sys.path[0])")
    elif case.script == "PYC":
        (place / "source.py").write_text("print(__name__, __file__)")
        py_compile.compile(str(place / "source.py"), str(path))
    return place / "main.py" if case.name.endswith(("_directory", "_not_there")) else path
