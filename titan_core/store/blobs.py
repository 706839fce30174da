"""Content addressed by its SHA-256: files that never change once they are there.

A blob is written beside its place, flushed to disk, and renamed, so that one that exists is whole.
Knows nothing of names, jobs or connections. Callable from any thread.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from titan_core.errors import AssetMissing, ChecksumMismatch, InvalidRequest, Unavailable
from titan_core.protocol.checks import check_sha256

PIECE_BYTES = 1024 * 1024
INCOMING = ".incoming-"
"""How a file is called that is still being written."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


class BlobStore:
    """The blobs in `root`, a directory (0700) made if need be. Only one process may own it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        root.chmod(0o700)
        sweep(root)

    def size(self, sha256: str) -> int | None:
        """The size of the blob in bytes; None when it is not here."""
        try:
            return self._place(sha256).stat().st_size
        except FileNotFoundError:
            return None

    def open(self, sha256: str) -> tuple[BinaryIO, int]:
        """The blob, open for reading, and its size in bytes. Raises AssetMissing."""
        size = self.size(sha256)
        if size is None:
            raise AssetMissing(f"the master does not hold content {sha256[:12]}…; send it first", missing=sha256)
        return open(self._place(sha256), "rb"), size

    def receive(self, sha256: str, size: int, pieces: Iterable[bytes]) -> None:
        """Keep the bytes that `pieces` yields, which must be those announced.

        Raises InvalidRequest for more or fewer than `size` bytes (at the first byte too many), ChecksumMismatch.
        """
        place = self._place(sha256)
        with new_file(self._root) as (file, path):
            digest, received = hashlib.sha256(), 0
            for piece in pieces:
                received += len(piece)
                if received > size:
                    raise InvalidRequest(f"more than the {size} bytes that were announced were sent", field="size")
                digest.update(piece)
                file.write(piece)
            if received < size:
                raise InvalidRequest(f"{received} of the {size} bytes that were announced were sent", field="size")
            _check_digest(digest.hexdigest(), sha256)
            _keep(file, path, place)

    def put(self, sha256: str, data: bytes) -> None:
        """Keep content that is in memory; nothing to do when it is there. Raises ChecksumMismatch."""
        place = self._place(sha256)
        _check_digest(hashlib.sha256(data).hexdigest(), sha256)
        if not place.exists():
            with new_file(self._root) as (file, path):
                file.write(data)
                _keep(file, path, place)

    def copy_in(self, source: Path) -> tuple[str, int]:
        """Keep what the file holds now; its SHA-256 and size are those of the bytes that were copied."""
        with open(source, "rb") as original, new_file(self._root) as (file, path):
            digest, size = hashlib.sha256(), 0
            while piece := original.read(PIECE_BYTES):
                size += len(piece)
                digest.update(piece)
                file.write(piece)
            _keep(file, path, self._root / digest.hexdigest())
        return digest.hexdigest(), size

    def copy_out(self, sha256: str, directory: Path, place: Path) -> None:
        """Copy the blob to `place`, replacing a file there in one step; by way of `directory`, of the same disk."""
        source, _ = self.open(sha256)
        with source, new_file(directory, 0o644) as (file, path):
            shutil.copyfileobj(source, file, PIECE_BYTES)
            _flush(file)
            path.replace(place)

    def _place(self, sha256: str) -> Path:
        return self._root / check_sha256(sha256)


@contextlib.contextmanager
def new_file(directory: Path, mode: int = 0o400) -> Iterator[tuple[BinaryIO, Path]]:
    """A new hidden file of `directory`, and its path; removed at the end unless it has been renamed.

    Raises Unavailable when the disk is full.
    """
    path = directory / f"{INCOMING}{secrets.token_hex(8)}"
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            yield file, path
    except OSError as error:
        if error.errno in _FULL:
            raise Unavailable(f"the master's disk takes no more: {error.strerror}") from None
        raise
    finally:
        path.unlink(missing_ok=True)


def sweep(directory: Path) -> None:
    """Remove what a process that died in the middle of `new_file` has left."""
    for path in directory.glob(f"{INCOMING}*"):
        path.unlink(missing_ok=True)


def _keep(file: BinaryIO, path: Path, place: Path) -> None:
    _flush(file)
    path.rename(place)
    descriptor = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)  # the name, too
    finally:
        os.close(descriptor)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _check_digest(found: str, announced: str) -> None:
    if found != announced:
        raise ChecksumMismatch(f"the content has SHA-256 {found[:12]}…, not {announced[:12]}…; send it again")
