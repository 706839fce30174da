"""The job that Titan and every peer runs: a small program that creates the one file it is given.

All run the same program from the same file with the same Python, and a figure counts only if every
job's file is there afterwards.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

PROGRAMS = {
    "shell": ("touch-one", '#!/bin/sh\n: > "$1"\n'),
    "python": ("touch_one.py", 'import sys\n\nopen(sys.argv[1], "w").close()\n'),
}


class OneFileJobs:
    """`count` jobs of a kind (a key of PROGRAMS) whose program and files are in `directory`, which is made."""

    def __init__(self, kind: str, count: int, directory: Path) -> None:
        directory.mkdir(parents=True)
        name, text = PROGRAMS[kind]
        self.program = directory / name
        self.program.write_text(text)
        self.program.chmod(0o755)
        outputs = directory / "outputs"
        outputs.mkdir()
        self.outputs = [f"{outputs}/{number}" for number in range(count)]
        self.prefix = [str(self.program)] if kind == "shell" else [sys.executable, str(self.program)]
        """The command of a job, without the output it is given."""

    def __len__(self) -> int:
        return len(self.outputs)

    def commands(self) -> list[list[str]]:
        return [[*self.prefix, output] for output in self.outputs]

    def all_done(self) -> bool:
        """Cheap while jobs near the end are missing, so that it may be asked often."""
        return all(map(os.path.exists, reversed(self.outputs)))

    def check(self) -> None:
        """Raises AssertionError unless every job has run."""
        missing = len(self) - sum(map(os.path.exists, self.outputs))
        assert not missing, f"{missing} of {len(self)} files are missing"
