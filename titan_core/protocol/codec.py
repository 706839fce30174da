"""Native bodies: a message is a frozen dataclass, its body a row of tagged fields.

     0        1                 5
     |  tag   | value length    | value …    (repeated; fields equal to their default are left out)
     |  u8    | u32 big-endian  |

    int    8 bytes, signed, big-endian        str    UTF-8
    float  8 bytes, IEEE 754, big-endian      bytes  as they are
    bool   1 byte, 0 or 1                     Message  its own body, nested
    tuple[X, ...]  the tag repeated, once per item
    tuple[tuple[str, str], ...]  the tag repeated; each value is  u32 key length | key | value

Fields are declared once, with `tag(n)`; unknown tags are skipped, so that a newer peer can talk to
an older one. A tag, once given, is never reused for another meaning.
"""

from __future__ import annotations

import dataclasses
import operator
import struct
import typing
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from titan_core.errors import BadBody

_FIELD = struct.Struct(">BI")
_INT = struct.Struct(">q")
_FLOAT = struct.Struct(">d")
_LENGTH = struct.Struct(">I")
_REQUIRED = object()

Pack = Callable[[Any], bytes]
Unpack = Callable[[bytes], Any]
M = TypeVar("M", bound="Message")


def tag(number: int, default: Any = _REQUIRED) -> Any:
    """Declare a field: its tag on the wire (1–255), and its default; without one it must be present."""
    if default is _REQUIRED:
        return dataclasses.field(metadata={"tag": number})
    return dataclasses.field(default=default, metadata={"tag": number})


class _Field(typing.NamedTuple):
    tag: int
    name: str
    default: Any
    repeated: bool
    pack: Pack
    unpack: Unpack


class Message:
    """Base of every message. Subclasses are `@dataclass(frozen=True, slots=True, repr=False, eq=False)` with `tag()`
    fields: to write the methods that are here for each of them would take a third of any program's start."""

    __slots__ = ()
    _layouts: ClassVar[dict[type, tuple[_Field, ...]]] = {}
    _by_tag: ClassVar[dict[type, dict[int, _Field]]] = {}
    _takers: ClassVar[dict[type, Callable[[Message], tuple[object, ...]]]] = {}

    def __repr__(self) -> str:
        fields = (f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(fields)})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self is other or _values(self) == _values(other)

    def __hash__(self) -> int:
        return hash(_values(self))

    def encode(self) -> bytes:
        """The body of this message."""
        parts: list[bytes] = []
        for number, name, default, repeated, pack, _ in _layout(type(self)):
            value = getattr(self, name)
            if value == default:
                continue
            for item in value if repeated else (value,):
                body = pack(item)
                parts.append(_FIELD.pack(number, len(body)))
                parts.append(body)
        return b"".join(parts)

    @classmethod
    def decode(cls: type[M], body: bytes) -> M:
        """The message in `body`. Raises BadBody naming the message, and the field where one is at fault."""
        _layout(cls)
        fields = cls._by_tag[cls]
        values: dict[str, Any] = {}
        offset, end = 0, len(body)
        while offset < end:
            if end - offset < _FIELD.size:
                raise BadBody(f"{cls.__name__}: ends inside a field header")
            number, length = _FIELD.unpack_from(body, offset)
            offset += _FIELD.size
            stop = offset + length
            if stop > end:
                raise BadBody(f"{cls.__name__}: field {number} says {length} bytes, {end - offset} are there")
            field = fields.get(number)
            if field is not None:
                _store(cls, values, field, body[offset:stop])
            offset = stop
        return _build(cls, values)


def _values(message: Message) -> tuple[object, ...]:
    """Of its fields."""
    cls = type(message)
    take = Message._takers.get(cls)
    if take is None:
        names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
        # Of one name, and of none, an attrgetter makes no tuple.
        take = operator.attrgetter(*names, names[0]) if names else lambda message: ()
        Message._takers[cls] = take
    return take(message)


def _store(cls: type[Message], values: dict[str, Any], field: _Field, raw: bytes) -> None:
    try:
        value = field.unpack(raw)
    except BadBody as error:
        raise BadBody(f"{cls.__name__}.{field.name}: {error}") from None
    except (struct.error, UnicodeDecodeError, ValueError):
        raise BadBody(f"{cls.__name__}.{field.name}: not a value of its type") from None
    if field.repeated:
        values.setdefault(field.name, []).append(value)
    elif field.name in values:
        raise BadBody(f"{cls.__name__}.{field.name}: present twice")
    else:
        values[field.name] = value


def _build(cls: type[M], values: dict[str, Any]) -> M:
    for field in _layout(cls):
        if field.repeated and (field.name in values or field.default is _REQUIRED):
            values[field.name] = tuple(values.get(field.name, ()))
    try:
        return cls(**values)
    except TypeError:
        missing = [f.name for f in _layout(cls) if f.default is _REQUIRED and f.name not in values]
        raise BadBody(f"{cls.__name__}: without {', '.join(missing)}") from None


def _layout(cls: type[Message]) -> tuple[_Field, ...]:
    """The fields of `cls`, worked out from its annotations once, at first use."""
    layout = Message._layouts.get(cls)
    if layout is None:
        hints = typing.get_type_hints(cls)
        layout = tuple(_field(f, hints[f.name]) for f in dataclasses.fields(cls))  # type: ignore[arg-type]
        Message._by_tag[cls] = {f.tag: f for f in layout}
        Message._layouts[cls] = layout
    return layout


def _field(field: dataclasses.Field[Any], hint: Any) -> _Field:
    repeated = typing.get_origin(hint) is tuple
    item = typing.get_args(hint)[0] if repeated else hint
    default = _REQUIRED if field.default is dataclasses.MISSING else field.default
    return _Field(field.metadata["tag"], field.name, default, repeated, *_kind(item))


def _kind(hint: Any) -> tuple[Pack, Unpack]:
    if hint in _SCALARS:
        return _SCALARS[hint]
    if typing.get_origin(hint) is tuple:
        return _pack_pair, _unpack_pair
    return hint.encode, hint.decode


def _pack_bool(value: bool) -> bytes:
    return b"\1" if value else b"\0"


def _unpack_bool(raw: bytes) -> bool:
    if raw not in (b"\0", b"\1"):
        raise ValueError(raw)
    return raw == b"\1"


def _unpack_int(raw: bytes) -> int:
    return int(_INT.unpack(raw)[0])


def _unpack_float(raw: bytes) -> float:
    value: float = _FLOAT.unpack(raw)[0]
    if value - value != 0:  # infinity and NaN are nobody's duration or instant
        raise ValueError(value)
    return value


def _unpack_str(raw: bytes) -> str:
    return raw.decode()


def _pack_pair(pair: tuple[str, str]) -> bytes:
    key = pair[0].encode()
    return _LENGTH.pack(len(key)) + key + pair[1].encode()


def _unpack_pair(raw: bytes) -> tuple[str, str]:
    (length,) = _LENGTH.unpack_from(raw)
    stop = _LENGTH.size + length
    if stop > len(raw):
        raise ValueError(length)
    return raw[_LENGTH.size : stop].decode(), raw[stop:].decode()


_SCALARS: dict[Any, tuple[Pack, Unpack]] = {
    int: (_INT.pack, _unpack_int),
    float: (_FLOAT.pack, _unpack_float),
    bool: (_pack_bool, _unpack_bool),
    str: (str.encode, _unpack_str),
    bytes: (bytes, bytes),
}
