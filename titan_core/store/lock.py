"""One master a home: a lock on a file, which the kernel lets go of when its process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from titan_core.errors import ConfigError


class HomeLock:
    """Held from its making until `release`. Raises ConfigError when another process holds it."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(self._descriptor)
            self.release()
            raise ConfigError(
                f"another master ({holder}) runs on this home, {path.parent.parent}: "
                "stop it first, or start this one with another --home"
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Idempotent; the file stays, since to remove it would let two masters hold locks on different ones."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _holder(descriptor: int) -> str:
    pid = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
    return f"pid {pid}" if pid else "its pid is not known"
