"""A backup: what a master needs to go on elsewhere, as a tar archive that is made while it is sent.

    .titan/state.db     a copy of the database, of one instant
    .titan/assets/      the contents that jobs name
    perm_files/

The database comes first: what it names was kept before. Never is the archive, or a file of it, whole in
memory; the copy of the database is the only thing that takes room on the disk, and is gone in any case.
Called by the threads of connections.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, cast

from titan_core.errors import Conflict, Unavailable
from titan_core.net.stream import FrameStream
from titan_core.protocol.messages import BackupInfo
from titan_core.protocol.opcodes import Opcode
from titan_core.protocol.wire import MAX_NATIVE, MIB, Flag, encode_frame
from titan_core.store.blobs import INCOMING

SPARE = 64 * MIB
"""Bytes that must stay free beside the copy of the database."""
_COPY = "backup-"
_BLOCK = 512
"""Bytes that a tar archive takes for a name, and of which each file takes a whole number."""


class Database(Protocol):
    """The part of a store that is needed here."""

    def snapshot(self, path: Path) -> None:
        """Write a copy of what is committed to `path`, a new file."""


class _Entry(NamedTuple):
    name: str
    """Its path in the archive."""
    path: Path


class Backups:
    """Of the master of `home`. Copies that an earlier one left are removed when it is made."""

    def __init__(self, home: Path, store: Database) -> None:
        self._home = home
        self._state_dir = home / ".titan"
        self._store = store
        for left in self._state_dir.glob(f"{_COPY}*"):
            left.unlink(missing_ok=True)

    def send(self, stream: FrameStream) -> None:
        """Answer a BACKUP. Raises Unavailable, Conflict (a file can not be read), both also in the midst of it."""
        copy = self._state_dir / f"{_COPY}{secrets.token_hex(8)}.db"
        try:
            self._copy_database(copy)
            entries = [*_state(self._state_dir, copy), *_tree(self._home / "perm_files", "perm_files")]
            stream.send(BackupInfo(_size(entries)))
            _send_archive(stream, entries)
        finally:
            for left in self._state_dir.glob(f"{copy.name}*"):  # its journal, too
                left.unlink(missing_ok=True)
        # Only now: who has the whole archive finds no copy left behind.
        stream.send_bytes(encode_frame(Opcode.ASSET_DATA, b"", Flag.BINARY))

    def _copy_database(self, copy: Path) -> None:
        needed = sum(path.stat().st_size for path in self._state_dir.glob("state.db*"))
        free = shutil.disk_usage(self._state_dir).free
        if free < needed + SPARE:
            raise Unavailable(
                f"a backup takes {needed // MIB} MiB for a copy of the database and leaves {SPARE // MIB} MiB free, "
                f"but there are {free // MIB} MiB in {self._state_dir}; make room"
            )
        try:
            self._store.snapshot(copy)
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"the database could not be copied for a backup: {error}") from None


def _state(state_dir: Path, copy: Path) -> Iterator[_Entry]:
    yield _Entry(".titan", state_dir)
    yield _Entry(".titan/state.db", copy)
    yield from _tree(state_dir / "assets", ".titan/assets")


def _tree(root: Path, name: str) -> Iterator[_Entry]:
    """The directory and all below it that is whole, links as links; by name."""
    root = root.resolve()
    yield _Entry(name, root)
    for directory, names, files in os.walk(root):
        names.sort()
        below = Path(name, Path(directory).relative_to(root))
        for found in sorted([*names, *files]):
            if not found.startswith(INCOMING):
                yield _Entry(f"{below.as_posix()}/{found}", Path(directory, found))


def _size(entries: list[_Entry]) -> int:
    """About how many bytes the archive takes."""
    total = 0
    for entry in entries:
        try:
            found = entry.path.lstat()
        except FileNotFoundError:  # somebody removed it meanwhile
            continue
        blocks = -(-found.st_size // _BLOCK) if stat.S_ISREG(found.st_mode) else 0
        total += _BLOCK * (1 + blocks)
    return total


def _send_archive(stream: FrameStream, entries: list[_Entry]) -> None:
    """All but the frame that ends it."""
    frames = cast("BinaryIO", _Frames(stream))
    with tarfile.open(fileobj=frames, mode="w|", bufsize=MAX_NATIVE, format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            try:
                _add(archive, entry)
            except FileNotFoundError:  # somebody removed it meanwhile
                continue
            except OSError as error:
                raise Conflict(f"{entry.name} can not be read for a backup: {error.strerror or error}") from None


def _add(archive: tarfile.TarFile, entry: _Entry) -> None:
    """Raises OSError, also for a file that became shorter while it was read."""
    mode = entry.path.lstat().st_mode
    if stat.S_ISREG(mode):
        with open(entry.path, "rb") as file:
            info = archive.gettarinfo(arcname=entry.name, fileobj=file)
            info.type, info.linkname = tarfile.REGTYPE, ""  # two names of one file become two files
            info.size = os.fstat(file.fileno()).st_size
            archive.addfile(info, file)
    elif stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
        archive.addfile(archive.gettarinfo(entry.path, entry.name))


class _Frames:
    """A file that sends what is written to it, as frames of a body that goes on."""

    def __init__(self, stream: FrameStream) -> None:
        self._stream = stream

    def write(self, data: bytes) -> int:
        for start in range(0, len(data), MAX_NATIVE):
            piece = data[start : start + MAX_NATIVE]
            self._stream.send_bytes(encode_frame(Opcode.ASSET_DATA, piece, Flag.BINARY | Flag.MORE))
        return len(data)
