"""The kinds of values that settings have: each makes a value of what was written, or says what it must be.

What was written comes from a flag or a variable, as text, or from YAML, where anything may stand: a kind
takes what can be meant only one way, and raises ValueError for the rest, with the sentence that follows
"x is …: ".

Knows no setting and no place that one comes from. Used by the main threads, before anything is started.
"""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from titan_core.errors import InvalidRequest
from titan_core.protocol.checks import WEB_ADDRESS, check_capability, is_web_address

Kind = Callable[[Any], Any]
_SWITCHES = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


# ── texts ─────────────────────────────────────────────────────────────────────────────────────────


def text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or any(ord(char) < 32 for char in value):
        raise ValueError("it must be a text that is not empty")
    return value.strip()


def one_of(*names: str) -> Kind:
    def parse(value: Any) -> str:
        name = value.strip().lower() if isinstance(value, str) else value
        if name not in names:
            raise ValueError(f"it must be one of {', '.join(names)}")
        return str(name)

    return parse


def path(value: Any) -> Path:
    if isinstance(value, Path):
        return value.absolute()
    try:
        return Path(text(value)).expanduser().absolute()
    except RuntimeError:
        raise ValueError("the user after '~' is not known") from None


def path_text(value: Any) -> str:
    return str(path(value))


def command_line(value: Any) -> str:
    """As a person types it; empty: none."""
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("it must be a command line")
    try:
        words = shlex.split(value)
    except ValueError as error:
        raise ValueError(f"it can not be split as a shell would: {str(error).lower()}") from None
    if words and not words[0]:
        raise ValueError("it must begin with the name of a program")
    return value.strip()


def capabilities(value: Any) -> tuple[str, ...]:
    """`GPU,HIGH_MEM` or a list; without duplicates, in the order given."""
    names = _items(value)
    try:
        return tuple(dict.fromkeys(check_capability(name) for name in names))
    except InvalidRequest:
        raise ValueError("it must be names such as GENERAL or GPU, separated by commas") from None


# ── numbers ───────────────────────────────────────────────────────────────────────────────────────


def whole(low: int, high: int) -> Kind:
    def parse(value: Any) -> int:
        number = _number(value, int) if isinstance(value, str) else value
        if type(number) is not int or not low <= number <= high:
            raise ValueError(f"it must be a whole number from {low} to {high}")
        return number

    return parse


def seconds(low: float, high: float) -> Kind:
    def parse(value: Any) -> float:
        number: float | None = None if isinstance(value, bool) else _number(value, float)
        if number is None or not low <= number <= high:
            raise ValueError(f"it must be a number of seconds from {low:g} to {high:g}")
        return number

    return parse


def switch(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word not in _SWITCHES:
        raise ValueError("it must be true or false")
    return _SWITCHES[word]


# ── places in a network ───────────────────────────────────────────────────────────────────────────


def host_name(value: Any) -> str:
    """The name of a machine or an address; part of a worker's id, so without blanks, `/` and `,`."""
    name = text(value)
    if len(name) > 255 or any(char in " /," for char in name):
        raise ValueError("it must be the name of a host, or an address")
    return name


def host_name_or_none(value: Any) -> str:
    """Empty: none."""
    return "" if value == "" else host_name(value)


def worker_name_or_none(value: Any) -> str:
    """`host:port`; empty: none."""
    if value == "":
        return ""
    host, _, number = text(value).rpartition(":")
    try:
        return f"{host_name(host)}:{whole(1, 65535)(number)}"
    except ValueError:
        raise ValueError("it must be the name of a worker, such as build-host:8080") from None


def port_range(value: Any) -> tuple[int, int]:
    """`8090-8200`, or a list of the two."""
    ends = value.split("-") if isinstance(value, str) else value
    if not isinstance(ends, list | tuple) or len(ends) != 2:
        raise ValueError("it must be two ports, such as 8090-8200")
    low, high = map(_port, ends)
    if low > high:
        raise ValueError("it must be two ports, the lower one first")
    return low, high


def networks(value: Any) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_network(name, strict=False)) for name in _items(value))
    except ValueError:
        raise ValueError("it must be networks such as 127.0.0.0/8, separated by commas") from None


def url(value: Any) -> str:
    """Of a webhook; empty: none."""
    address = value.strip() if isinstance(value, str) else None
    if address is None or (address and not is_web_address(address)):
        raise ValueError(f"it must be {WEB_ADDRESS}")
    return address


def _port(value: Any) -> int:
    try:
        return int(whole(1, 65535)(value))
    except ValueError:
        raise ValueError("it must be two ports from 1 to 65535, such as 8090-8200") from None


def _number(value: Any, make: Callable[[Any], Any]) -> Any:
    """What `make` makes of it; None: nothing."""
    try:
        return make(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _items(value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(item, str) for item in texts):
        raise ValueError("it must be a text or a list of texts")
    items = [part.strip() for item in texts for part in item.split(",") if part.strip()]
    if not items:
        raise ValueError("it must not be empty")
    return items
