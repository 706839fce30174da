"""Values as words: text that can do no harm on a terminal, instants, durations and sizes.

Pure functions; knows neither messages nor terminals.
"""

from __future__ import annotations

import math
import time
import unicodedata

_BYTES = ("KiB", "MiB", "GiB", "TiB")


def clean(text: str) -> str:
    """`text` on one line: whatever does not print (controls, escapes, direction marks) is shown as its code."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _code(char) for char in text)


def shortened(name: str, length: int = 200) -> str:
    """`name`, cut off where it would bury what is said about it."""
    return name if len(name) <= length else name[: length - 1] + "…"


def width(text: str) -> int:
    """Columns that `text` takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(_char_width(char) for char in text)


def clock(wall: float, now_wall: float | None = None) -> str:
    """A wall instant as local HH:MM:SS, with the date when it is not today's; empty for 0 (has not happened)."""
    if not wall:
        return ""
    then, now = time.localtime(wall), time.localtime(now_wall)
    same_day = then[:3] == now[:3]
    return time.strftime("%H:%M:%S" if same_day else "%Y-%m-%d %H:%M:%S", then)


def duration(seconds: float) -> str:
    """`35ms`, `4.2s`, `2m05s`, `1h02m`, `3d04h`; `?` for what is no time."""
    if not math.isfinite(seconds):
        return "?"
    if seconds < 0.9995:
        return f"{max(0.0, seconds) * 1000:.0f}ms"
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def span(started_wall: float, finished_wall: float, now_wall: float | None = None) -> str:
    """How long something took, or has been going on; empty when it has not begun."""
    if not started_wall:
        return ""
    end_wall = finished_wall or (time.time() if now_wall is None else now_wall)
    return duration(end_wall - started_wall)


def size(count: int) -> str:
    """Bytes as `512 B`, `3.4 KiB`, `1.2 GiB`."""
    if count < 1024:
        return f"{count} B"
    power = min(len(_BYTES), (count.bit_length() - 1) // 10)
    return f"{count / 1024**power:.1f} {_BYTES[power - 1]}"


def plural(count: int, noun: str) -> str:
    """`1 job`, `3 jobs`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _code(char: str) -> str:
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
    number = ord(char)
    return named.get(char) or (f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}")


def _char_width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
