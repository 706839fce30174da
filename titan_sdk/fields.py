"""The fields of a job: how each may be spelled, and how a value a person wrote becomes the one that is meant.

Owns types and spellings only; whether a value is in range is said in `protocol.checks`, for client
and master alike. Every reader is idempotent: it accepts what it returns. Pure; any thread.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import shlex
import signal
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

from titan_core.errors import InvalidRequest
from titan_core.protocol.checks import AUTO_PORT, RESTARTS, SCOPES, shown

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"\s*(-?\d+(?:\.\d*)?)\s*(ms|s|m|h|d)\s*")
_POWERS = "KMGT"
_BYTES = re.compile(rf"\s*([0-9]{{1,15}}(?:\.[0-9]{{0,15}})?)\s*([{_POWERS}])(?:i?B)?\s*", re.IGNORECASE)
_PLAIN_BYTES = re.compile(r"\s*([0-9]{1,18})\s*")
AUTO = "auto"
"""The port of a service that takes a free one."""

ALIASES = {
    "id": "job_id",
    "file": "filename",
    "script": "filename",
    "depends_on": "parents",
    "dependencies": "parents",
    "parent": "parents",
}
"""Other names of a field, as a person may write them or a check may report them."""
_WHOLE = object()


class WrongType(Exception):
    """What a value must be instead, such as `must be a list`; and the part of it that is not, if not the whole."""

    def __init__(self, rule: str, found: object = _WHOLE) -> None:
        super().__init__(rule)
        self.found = found


def field_name(word: str, known: Iterable[str]) -> str:
    """The field that `word` names. Raises InvalidRequest, with the likeliest spelling, when none of `known` does."""
    name = ALIASES.get(word, word)
    if name in known:
        return name
    words = [*known, *(alias for alias, meant in ALIASES.items() if meant in known)]
    close = difflib.get_close_matches(word, words, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "known are " + ", ".join(sorted(words))
    raise InvalidRequest(f"there is no field {shown(word)}; {hint}", field=word)


def read_field(name: str, value: object) -> Any:
    """The value of field `name` that `value` stands for. Raises InvalidRequest naming both."""
    return read_value(READERS[name], value, name, name)


def read_value(reader: Callable[[object], Any], value: object, called: str, field: str) -> Any:
    """What `reader` makes of `value`. Raises InvalidRequest about `field`, whose sentence begins with `called`."""
    try:
        return reader(value)
    except WrongType as error:
        found = value if error.found is _WHOLE else error.found
        raise InvalidRequest(f"{called} {error}, not {described(found)}", field=field) from None


def described(value: object) -> str:
    """A value for a message: `the string 'x'`, `the number 3`, `a list`."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the string {shown(value)}"
    if isinstance(value, int | float):
        return f"the number {shown(str(value))[1:-1]}"
    kinds: list[tuple[type, str]] = [(list, "a list"), (tuple, "a list"), (Mapping, "a mapping")]
    return next((text for kind, text in kinds if isinstance(value, kind)), f"a {type(value).__name__}")


# ── readers, one per kind of value ────────────────────────────────────────────────────────────────


def text(value: object) -> str:
    if not isinstance(value, str):
        raise WrongType("must be a string")
    return value


def path(value: object) -> str:
    """A file name; path objects are welcome."""
    if not isinstance(value, str) and isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str) or not value:
        raise WrongType("must be a file name")
    return value


def integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise WrongType("must be a whole number")
    return value


def port(value: object) -> int | str:
    """A port, or `auto`."""
    if value == AUTO:
        return AUTO
    if isinstance(value, bool) or not isinstance(value, int) or value == AUTO_PORT:
        raise WrongType("must be a whole number, or 'auto'")
    return value


def boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise WrongType("must be true or false")
    return value


def words(value: object) -> tuple[str, ...]:
    """Names: one, or a list of them."""
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list | tuple):
        raise WrongType("must be a list of names")
    for item in value:
        if not isinstance(item, str):
            raise WrongType("may hold only names", item)
    return tuple(value)


def arguments(value: object) -> tuple[str, ...]:
    """Arguments: a list, or one string that is split as a shell would (nothing is expanded)."""
    if isinstance(value, str):
        try:
            return tuple(_plain(item) for item in shlex.split(value))
        except ValueError as error:
            raise WrongType(f"must be splittable as a shell would ({str(error).lower()})") from None
    if not isinstance(value, list | tuple):
        raise WrongType("must be a list or a string")
    return tuple(_plain(item) for item in value)


