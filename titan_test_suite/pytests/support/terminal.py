"""A program on a terminal of its own: type at it, see what it shows."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from pathlib import Path

from titan_test_suite.pytests.support.waiting import wait_until

_OWN_TERMINAL = """
import fcntl, runpy, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C reaches it
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Terminal:
    """Runs a Python script on a pseudo-terminal. Use as a context manager."""

    def __init__(self, script: Path, *arguments: str, environ: dict[str, str], cwd: Path) -> None:
        self._keyboard, child = os.openpty()
        command = [sys.executable, "-c", _OWN_TERMINAL, str(script), *arguments]
        self.process = subprocess.Popen(
            command,
            stdin=child,
            stdout=child,
            stderr=child,
            env={**environ, "TERM": "xterm", "COLUMNS": "100"},
            cwd=cwd,
            start_new_session=True,
        )
        os.close(child)
        self.screen = ""
        self._seen = 0

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._keyboard)

    def type(self, keys: str) -> None:
        os.write(self._keyboard, keys.encode())

    def expect(self, text: str) -> str:
        """Wait until `text` is shown, after what was expected before; gives everything up to it."""
        wait_until(lambda: self._read() and text in self.screen[self._seen :], 10, lambda: (text, self.screen))
        end = self.screen.index(text, self._seen) + len(text)
        shown, self._seen = self.screen[self._seen : end], end
        return shown

    def end(self) -> int:
        """Read to the end; the exit code."""
        wait_until(lambda: self._read() and self.process.poll() is not None, 10, lambda: self.screen)
        return self.process.returncode

    def _read(self) -> bool:
        """Take what there is to be read now."""
        while select.select([self._keyboard], [], [], 0)[0]:
            with contextlib.suppress(OSError):  # EIO: the program has closed its side
                if data := os.read(self._keyboard, 65536):
                    self.screen += data.decode(errors="replace")
                    continue
            break
        return True
