"""Values for every native message, for tests that try them all."""

from __future__ import annotations

import dataclasses
import random
import typing
from typing import Any

from hypothesis import strategies as st

from titan_core.protocol import messages as module
from titan_core.protocol.codec import Message

MESSAGES: list[type[Message]] = sorted(
    (value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Message)),
    key=lambda message: message.__name__,
)
MESSAGES.remove(Message)

_SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    str: st.text(max_size=20),
    bytes: st.binary(max_size=20),
}


def values(message: type[Message]) -> st.SearchStrategy[Message]:
    """Any value of this message, up to a handful of items in each repeated field."""
    hints = typing.get_type_hints(message)
    fields = {field.name: _field(hints[field.name]) for field in dataclasses.fields(message)}  # type: ignore[arg-type]
    return st.builds(message, **fields)


def _field(hint: Any) -> st.SearchStrategy[Any]:
    if hint in _SCALARS:
        return _SCALARS[hint]
    if typing.get_origin(hint) is not tuple:
        return values(hint)
    arguments = typing.get_args(hint)
    if arguments[-1] is Ellipsis:
        return st.lists(_field(arguments[0]), max_size=3).map(tuple)
    return st.tuples(*map(_field, arguments))


def rolled(dice: random.Random, message: type[Message]) -> Message:
    """A value of this message, decided by a dice: ids that may exist, numbers at the edges, texts of every kind."""
    hints = typing.get_type_hints(message)
    fields = dataclasses.fields(message)  # type: ignore[arg-type]
    return message(**{field.name: _rolled_field(dice, hints[field.name]) for field in fields})


_TEXTS = (
    "",
    "last",
    "GENERAL",
    "prefer",
    "x.sh",
    "run",
    "job",
    "SUCCEEDED",
    "a" * 300,
    "../x",
    "größe 🚀",
    "a\0b",
    "-",
)
_NUMBERS = (0, 1, -1, 15, 65535, 65536, 2**31, 2**63 - 1, -(2**63))


def _rolled_field(dice: random.Random, hint: Any) -> Any:
    if hint is str:
        return dice.choice(_TEXTS)
    if hint is bytes:
        return dice.randbytes(dice.choice((0, 1, 16, 16, 32)))
    if hint is int:
        return dice.choice(_NUMBERS)
    if hint is float:
        return dice.choice((0.0, 0.1, -1.0, 1e308, 5e-324))
    if hint is bool:
        return dice.random() < 0.5
    if typing.get_origin(hint) is not tuple:
        return rolled(dice, hint)
    arguments = typing.get_args(hint)
    if arguments[-1] is Ellipsis:
        return tuple(_rolled_field(dice, arguments[0]) for _ in range(dice.choice((0, 1, 1, 3))))
    return tuple(_rolled_field(dice, argument) for argument in arguments)