def variables(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise WrongType("must be a mapping of names to strings")
    for key in value:
        if not isinstance(key, str):
            raise WrongType("may have only strings for names", key)
    return {key: _plain(item) for key, item in value.items()}


def seconds(value: object) -> float:
    """A duration in seconds, `90`, or with its unit: `500ms`, `2s`, `5m`, `1h`, `1d`, a timedelta."""
    return _duration_s(value, 1.0)


def milliseconds(value: object) -> float:
    """A duration in milliseconds, or with its unit."""
    return _duration_s(value, 0.001) * 1000


def memory(value: object) -> int:
    """Bytes: a whole number, or `300M`, `1.5G`, `512 KiB`. Units are powers of 1024, however they are spelled."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and (plain := _PLAIN_BYTES.fullmatch(value)):
        return int(plain[1])
    match = _BYTES.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise WrongType("must be a whole number of bytes, or a number with a unit such as 512K, 300M or 1.5G")
    return round(float(match[1]) * 2.0 ** (10 + 10 * _POWERS.index(match[2].upper())))


def health(value: object) -> dict[str, Any]:
    """How a service's health is checked, by the names of HEALTH."""
    if not isinstance(value, Mapping):
        raise WrongType("must be a mapping such as {http: /health}")
    given = {_health_key(key): item for key, item in value.items() if item is not None}
    return {key: read_value(HEALTH[key], item, f"health: {key}", "health") for key, item in given.items()}


def _health_key(key: object) -> str:
    if not isinstance(key, str):
        raise WrongType("may have only strings for keys", key)
    return field_name(key, HEALTH)


def url_path(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise WrongType("must be a path such as /health")
    return value


def command(value: object) -> tuple[str, ...]:
    """A program and its arguments: a list, or one string that is split as a shell would."""
    words = arguments(value)
    if not words:
        raise WrongType("must name a program")
    return words


def affinity(value: object) -> bool | str:
    if value in ("", "prefer"):
        return bool(value)
    if value != "strict" and not isinstance(value, bool):
        raise WrongType("must be false, true or 'strict'")
    return value


def one_of(*choices: str) -> Callable[[object], str]:
    """A reader of one of these words."""

    def read(value: object) -> str:
        if value not in choices:
            raise WrongType(f"must be {', '.join(map(repr, choices[:-1]))} or {choices[-1]!r}")
        return str(value)

    return read


def signal_number(value: object) -> int:
    """A signal: `TERM`, `SIGTERM` or 15."""
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        name = value.upper() if value.upper().startswith("SIG") else "SIG" + value.upper()
        if name in signal.Signals.__members__:
            return int(signal.Signals[name])
    raise WrongType("must be the name or number of a signal, such as TERM")


def _plain(value: object) -> str:
    plain = value if type(value) is str else _written(value)
    if not plain.isascii() and any(0xD800 <= ord(char) <= 0xDFFF for char in plain):
        raise WrongType("may hold only valid UTF-8", plain)
    return plain


def _written(value: object) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, bool):
        raise WrongType("may hold only strings and numbers (put quotes around true and false)", value)
    if not isinstance(value, str | int | float):
        raise WrongType("may hold only strings and numbers", value)
    return str(value)


def _duration_s(value: object, unit_s: float) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _finite(_product(value, unit_s))
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise WrongType("must be a number, or a number with a unit such as 500ms, 2s, 5m, 1h or 1d")
    return _finite(float(match[1]) * _UNITS_S[match[2]])


def _product(count: float, unit_s: float) -> float:
    try:
        return count * unit_s
    except OverflowError:
        return math.inf


def _finite(duration_s: float) -> float:
    if not math.isfinite(duration_s):
        raise WrongType("must be a finite number")
    return duration_s


READERS: dict[str, Callable[[object], Any]] = {
    "job_id": text,
    "filename": path,
    "requirement": text,
    "priority": integer,
    "parents": words,
    "is_archive": boolean,
    "args": arguments,
    "port": port,
    "delay": milliseconds,
    "affinity": affinity,
    "env": variables,
    "timeout": seconds,
    "retries": integer,
    "retry_backoff": seconds,
    "max_attempts": integer,
    "stop_signal": signal_number,
    "stop_grace": seconds,
    "warm": boolean,
    "type": one_of("run", "service"),
    "restart": one_of(*RESTARTS),
    "min_uptime": seconds,
    "instances": integer,
    "scope": one_of(*SCOPES),
    "max_memory": memory,
    "health": health,
    "unhealthy_after": integer,
    "ready_timeout": seconds,
}
"""Every field of a job, and what reads it."""

HEALTH: dict[str, Callable[[object], Any]] = {
    "http": url_path,
    "command": command,
    "interval": seconds,
    "timeout": seconds,
}
"""What `health` may hold."""

FOR_SERVICES = (
    "restart",
    "min_uptime",
    "instances",
    "scope",
    "max_memory",
    "health",
    "unhealthy_after",
    "ready_timeout",
)
"""Fields that only services have; of `port`, the value `auto`."""
