"""Contents by SHA-256, brought to this machine once.

    titan_workspace/cache/<sha256>/content    the bytes, complete: it appears by rename
    titan_workspace/cache/<sha256>/project/   the same, unpacked; likewise
    titan_workspace/cache/<sha256>/lock       held (flock) by whoever fetches or unpacks

The lock makes one of all slots, and of all workers that share the home, do the work while the others
wait for it; it ends with its holder, also with a killed one. Small contents are kept in memory as well:
one script is often run a thousand times. Called by the slot threads.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from titan_core.store.archive import unpack
from titan_core.worker.turn import TURN

SMALL_BYTES = 64 * 1024
SMALL_CONTENTS = 128

Fetch = Callable[[str, BinaryIO], None]
"""Writes the content of a SHA-256 to a file, whole and checked, or raises a TitanError."""


class AssetCache:
    """The contents this machine has. `fetch` gets those it has not."""

    def __init__(self, directory: Path, fetch: Fetch) -> None:
        self._directory = directory
        self._fetch = fetch
        self._small: dict[str, bytes] = {}

    def small_content(self, sha256: str) -> bytes | None:
        """The content itself; None if it has more than SMALL_BYTES. Raises as `content` does."""
        known = self._small.get(sha256)
        if known is None:
            path = self.content(sha256)
            if path.stat().st_size > SMALL_BYTES:
                return None
            known = self._small[sha256] = path.read_bytes()
            if len(self._small) > SMALL_CONTENTS:
                with contextlib.suppress(KeyError):  # another slot has just made room
                    del self._small[next(iter(self._small))]
        return known

    def content(self, sha256: str) -> Path:
        """The file with this content. Raises what `fetch` raises, or OSError."""
        path = self._directory / sha256 / "content"
        if not path.exists():
            with TURN.away(), self._locked(sha256):
                if not path.exists():
                    self._bring(sha256, path)
        return path

    def project(self, sha256: str, name: str) -> Path:
        """The directory with the files of this archive, which messages call `name`; not to be changed.
        Raises ArchiveRefused besides."""
        path = self._directory / sha256 / "project"
        if not path.is_dir():
            content = self.content(sha256)
            with self._locked(sha256):
                unpack(content, path, name=name)
        return path

    def _bring(self, sha256: str, path: Path) -> None:
        incoming = path.with_name("incoming")
        try:
            with open(incoming, "wb") as file:
                self._fetch(sha256, file)
            incoming.rename(path)
        finally:
            incoming.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self, sha256: str) -> Iterator[None]:
        path = self._directory / sha256 / "lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
