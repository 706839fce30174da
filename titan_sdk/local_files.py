"""Files of this machine on their way to the master: looked at, hashed, and read in pieces.

The one place of the SDK where a file's `OSError` becomes a sentence. Any thread.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from titan_core.errors import InvalidRequest, NotFound
from titan_core.protocol.checks import shown
from titan_core.protocol.wire import MIB

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


@dataclass(frozen=True, slots=True)
class LocalFile:
    path: Path
    sha256: str
    size: int
    data: bytes | None = None
    """Its bytes, if they were kept."""

    def pieces(self) -> Iterator[bytes]:
        """Its `size` bytes in pieces of at most 1 MiB; one empty piece for an empty file."""
        if self.data is not None:
            yield self.data
            return
        with opened(self.path) as file:
            left = self.size
            while True:
                piece = file.read(min(left, MIB))
                left -= len(piece)
                if left and not piece:
                    raise InvalidRequest(f"{self.path} became shorter while it was being sent; try again")
                yield piece
                if not left:
                    return


def find_file(name: str | Path) -> Path | None:
    """The regular file of this name; None when there is nothing. Raises InvalidRequest for anything else there."""
    path = Path(name)
    try:
        mode = path.stat().st_mode
    except ValueError:  # a NUL in the name
        return None
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise _unreadable(path, error) from None
    if stat.S_ISDIR(mode):
        raise InvalidRequest(
            f"{path} is a directory where a file is meant; send a folder as a project", field="filename"
        )
    if not stat.S_ISREG(mode):
        raise InvalidRequest(f"{path} is not a regular file", field="filename")
    return path


def describe_file(name: str | Path, keep: int = 0) -> LocalFile:
    """Hash a file; keep its bytes when there are at most `keep`. Raises NotFound, InvalidRequest."""
    path = find_file(name)
    if path is None:
        raise NotFound(f"there is no file {shown(str(name))}", field="filename")
    digest, size, data = hashlib.sha256(), 0, b""
    with opened(path) as file:
        while piece := file.read(MIB):
            digest.update(piece)
            size += len(piece)
            data = data + piece if size <= keep else b""
    return LocalFile(path, digest.hexdigest(), size, data if size <= keep else None)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file, open for reading. Raises InvalidRequest when it, or a read, fails."""
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> InvalidRequest:
    return InvalidRequest(f"{path} can not be read: {error.strerror}", field="filename")
