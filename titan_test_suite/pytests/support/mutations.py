"""Bodies and byte streams that were right until somebody touched them; what is touched is decided by a seed.

A body is taken apart into its tagged fields, so that most mutations keep what is around them readable: a
decoder that refuses everything at the first byte is not tried by noise.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

_FIELD = struct.Struct(">BI")
_INTERESTING = (
    b"",
    b"\0",
    b"\xff",
    b"\0" * 8,
    b"\xff" * 8,
    b"\x7f" + b"\xff" * 7,
    b"\x80" + b"\0" * 7,
    struct.pack(">d", float("nan")),
    struct.pack(">d", float("-inf")),
    struct.pack(">d", -1e308),
    b"\xed\xa0\x80",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"../../etc/passwd",
    b"a\0b",
)
"""Values at the edge of some type."""

Field = tuple[int, bytes]


def field(number: int, value: bytes, length: int | None = None) -> bytes:
    """One field as it is on the wire; `length` to lie about it."""
    return _FIELD.pack(number, len(value) if length is None else length) + value


def taken_apart(body: bytes) -> list[Field] | None:
    """The fields of a body, or None if it is no row of fields."""
    fields, offset = [], 0
    while offset < len(body):
        if len(body) - offset < _FIELD.size:
            return None
        number, length = _FIELD.unpack_from(body, offset)
        offset += _FIELD.size
        if offset + length > len(body):
            return None
        fields.append((number, body[offset : offset + length]))
        offset += length
    return fields


def put_together(fields: list[Field]) -> bytes:
    return b"".join(field(number, value) for number, value in fields)


def mutated_body(dice: random.Random, body: bytes) -> bytes:
    """`body`, changed in one to three places, at any depth."""
    for _ in range(dice.randrange(1, 4)):
        body = _mutated_once(dice, body)
    return body


def _mutated_once(dice: random.Random, body: bytes) -> bytes:
    fields = taken_apart(body)
    if not fields:
        return mutated_bytes(dice, body)
    if dice.random() < 0.4:  # one level deeper, where there is one
        place = dice.randrange(len(fields))
        number, value = fields[place]
        fields[place] = (number, _mutated_once(dice, value))
        return put_together(fields)
    return dice.choice(_FIELD_MUTATIONS)(dice, fields)


def mutated_bytes(dice: random.Random, data: bytes) -> bytes:
    """`data` with bits flipped, bytes put in, taken out or repeated, or cut off."""
    return dice.choice(_BYTE_MUTATIONS)(dice, data)


# ── of fields ─────────────────────────────────────────────────────────────────────────────────────


def _dropped(dice: random.Random, fields: list[Field]) -> bytes:
    del fields[dice.randrange(len(fields))]
    return put_together(fields)


def _repeated(dice: random.Random, fields: list[Field]) -> bytes:
    fields.insert(dice.randrange(len(fields) + 1), dice.choice(fields))
    return put_together(fields)


def _reordered(dice: random.Random, fields: list[Field]) -> bytes:
    dice.shuffle(fields)
    return put_together(fields)


def _renumbered(dice: random.Random, fields: list[Field]) -> bytes:
    place = dice.randrange(len(fields))
    fields[place] = (dice.choice((0, 255, dice.randrange(256), dice.randrange(1, 20))), fields[place][1])
    return put_together(fields)


def _with_another_value(dice: random.Random, fields: list[Field]) -> bytes:
    place = dice.randrange(len(fields))
    fields[place] = (fields[place][0], dice.choice((*_INTERESTING, dice.choice(fields)[1])))
    return put_together(fields)


def _nested(dice: random.Random, fields: list[Field]) -> bytes:
    """A field holds the whole body again, some levels deep."""
    place = dice.randrange(len(fields))
    number, whole = fields[place][0], put_together(fields)
    for _ in range(dice.choice((1, 2, 50))):
        whole = field(number, whole)
    fields[place] = (number, whole[_FIELD.size :])
    return put_together(fields)


def _of_a_false_length(dice: random.Random, fields: list[Field]) -> bytes:
    place = dice.randrange(len(fields))
    parts = [field(*one) for one in fields]
    number, value = fields[place]
    length = dice.choice((0, len(value) + 1, max(0, len(value) - 1), 2**31, 2**32 - 1, dice.randrange(2**16)))
    parts[place] = field(number, value, length)
    return b"".join(parts)


_FIELD_MUTATIONS: tuple[Callable[[random.Random, list[Field]], bytes], ...] = (
    _dropped,
    _repeated,
    _reordered,
    _renumbered,
    _with_another_value,
    _nested,
    _of_a_false_length,
)


# ── of bytes ──────────────────────────────────────────────────────────────────────────────────────


def _flipped(dice: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.randrange(1, 4) if changed else 0):
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _cut(dice: random.Random, data: bytes) -> bytes:
    return data[: dice.randrange(len(data) + 1)]


def _spliced(dice: random.Random, data: bytes) -> bytes:
    """A piece is repeated somewhere else."""
    begin, end = sorted((dice.randrange(len(data) + 1), dice.randrange(len(data) + 1)))
    place = dice.randrange(len(data) + 1)
    return data[:place] + data[begin:end] + data[place:]


def _shortened(dice: random.Random, data: bytes) -> bytes:
    """A piece in the middle is missing."""
    begin, end = sorted((dice.randrange(len(data) + 1), dice.randrange(len(data) + 1)))
    return data[:begin] + data[end:]


def _enriched(dice: random.Random, data: bytes) -> bytes:
    place = dice.randrange(len(data) + 1)
    return data[:place] + dice.choice((*_INTERESTING, dice.randbytes(dice.randrange(20)))) + data[place:]


_BYTE_MUTATIONS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _flipped,
    _cut,
    _spliced,
    _shortened,
    _enriched,
)
