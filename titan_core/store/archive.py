"""Unpacking project archives, so that nothing in them can escape, explode or repeat itself.

`zipfile` is used to read only; every path is judged and every byte counted here. Headers are taken
for what they are, claims: the caps hold for the bytes that are really written. An archive appears
at its target whole or not at all, because it is unpacked beside it and then renamed; any number of
processes may unpack to the same target at once, and the first one wins.

Knows nothing of jobs or connections. Callable from any thread.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from titan_core.errors import ArchiveRefused, InvalidRequest
from titan_core.protocol.checks import check_path, shown

_PIECE_BYTES = 256 * 1024
_ENTRY_BYTES = 2048
"""Room for one entry of an archive's directory: 46 bytes, a path of 1,024, and what else tools write there."""
_ENTRY_MARK = b"PK\1\2"
"""The first bytes of each."""
_ENCRYPTED = 0x41
"""Bits of an entry's flags: encrypted, and strongly encrypted."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Others take memory as the archive asks for it."""
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
)
"""What `zipfile` raises for bytes that are not what they should be."""


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    entries: int = 20_000
    """Files and directories, those that are only implied by a path included."""
    total_bytes: int = 2 * 1024**3
    """Of all files together, unpacked."""
    ratio: int = 200
    """Bytes unpacked per byte of the archive, judged once more than `ratio_from_bytes` are written."""
    ratio_from_bytes: int = 1024**2


DEFAULT_LIMITS = ArchiveLimits()


class _Cap(NamedTuple):
    """The most bytes that may be written, and what to say when they are not enough."""

    written: int
    reason: str


def _cap(limits: ArchiveLimits, archive_bytes: int) -> _Cap:
    by_ratio = max(limits.ratio_from_bytes, limits.ratio * archive_bytes)
    if by_ratio < limits.total_bytes:
        return _Cap(by_ratio, f"{limits.ratio} times its size")
    return _Cap(limits.total_bytes, f"{limits.total_bytes} bytes")


class _Entry(NamedTuple):
    path: str
    directory: bool
    info: zipfile.ZipInfo


def inspect(path: Path, limits: ArchiveLimits = DEFAULT_LIMITS, name: str = "") -> tuple[str, ...]:
    """The paths of the files in the archive, in its order, without unpacking it.

    `name` is what messages call it; else they take that of the file.

    Raises ArchiveRefused for everything that can be told from the archive's directory, OSError when
    `path` can not be read.
    """
    with _opened(path, limits, name or path.name) as archive:
        return tuple(entry.path for entry in _checked_entries(archive, limits) if not entry.directory)


