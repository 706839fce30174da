"""What a job's file name means, and the local files that the jobs of one submission need.

Each file is read and hashed once. Small ones are kept in memory, to travel inside the submission;
larger ones are uploaded before it. Used by the one thread that submits.
"""

from __future__ import annotations

import difflib
import os
import zipfile
from pathlib import Path
from typing import NamedTuple

from titan_core.errors import InvalidRequest, NotFound
from titan_core.protocol.checks import check_path, is_program, shown
from titan_core.protocol.wire import KIB, MIB
from titan_sdk.local_files import LocalFile, describe_file, find_file

INLINE_FILE = 256 * KIB
"""Bytes of the largest file that travels inside a submission."""
INLINE_TOTAL = 16 * MIB
"""Bytes of all such files together."""


class Source(NamedTuple):
    """What a job runs, as a Task says it."""

    asset: str
    sha256: str = ""
    entry: str = ""


class Contents:
    """Files by what they hold, collected while the jobs of a submission are described.

    Their names are relative to `folder`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or Path()
        self.by_sha256: dict[str, LocalFile] = {}
        self._sources: dict[tuple[str, bool], Source] = {}
        self._by_name: dict[str, LocalFile | None] = {}
        self._entries: dict[str, frozenset[str]] = {}
        self._inline_left = INLINE_TOTAL

    def source(self, filename: str, is_archive: bool) -> Source:
        """The source of a job that runs a file, or `project.zip/path/entry.py`. Raises InvalidRequest, NotFound."""
        source = self._sources.get((filename, is_archive))
        if source is None:
            source = self._archived(filename) if is_archive else self._single(filename)
            self._sources[filename, is_archive] = source
        return source

    def _single(self, filename: str) -> Source:
        local = self._local(filename)
        if local is None:
            return Source(_published(filename))
        _check_runnable(local)
        return Source(local.path.name, local.sha256)

    def _archived(self, filename: str) -> Source:
        archive, entry = split_archive(filename)
        local = self._local(archive)
        if local is None:
            return Source(_published(archive), entry=entry)
        self._check_entry(local, entry)
        return Source(local.path.name, local.sha256, entry)

    def _local(self, filename: str) -> LocalFile | None:
        """The local file of this name; None when there is none."""
        if filename not in self._by_name:
            path = find_file(self.folder / filename)
            self._by_name[filename] = None if path is None else self._read(path)
        return self._by_name[filename]

    def _read(self, path: Path) -> LocalFile:
        local = describe_file(path, keep=min(INLINE_FILE, self._inline_left))
        if local.sha256 not in self.by_sha256:
            self._inline_left -= len(local.data or b"")
            self.by_sha256[local.sha256] = local
        return LocalFile(local.path, local.sha256, local.size)

    def _check_entry(self, archive: LocalFile, entry: str) -> None:
        names = self._entries.get(archive.sha256)
        if names is None:
            names = self._entries[archive.sha256] = _names_in(archive.path)
        if entry not in names:
            close = difflib.get_close_matches(entry, names, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise NotFound(f"there is no {shown(entry)} in {archive.path.name}{hint}", field="filename")


def split_archive(filename: str) -> tuple[str, str]:
    """`path/project.zip/path/entry.py` as (`path/project.zip`, `path/entry.py`). Raises InvalidRequest."""
    parts = filename.split("/")
    for number, part in enumerate(parts[:-1], 1):
        if part.endswith(".zip"):
            return "/".join(parts[:number]), check_path("/".join(parts[number:]), "entry")
    raise InvalidRequest(
        f"{shown(filename)} names no entry of an archive: write project.zip/path/entry.py", field="filename"
    )


def _published(filename: str) -> str:
    """The name of a file in perm_files/, if it can be one; else it was meant to be here."""
    if filename.startswith(("/", "./", "../", "~")):
        raise NotFound(f"there is no file {shown(filename)}", field="filename")
    return check_path(filename, "filename")


def _check_runnable(file: LocalFile) -> None:
    if not file.size:
        raise InvalidRequest(f"{file.path} is empty: there is nothing to run", field="filename")
    if is_program(file.path.name) and not os.access(file.path, os.X_OK):
        raise InvalidRequest(
            f"{file.path} has no execute bit: set it with chmod +x, or name the file .py, .sh or .jar",
            field="filename",
        )


def _names_in(archive: Path) -> frozenset[str]:
    try:
        with zipfile.ZipFile(archive) as file:
            return frozenset(file.namelist())
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise InvalidRequest(f"{archive} is not a zip archive ({error})", field="filename") from None
