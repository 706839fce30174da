"""Values as text and HTML: states, instants, durations, sizes. Names stay text: whatever is put into HTML is escaped.

Pure functions, all of them filters of the templates under their own names.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from markupsafe import Markup

from titan_core.protocol.messages import StateCount
from titan_sdk.cli.states import JOB_STATES
from titan_sdk.cli.text import clean, clock, duration, plural, size, span

TONES: dict[str, str] = {
    **dict.fromkeys(("COMPLETED", "ACTIVE", "RAN", "SUCCEEDED", "ONLINE", "READY"), "good"),
    **dict.fromkeys(("RUNNING", "STARTING", "UPDATING"), "live"),
    **dict.fromkeys(("FAILED", "CRASHLOOP", "DEAD", "TIMED_OUT", "NOT_STARTED", "LOST", "MISSED"), "bad"),
    **dict.fromkeys(("DISCONNECTED",), "bad"),
    **dict.fromkeys(("CANCELLED", "STOPPED", "PAUSED", "SKIPPED", "INTERRUPTED", "DRAINING", "DEGRADED"), "warn"),
}
"""The CSS class of a state; every other one waits."""
SYMBOLS = {"good": "✓", "live": "▶", "bad": "✕", "warn": "!", "wait": "…"}
"""Beside each state's word, so that its colour is never all there is."""
_MOST_BOXES = 16
"""Slots drawn one by one; more are drawn as one bar."""


def finalized(value: object) -> object:
    """What a template is about to write: of text that is not HTML yet, what does not print, or turns the direction of
    what follows, is shown as its code. Only breaks and tabs stay, for what is preformatted."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(char if char in "\n\r\t" else clean(char) for char in value)


def file_name(text: str) -> str:
    """`text` as the name of a file that is saved: no path, and nothing that makes a name look like another one."""
    return "".join(char if char.isprintable() and char not in '/\\:"' else "_" for char in text)


def tone(state: str) -> str:
    """`good`, `live`, `bad`, `warn` or `wait`."""
    return TONES.get(state, "wait")


def state(word: str) -> Markup:
    """A state: its symbol, its word, its colour."""
    css = tone(word)
    return Markup('<span class="state {0}"><span aria-hidden="true">{1}</span> {2}</span>').format(
        css, SYMBOLS[css], word
    )


def instant(wall: float, now_wall: float | None = None) -> Markup:
    """A wall instant as local time, with the date where it is not today's; empty for 0, `?` for one in no year."""
    if not wall:
        return Markup("")
    try:
        stamp = datetime.fromtimestamp(wall, UTC)
    except (ValueError, OverflowError, OSError):  # somebody's clock, or the date of a file
        return Markup("?")
    full = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(wall))
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        stamp.strftime("%Y-%m-%dT%H:%M:%SZ"), full, clock(wall, now_wall)
    )


class Zone(NamedTuple):
    """What instants are shown in."""

    offset_s: int
    """Local time minus UTC, for what scripts show."""
    words: str
    """`UTC`, or `CET, UTC+01:00`."""


def local_zone(wall: float) -> Zone:
    """The zone of this machine, as it is at that instant."""
    local = time.localtime(wall)
    minutes = local.tm_gmtoff // 60
    apart = f"UTC{'+' if minutes >= 0 else '-'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
    return Zone(local.tm_gmtoff, f"{local.tm_zone}, {apart}" if local.tm_zone != "UTC" else "UTC")


def since(wall: float) -> str:
    """How long ago; empty for 0."""
    return span(wall, 0.0)


def took(started_wall: float, finished_wall: float) -> str:
    """How long something took, or has been going on; empty when it has not begun."""
    return span(started_wall, finished_wall)


def percent(value: float) -> str:
    return f"{value:.0f} %"


def counted(counts: Iterable[StateCount]) -> list[StateCount]:
    """Those that are not 0, what is done first and what went wrong last."""
    order = {name: place for place, name in enumerate(JOB_STATES)}
    return sorted((one for one in counts if one.count), key=lambda one: order.get(one.state, len(order)))


def boxes(used: int, slots: int) -> Markup:
    """A picture of slots: a box each, or a bar if they are many; the words `n of m` belong beside it."""
    if not 0 < slots <= _MOST_BOXES:
        return bar(used, slots)
    drawn = Markup("").join(
        Markup('<rect x="{}" y="1" width="8" height="10" rx="1.5" class="{}"/>').format(
            place * 10 + 1, "used" if place < used else "free"
        )
        for place in range(slots)
    )
    return Markup(
        '<svg class="boxes" viewBox="0 0 {0} 12" width="{0}" height="12" aria-hidden="true">{1}</svg>'
    ).format(slots * 10, drawn)


def bar(part: float, whole: float) -> Markup:
    """A picture of a part of something, 60 wide."""
    filled = 60 * min(1.0, max(0.0, part / whole)) if whole > 0 else 0.0
    return Markup(
        '<svg class="bar" viewBox="0 0 60 12" width="60" height="12" aria-hidden="true">'
        '<rect y="3" width="60" height="6" rx="2" class="free"/>'
        '<rect y="3" width="{}" height="6" rx="2" class="used"/></svg>'
    ).format(f"{filled:.1f}")


FILTERS: dict[str, Callable[..., object]] = {
    function.__name__: function
    for function in (
        tone, state, instant, since, took, percent, counted, boxes, bar, clean, duration, plural, size,
    )
}  # fmt: skip
