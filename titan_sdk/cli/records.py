"""Messages as JSON, for `--json`.

A message is an object of its fields. Instants stay seconds since the Unix epoch, `null` before they
have happened; an exit code is `null` where there is none; counts by state are one object; bytes are hex.
Everything beyond ASCII is escaped, so that no value can act on a terminal.
"""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

from titan_core.protocol.codec import Message
from titan_core.protocol.messages import StateCount


def to_json(value: Any) -> str:
    """One line of JSON; `value` may hold messages at any depth."""
    return json.dumps(plain(value))


def plain(value: Any) -> Any:
    """`value` with every message in it turned into a dict."""
    if isinstance(value, Message):
        return {
            field.name: _field(field.name, getattr(value, field.name))
            for field in dataclasses.fields(value)  # type: ignore[arg-type]
        }
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no word for it
    return value.hex() if isinstance(value, bytes) else value


def _field(name: str, value: Any) -> Any:
    if name.endswith("_wall"):
        return plain(value) or None
    if name == "exit_code":
        return value if value >= 0 else None
    if name == "counts":
        return {item.state: item.count for item in value if isinstance(item, StateCount)}
    return plain(value)
