"""Assets: the files of `perm_files/`, addressed by name, and their content, addressed by its SHA-256.

`perm_files/` belongs to people: they drop, edit and remove files there, or upload them. A job runs
the content a name had when the job was submitted, so `resolve` copies it into the blob store, where
nothing changes it. Knows nothing of jobs, connections or the scheduler. Callable from any thread.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import threading
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from titan_core.errors import Conflict, InvalidRequest, NotFound
from titan_core.protocol.checks import check_path, check_range, check_sha256, shown
from titan_core.protocol.messages import AssetInfo
from titan_core.store.blobs import BlobStore, sweep

MAX_ASSET_BYTES = 4 * 1024**3
_SETTLED_NS = 2_000_000_000
"""A file that changed more recently is hashed again each time: an edit within one tick of the file
system's clock, which keeps size and times, would go unseen."""
_CACHED_FILES = 10_000
_COMPARED_NAMES = 2_000
"""How many names are searched for a close match."""


class AssetRef(NamedTuple):
    """A file of `perm_files/` as it was at one instant; its content is in the blob store."""

    name: str
    """Path below `perm_files/`."""
    sha256: str
    size: int


class _Seen(NamedTuple):
    """What tells that a file is still the one that was hashed."""

    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class AssetStore:
    """Files by name in `perm_files`, content by SHA-256 in `blobs`; both directories are made if need be."""

    def __init__(self, perm_files: Path, blobs: Path, max_bytes: int = MAX_ASSET_BYTES) -> None:
        perm_files.mkdir(parents=True, exist_ok=True)
        self._files = perm_files.resolve()
        self._blobs = BlobStore(blobs)
        self._max_bytes = max_bytes
        self._hashes: dict[Path, tuple[_Seen, str]] = {}
        self._hashes_lock = threading.Lock()
        sweep(self._files)

    # ── content ───────────────────────────────────────────────────────────────────────────────────

    def has(self, sha256: str) -> bool:
        """Whether this content is here."""
        return self._blobs.size(sha256) is not None

    def open(self, sha256: str) -> tuple[BinaryIO, int]:
        """The content, open for reading, and its size in bytes. Raises AssetMissing."""
        return self._blobs.open(sha256)

    def put(self, sha256: str, data: bytes) -> None:
        """Keep small content. Raises ChecksumMismatch."""
        self._blobs.put(sha256, data)

    def check_upload(self, name: str, sha256: str, size: int) -> None:
        """Judge an announced upload before its bytes are asked for. Raises InvalidRequest, Conflict."""
        check_sha256(sha256)
        check_range(size, 0, self._max_bytes, "size")
        if name:
            self._place(name)

    def receive(self, name: str, sha256: str, size: int, pieces: Iterable[bytes]) -> AssetInfo:
        """Keep an upload, and publish it if `name` is given.

        Raises what `check_upload` raises, InvalidRequest when more or fewer bytes come than were
        announced, and ChecksumMismatch.
        """
        self.check_upload(name, sha256, size)
        self._blobs.receive(sha256, size, pieces)
        return self.publish(name, sha256) if name else AssetInfo("", sha256, size)

    # ── names ─────────────────────────────────────────────────────────────────────────────────────

    def publish(self, name: str, sha256: str) -> AssetInfo:
        """Make content that is here a file of `perm_files/`, replacing one of that name in one step.

        Raises InvalidRequest, AssetMissing, and Conflict when a directory is where the file would be.
        """
        place = self._place(name)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            self._blobs.copy_out(sha256, self._files, place)
            found = place.stat()
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise _in_the_way(name) from None
        return AssetInfo(name, sha256, found.st_size, found.st_mtime)

    def resolve(self, name: str) -> AssetRef:
        """The file a job names, as it is now; what happens to it later changes nothing.

        `name` is a path below `perm_files/`, or the end of one: a base name is found in any directory.
        Raises NotFound (saying what is called nearly so), and InvalidRequest for a name that fits
        several files, an empty file, a directory, or a link that leads out of `perm_files/`.
        """
        found = self.find(name)
        if not found.size:
            raise InvalidRequest(f"{found.name} in perm_files/ is empty; there is nothing to run", field="file")
        return found

    def find(self, name: str) -> AssetRef:
        """Like `resolve`, for a file that is to be read and may be empty."""
        check_path(name, "file")
        try:
            path = self._locate(name)
            sha256, size = self._pinned(path)
        except OSError as error:
            raise InvalidRequest(f"{name} in perm_files/ can not be read: {error.strerror}", field="file") from None
        return AssetRef(path.relative_to(self._files).as_posix(), sha256, size)

    def list(self) -> list[AssetInfo]:
        """Every file of `perm_files/` that is not hidden, by name."""
        return sorted(self._published(), key=lambda asset: asset.name)

    # ── finding ───────────────────────────────────────────────────────────────────────────────────

    def _place(self, name: str) -> Path:
        """Where a file of this name is published."""
        check_path(name, "name")
        if any(part.startswith(".") for part in name.split("/")):
            raise InvalidRequest(f"name {shown(name)} is a hidden file; assets do not begin with '.'", field="name")
        place = self._files / name
        if not self._is_inside(place.parent):
            raise InvalidRequest(f"name {shown(name)} leads out of perm_files/ through a link", field="name")
        if place.is_dir() or any(parent.is_file() for parent in place.parents):
            raise _in_the_way(name)
        return place

    def _locate(self, name: str) -> Path:
        direct = self._files / name
        found = [direct] if os.path.lexists(direct) else list(self._ending_with(name))
        if not found:
            raise self._not_found(name)
        if len(found) > 1:
            raise _ambiguous(name, [path.relative_to(self._files).as_posix() for path in found])
        return self._checked_file(found[0], name)

    def _checked_file(self, path: Path, name: str) -> Path:
        if not self._is_inside(path):
            raise InvalidRequest(f"{shown(name)} is a link that leads out of perm_files/", field="file")
        if path.is_dir():
            raise InvalidRequest(f"{shown(name)} is a directory of perm_files/; name a file in it", field="file")
        if not path.exists():
            raise NotFound(f"{shown(name)} is a link of perm_files/ to a file that is not there", field="file")
        if not path.is_file():
            raise InvalidRequest(f"{shown(name)} in perm_files/ is not a regular file", field="file")
        return path

    def _is_inside(self, path: Path) -> bool:
        return Path(os.path.realpath(path)).is_relative_to(self._files)  # a loop of links is inside, and not a file

    def _ending_with(self, name: str) -> Iterator[Path]:
        parts = PurePosixPath(name).parts
        return (path for path in self._walk() if path.parts[-len(parts) :] == parts)

    def _walk(self) -> Iterator[Path]:
        """Every file, and link to one, that is not hidden; by name within its directory."""
        for directory, names, files in os.walk(self._files):
            names[:] = sorted(name for name in names if not name.startswith("."))
            yield from (Path(directory, name) for name in sorted(files) if not name.startswith("."))

    def _not_found(self, name: str) -> NotFound:
        names = [path.relative_to(self._files).as_posix() for path in islice(self._walk(), _COMPARED_NAMES)]
        known = {PurePosixPath(known).name: known for known in names} | dict(zip(names, names, strict=True))
        close = difflib.get_close_matches(name, known, 3)
        hint = f"did you mean {' or '.join(sorted({known[match] for match in close}))}?" if close else "upload it"
        return NotFound(f"there is no file {shown(name)} in perm_files/; {hint}", field="file")

    # ── content of named files ────────────────────────────────────────────────────────────────────

    def _published(self) -> Iterator[AssetInfo]:
        for path in self._walk():
            # a file that is removed meanwhile, can not be read, or can not be asked for is none that we serve
            with contextlib.suppress(OSError, InvalidRequest):
                if self._is_inside(path) and path.is_file():
                    name = check_path(path.relative_to(self._files).as_posix(), "name")
                    seen, sha256 = self._hash(path)
                    yield AssetInfo(name, sha256, seen.size, seen.modified_ns / 1e9)

    def _pinned(self, path: Path) -> tuple[str, int]:
        """The SHA-256 and size of a file whose content is in the blob store from now on."""
        _, sha256 = self._hash(path)
        size = self._blobs.size(sha256)
        return self._blobs.copy_in(path) if size is None else (sha256, size)

    def _hash(self, path: Path) -> tuple[_Seen, str]:
        """The SHA-256 of the file, computed once per version of it."""
        with open(path, "rb") as file:
            seen = _seen(os.fstat(file.fileno()))
            with self._hashes_lock:
                known = self._hashes.get(path)
            if known is not None and known[0] == seen:
                return known
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if time.time_ns() - max(seen.modified_ns, seen.changed_ns) > _SETTLED_NS:
            self._remember(path, seen, sha256)
        return seen, sha256

    def _remember(self, path: Path, seen: _Seen, sha256: str) -> None:
        with self._hashes_lock:
            if len(self._hashes) >= _CACHED_FILES:
                self._hashes.clear()
            self._hashes[path] = seen, sha256


def _seen(found: os.stat_result) -> _Seen:
    return _Seen(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _in_the_way(name: str) -> Conflict:
    return Conflict(f"{shown(name)} can not be published: a file and a directory of perm_files/ would share a name")


def _ambiguous(name: str, candidates: list[str]) -> InvalidRequest:
    some = ", ".join(candidates[:5]) + (f" and {len(candidates) - 5} more" if len(candidates) > 5 else "")
    return InvalidRequest(f"{shown(name)} is the name of several files of perm_files/: {some}", field="file")
