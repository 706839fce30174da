"""The directories of a home that a worker uses, and what an attempt finds in them.

    titan_workspace/jobs/<run id>/<job id>/    the script's copy or project-<n>/, and attempt-<n>.log
    titan_workspace/shared/<run id>/           where the jobs of a run leave files for each other
    titan_workspace/cache/                     see cache.py

A script runs as a copy of its own, so that a job that edits itself harms nobody, in the shared
directory of its run. A project runs in a copy of its own, which is removed when the attempt is over.
Called by the slot threads, `forget` by the forgetter; two attempts never use the same places.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from titan_core.errors import InvalidRequest
from titan_core.frozen import dataclass
from titan_core.protocol.checks import is_program, shown
from titan_core.protocol.messages import StartAttempt
from titan_core.worker import commands
from titan_core.worker.cache import AssetCache, Fetch
from titan_core.worker.process import FORK_GATE
from titan_core.worker.turn import TURN

log = logging.getLogger("titan.worker")

_OWN_NAMES = re.compile(r"attempt-\d+\.log|project-\d+")
_PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Where one attempt runs. All paths are absolute."""

    script: str
    cwd: str
    shared: str
    log: str
    project: str = ""
    """The project's copy, to be removed afterwards; empty: there is none."""
    fresh: bool = False
    """Nothing is in the directory of the script but what the worker has just put there."""


class Workspace:
    """titan_workspace/ of one home."""

    def __init__(self, home: Path, fetch: Fetch) -> None:
        self.directory = home / "titan_workspace"
        self._jobs = str(self.directory / "jobs")
        self._shared = str(self.directory / "shared")
        self._cache = AssetCache(self.directory / "cache", fetch)

    def prepare(self, start: StartAttempt) -> Place:
        """Put everything in its place. Raises what the asset makes impossible (InvalidRequest, NotFound,
        ArchiveRefused), a retryable TitanError when the master can not be asked, or OSError."""
        own = f"{self._jobs}/{start.run_id}/{start.job_id}"
        shared = f"{self._shared}/{start.run_id}"
        log = f"{own}/attempt-{start.number}.log"
        fresh = _make_directory(own)
        if not os.access(shared, os.F_OK):  # as nearly always it is there, and a mkdir in vain takes longer
            _make_directory(shared)
        if not start.task.entry:
            return Place(self._prepare_script(start, own), shared, shared, log, fresh=fresh)
        with TURN.away():
            project = self._prepare_project(start, own)
        return Place(f"{project}/{start.task.entry}", project, shared, log, project)

    def clear(self, place: Place) -> None:
        """The attempt is over: remove what only it needed."""
        if place.project:
            with TURN.away():
                shutil.rmtree(place.project, ignore_errors=True)

    def forget(self, run_id: str) -> None:
        """Delete all that the run has left. What can not be deleted stays, and is told; does not raise."""
        for path in (Path(self._jobs, run_id), Path(self._shared, run_id)):
            with contextlib.suppress(OSError):  # no link, as nearly always, or not there
                path.unlink()
            shutil.rmtree(path, ignore_errors=True)
            if os.path.lexists(path):
                log.warning("%s can not be deleted as a whole", path, extra={"action": "runs.not_forgotten"})

    def _prepare_script(self, start: StartAttempt, own: str) -> str:
        asset, sha256 = start.task.asset, start.task.sha256
        name = asset.rpartition("/")[2]
        if _OWN_NAMES.fullmatch(name):
            name = f"script-{name}"
        content = self._cache.small_content(sha256)
        if content is None:
            with TURN.away():
                _copy_script(self._cache.content(sha256), f"{own}/{name}", asset)
        else:
            _write_script(content, f"{own}/{name}", asset)
        return f"{own}/{name}"

    def _prepare_project(self, start: StartAttempt, own: str) -> str:
        original = self._cache.project(start.task.sha256, start.task.asset)
        _check_entry(original, start)
        project = f"{own}/project-{start.number}"
        shutil.rmtree(project, ignore_errors=True)
        try:
            shutil.copytree(original, project)
        except OSError:  # a full disk is to have what room there is
            shutil.rmtree(project, ignore_errors=True)
            raise
        entry = start.task.entry
        if is_program(entry):  # written once more, by itself: see FORK_GATE
            _copy_script(original / entry, f"{project}/{entry}", entry)
        return project


def _write_script(content: bytes, target: str, name: str) -> None:
    """A fresh file with this content, executable if it is to be executed itself."""
    commands.check_content(name, content)

    def fill(descriptor: int) -> None:
        if os.write(descriptor, content) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)

    _write(target, name, fill)


def _copy_script(source: Path, target: str, name: str) -> None:
    """As `_write_script`, with the content of a file of any size."""
    with open(source, "rb") as original:
        commands.check_content(name, original.peek())

        def fill(descriptor: int) -> None:
            with open(descriptor, "wb", closefd=False) as copy:
                shutil.copyfileobj(original, copy, _PIECE_BYTES)

        _write(target, name, fill)


def _write(target: str, name: str, fill: Callable[[int], None]) -> None:
    """A new file, filled through its descriptor; no process is made meanwhile if it is a program."""
    program = is_program(name)
    with FORK_GATE if program else contextlib.nullcontext():
        descriptor = _create(target, 0o755 if program else 0o644)
        try:
            fill(descriptor)
        finally:
            os.close(descriptor)


def _create(target: str, mode: int) -> int:
    """A new file; one of an earlier attempt, which may have been changed, makes room for it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(target, flags, mode)
    except FileExistsError:
        Path(target).unlink()
        return os.open(target, flags, mode)


def _check_entry(project: Path, start: StartAttempt) -> None:
    asset, entry = start.task.asset, start.task.entry
    path = project / entry
    if path.is_dir():
        raise InvalidRequest(f"{shown(entry)} in {asset} is a directory; name a file in it")
    if not path.is_file():
        raise InvalidRequest(f"{asset} has no {shown(entry)}; name a file that is in it")
    if not path.stat().st_size:
        raise InvalidRequest(f"{shown(entry)} in {asset} is empty: there is nothing to run")
    commands.check_executable(str(path), entry)


def _make_directory(path: str) -> bool:
    """Whether it was not there before, for all that is known."""
    try:
        os.mkdir(path)  # noqa: PTH102 (a Path takes longer than the call)
    except FileExistsError:
        return False
    except FileNotFoundError:
        Path(path).mkdir(parents=True, exist_ok=True)
        return False
    return True
