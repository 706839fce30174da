"""How busy the machine is. Figures for people and for placement, never for decisions here."""

from __future__ import annotations

import contextlib
import os
import threading

import psutil


class Load:
    """Figures of the whole machine, which other programs share, as of the last `sample`."""

    def __init__(self) -> None:
        self.cpu_count = os.cpu_count() or 1
        self.memory_total = 0
        """Bytes."""
        self.memory_used = 0
        """Bytes that are not available to a new process."""
        self.cpu_percent = 0.0
        """0–100, over all processors, between the last two samples."""
        self._lock = threading.Lock()
        self.sample()

    def sample(self) -> None:
        """Look again. Callable from any thread. Where the system can not tell, things are as they were."""
        with self._lock, contextlib.suppress(OSError):  # it has no descriptor left, for instance
            memory = psutil.virtual_memory()
            self.memory_total = int(memory.total)
            self.memory_used = int(memory.total - memory.available)
            self.cpu_percent = float(psutil.cpu_percent(None))