def unpack(path: Path, target: Path, limits: ArchiveLimits = DEFAULT_LIMITS, name: str = "") -> None:
    """Unpack the archive to the directory `target`, whole or not at all; nothing to do when it exists.

    Files keep their content and their execute bit, nothing else. `name` is what messages call the
    archive; else they take that of the file. Raises ArchiveRefused, and OSError when the archive can
    not be read or the disk does not take it.
    """
    if target.is_dir():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        with _opened(path, limits, name or path.name) as archive:
            _write_entries(archive, _checked_entries(archive, limits), staging, _cap(limits, path.stat().st_size))
        _publish(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _publish(staging: Path, target: Path) -> None:
    try:
        staging.rename(target)
    except OSError:
        if not target.is_dir():  # else another process was first; what it put there is the same
            raise


# ── reading ───────────────────────────────────────────────────────────────────────────────────────


class _GuardedFile(io.BufferedReader):
    """A file that refuses to be read in a piece larger than `limit` bytes, or before its beginning, and
    until it is `opened` a piece that begins more than `entries` entries.

    `zipfile` reads an archive's directory in one piece of the size that the archive claims, and makes
    objects of all its entries before anybody can count them: this is where a directory of a million
    entries stops. It also goes wherever the archive sends it, and an OSError from there would look like
    one of the disk.
    """

    limit = 0
    entries = 0
    opened = False

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self.limit:
            raise ArchiveRefused(f"the archive's directory is {size} bytes long; {self.limit} is the most")
        piece = super().read(size)
        if not self.opened and piece.count(_ENTRY_MARK) > self.entries:
            raise ArchiveRefused(f"it holds more than {self.entries} files and directories")
        return piece

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if whence == os.SEEK_SET and offset < 0:
            raise zipfile.BadZipFile("an offset before its beginning")
        return super().seek(offset, whence)


@contextmanager
def _opened(path: Path, limits: ArchiveLimits, name: str) -> Iterator[zipfile.ZipFile]:
    """The archive, open for reading; what `zipfile` raises inside becomes ArchiveRefused, naming the archive."""
    with _GuardedFile(io.FileIO(path)) as file:
        file.limit = max(_PIECE_BYTES, limits.entries * _ENTRY_BYTES)
        file.entries = limits.entries
        try:
            with zipfile.ZipFile(file) as archive:
                file.opened = True
                yield archive
        except ArchiveRefused as error:
            raise ArchiveRefused(f"{name}: {error}") from None
        except _DAMAGED as error:
            raise ArchiveRefused(f"{name}: not a zip archive, or a damaged one ({error})") from None


# ── judging the directory ─────────────────────────────────────────────────────────────────────────


def _checked_entries(archive: zipfile.ZipFile, limits: ArchiveLimits) -> list[_Entry]:
    entries = [_checked_entry(info) for info in archive.infolist()]
    _check_places(entries, limits)
    claimed = sum(entry.info.file_size for entry in entries)
    if claimed > limits.total_bytes:
        raise ArchiveRefused(f"it holds {claimed} bytes unpacked; {limits.total_bytes} is the most")
    return entries


def _checked_entry(info: zipfile.ZipInfo) -> _Entry:
    name = info.orig_filename  # `filename` ends at the first NUL
    kind = stat.S_IFMT(info.external_attr >> 16)
    directory = name.endswith("/")
    reason = _path_fault(name) or _kind_fault(kind, directory) or _content_fault(info, directory)
    if reason:
        raise ArchiveRefused(f"entry {shown(name)} {reason}", entry=name[:200])
    return _Entry(name.rstrip("/"), directory, info)


def _path_fault(name: str) -> str:
    if name.startswith("/"):
        return "is an absolute path"
    if "\\" in name:
        return "has a backslash in its path"
    if any(ord(char) < 32 for char in name):
        return "has a control character in its path"
    if ".." in name.split("/"):
        return "leads out of the archive with '..'"
    try:
        check_path(name.removesuffix("/"), "path")
    except InvalidRequest:
        return "is not a path: an empty part, '.', or more than 255 bytes a part or 1,024 in all"
    return ""


def _kind_fault(kind: int, directory: bool) -> str:
    if kind == stat.S_IFLNK:
        return "is a symbolic link"
    if kind not in (0, stat.S_IFDIR if directory else stat.S_IFREG):
        return "is neither a regular file nor a directory"
    return ""


def _content_fault(info: zipfile.ZipInfo, directory: bool) -> str:
    if info.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if info.compress_type not in _METHODS:
        return f"is compressed with method {info.compress_type}; use deflate"
    if directory and info.file_size:
        return "is a directory with content"
    return ""


def _check_places(entries: list[_Entry], limits: ArchiveLimits) -> None:
    """Every path stands for one thing only, and there are not too many things."""
    seen: set[str] = set()
    files: set[str] = set()
    directories: set[str] = set()
    for path, directory, _ in entries:
        if path in seen:
            raise ArchiveRefused(f"entry {shown(path)} is there twice", entry=path)
        seen.add(path)
        (directories if directory else files).add(path)
        directories.update(str(parent) for parent in PurePosixPath(path).parents)
        if len(files) + len(directories) > limits.entries:
            raise ArchiveRefused(f"it holds more than {limits.entries} files and directories")
    both = files & directories
    if both:
        path = min(both)
        raise ArchiveRefused(f"entry {shown(path)} is both a file and a directory", entry=path)


# ── writing ───────────────────────────────────────────────────────────────────────────────────────


def _write_entries(archive: zipfile.ZipFile, entries: list[_Entry], staging: Path, cap: _Cap) -> None:
    written = 0
    for path, directory, info in entries:
        place = staging / path
        (place if directory else place.parent).mkdir(parents=True, exist_ok=True)
        if not directory:
            size = _write_file(archive, info, place, written, cap)
            if size != info.file_size:
                raise ArchiveRefused(f"entry {shown(path)} is shorter than it says", entry=path)
            written += size


def _write_file(archive: zipfile.ZipFile, info: zipfile.ZipInfo, place: Path, before: int, cap: _Cap) -> int:
    """Write one file, when `before` bytes of the archive have been written; returns its size."""
    size = 0
    with archive.open(info) as source, open(_create(place, info), "wb") as file:
        while piece := source.read(_PIECE_BYTES):
            size += len(piece)
            if before + size > cap.written:
                raise ArchiveRefused(f"it unpacks to more than {cap.reason}")
            file.write(piece)
    return size


def _create(place: Path, info: zipfile.ZipInfo) -> int:
    """A new file, never an existing one; 0755 if its owner may execute it, else 0644, less the umask."""
    mode = 0o755 if (info.external_attr >> 16) & stat.S_IXUSR else 0o644
    return os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
