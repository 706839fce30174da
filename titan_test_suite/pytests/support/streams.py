"""Text streams that keep what is written, and may pretend to be a terminal."""

from __future__ import annotations

import io


class Stream(io.TextIOWrapper):
    def __init__(self, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True, newline="")
        self._is_terminal = terminal

    def isatty(self) -> bool:
        return self._is_terminal

    @property
    def text(self) -> str:
        return self.buffer.getvalue().decode()  # type: ignore[attr-defined]
