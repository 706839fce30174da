"""What was typed at the prompt, kept from one session to the next; and readline, which edits the lines.

The file is `.titan/history` of the home where a master lives, else `~/.titan_history`; it is private
(0600), since command lines may hold what others should not read.
"""

from __future__ import annotations

import contextlib
import os
import readline
from collections.abc import Callable
from pathlib import Path

LENGTH = 1000
"""Lines kept."""


def history_path(home: Path) -> Path:
    directory = home / ".titan"
    return directory / "history" if os.access(directory, os.W_OK | os.X_OK) else Path.home() / ".titan_history"


class History:
    """For a `with`: lines typed inside are kept. A file that can not be read or written is done without."""

    def __init__(self, home: Path, complete: Callable[[str, int], str | None]) -> None:
        self._path = history_path(home)
        self._complete = complete

    def __enter__(self) -> History:
        readline.set_history_length(LENGTH)
        readline.set_completer_delims(" \t\n")
        readline.set_completer(self._complete)
        readline.parse_and_bind("tab: complete")
        with contextlib.suppress(OSError):
            readline.read_history_file(self._path)
        return self

    def __exit__(self, *_: object) -> None:
        readline.set_completer(None)
        with contextlib.suppress(OSError):
            os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._path.chmod(0o600)
            readline.write_history_file(self._path)
