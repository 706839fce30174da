"""How a log line looks: a sentence, then the stable fields a machine may look for.

    2026-11-22 13:11:30,123 INFO    titan.master: worker a:8080 connected: GENERAL, 4 slots action=worker.connected

The fields are what a record was given as `extra`; docs/operations.md lists the values of `action`.
"""

from __future__ import annotations

import logging

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LineFormatter(logging.Formatter):
    """The sentence, and each field as `key=value`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {key}={value}" for key, value in vars(record).items() if key not in _STANDARD)
        return super().formatMessage(record) + fields


def log_to_stderr(level: str) -> None:
    """Have every logger of this process write such lines of `level` and above to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler])
