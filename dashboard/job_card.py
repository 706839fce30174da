"""All that is known of one job, for the panel beside a run: state, attempts, what it waits for, the end of its log.

Reads it from the master; what one part of it can not be had for does not hide the others. Any thread.
"""

from __future__ import annotations

import re
import signal
from collections import deque
from dataclasses import dataclass

from titan_core.protocol.messages import JobStatus
from titan_sdk import TitanClient
from titan_sdk.cli.text import clean, shortened
from titan_sdk.errors import TitanError

TAIL_BYTES = 8 * 1024
TAIL_LINES = 25
_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")
_LINE = 400
"""Characters of a line of the log that are shown."""
_SIGNALLED = 128
"""An exit code above is this plus the signal that ended the process."""


@dataclass(frozen=True, slots=True)
class Card:
    job: JobStatus
    reasons: tuple[str, ...]
    """What it waits for, or why it is where it is."""
    log: tuple[str, ...]
    """The last lines."""
    log_trouble: str = ""
    """Why there are none."""

    @property
    def key(self) -> str:
        return f"{self.job.run_id}/{self.job.job_id}"

    @property
    def can_retry(self) -> bool:
        return self.job.state in ("DEAD", "CANCELLED")


def card(client: TitanClient, key: str) -> Card:
    """Raises NotFound."""
    job = client.job(key)
    log, trouble = _log(client, key)
    return Card(job, _reasons(client, key), log, trouble)


def exit_words(code: int) -> str:
    """`3`, or `137 (SIGKILL)`; empty: there is none."""
    if code < 0:
        return ""
    try:
        return f"{code} ({signal.Signals(code - _SIGNALLED).name})" if code > _SIGNALLED else str(code)
    except ValueError:
        return str(code)


def _reasons(client: TitanClient, key: str) -> tuple[str, ...]:
    try:
        return client.explain(key).reasons
    except TitanError as error:
        return (str(error),)


def _log(client: TitanClient, key: str) -> tuple[tuple[str, ...], str]:
    try:
        data = b"".join(chunk.data for chunk in client.log_chunks(key, tail_bytes=TAIL_BYTES))
    except TitanError as error:
        return (), str(error)
    lines = data[-TAIL_BYTES:].decode(errors="replace").splitlines()
    return tuple(_line(line) for line in deque(lines, TAIL_LINES)), ""


def _line(text: str) -> str:
    """Without colours, and without whatever would move things about: controls, escapes, direction marks."""
    return clean(shortened(_COLOURS.sub("", text).expandtabs(4), _LINE))
