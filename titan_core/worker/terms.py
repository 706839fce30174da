"""Which masters this home has obeyed: the highest term of each cluster.

    titan_workspace/terms/<cluster>     the term, in decimal; by rename, so never half

A master's term grows with each of its starts. One that was believed dead — a machine that was halted, a copy of a
home that somebody started — may still be there, and would order what the living one has long decided otherwise.
Called by the link's reader.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from titan_core.errors import ConnectionLost

TERM_BYTES = 32
"""No file has more digits."""


class Terms:
    """What the workers of one home have seen. Also without a disk that takes it, as long as the worker lives."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._highest: dict[bytes, int] = {}

    def check(self, cluster: bytes, term: int) -> None:
        """Remember the term of a master that has registered us. Raises ConnectionLost for one that is not to be
        obeyed; trying again helps once the right one answers. A master that names no cluster is obeyed."""
        if not cluster:
            return
        highest = max(self._highest.get(cluster, 0), self._read(cluster))
        if term < highest:
            raise ConnectionLost(
                f"the master is an old one: its term is {term}, and this worker has obeyed term {highest} "
                "of the same cluster"
            )
        self._highest[cluster] = term
        if term > highest:
            self._write(cluster, term)

    def _read(self, cluster: bytes) -> int:
        """0 = nothing is known, or what is there is no term."""
        try:
            with open(self._path(cluster), "rb") as file:
                return int(file.read(TERM_BYTES))
        except (OSError, ValueError):
            return 0

    def _write(self, cluster: bytes, term: int) -> None:
        path = self._path(cluster)
        fresh = path.with_suffix(".new")
        with contextlib.suppress(OSError):  # a full disk: the memory has it
            self._directory.mkdir(parents=True, exist_ok=True)
            fresh.write_text(f"{term}\n")
            fresh.rename(path)

    def _path(self, cluster: bytes) -> Path:
        return self._directory / cluster.hex()
