"""A small disk of our own, a tmpfs, that a test fills and frees.

Needs root, and a container that may mount: `refusal` says what is missing. In the end it is unmounted, come what may.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import tempfile
from pathlib import Path

MIB = 1024 * 1024
_PIECE = bytes(64 * 1024)


class SmallDisk:
    """`size` bytes at `path`, a directory that is made. Use as a context manager."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self._size = size

    def __enter__(self) -> SmallDisk:
        self.path.mkdir(parents=True, exist_ok=True)
        options = f"size={self._size},mode=0700"
        _run("mount", "-t", "tmpfs", "-o", options, "titan-test", str(self.path))
        return self

    def __exit__(self, *error: object) -> None:
        _run("umount", "--lazy", str(self.path))  # also when something that did not end has a file open there

    @property
    def ballast(self) -> Path:
        """The file that fills it."""
        return self.path / "ballast"

    @property
    def free(self) -> int:
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self, leave: int = 0) -> None:
        """Until `leave` bytes are free."""
        with open(self.ballast, "ab", buffering=0) as file, contextlib.suppress(_Full):
            while self.free > leave:
                _write(file.fileno(), _PIECE[: max(1, min(len(_PIECE), self.free - leave))])

    def clear(self) -> None:
        """Free what was filled."""
        self.ballast.unlink(missing_ok=True)


class _Full(Exception):
    pass


def _write(descriptor: int, data: bytes) -> None:
    try:
        os.write(descriptor, data)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise _Full from None


def refusal() -> str:
    """Why no such disk can be made here; empty: it can."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            with SmallDisk(Path(directory) / "disk", MIB):
                return ""
        except (subprocess.CalledProcessError, OSError) as error:
            said = getattr(error, "stderr", b"") or b""
            return f"mounting is not permitted ({said.decode(errors='replace').strip() or error})"


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=20)
