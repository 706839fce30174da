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
from typing import Any, ClassVar, NamedTuple, TypeVar

from titan_core.errors import BadBody

_FIELD = struct.Struct(">BI")
_INT = struct.Struct(">q")
_FLOAT = struct.Struct(">d")
_LENGTH = struct.Struct(">I")
_REQUIRED = object()
_ABSENT = object()

M = TypeVar("M", bound="Message")


def tag(number: int, default: Any = _REQUIRED) -> Any:
    """Declare a field: its tag on the wire (1–255), and its default; without one it must be present."""
    if default is _REQUIRED:
        return dataclasses.field(metadata={"tag": number})
    return dataclasses.field(default=default, metadata={"tag": number})


class Message:
    """Base of every message. Subclasses are `@dataclass(frozen=True, slots=True, repr=False, eq=False)` with `tag()`
    fields: to write the methods that are here for each of them would take a third of any program's start."""

    __slots__ = ()
    _layouts: ClassVar[dict[type, list[_Field]]] = {}
    _encoders: ClassVar[dict[type, Callable[[Any], bytes]]] = {}
    _decoders: ClassVar[dict[type, Callable[[bytes], Any]]] = {}
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
        cls = type(self)
        return (Message._encoders.get(cls) or _make_encoder(cls))(self)

    @classmethod
    def decode(cls: type[M], body: bytes) -> M:
        """The message in `body`. Raises BadBody naming the message, and the field where one is at fault."""
        message: M = (Message._decoders.get(cls) or _make_decoder(cls))(body)
        return message


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


# ── the fields of a class ─────────────────────────────────────────────────────────────────────────


class _Kind(NamedTuple):
    """Python for one value of a field."""

    write: str
    """From `value` to its bytes."""
    read: str
    """From the bytes `raw` to the value; a ValueError, or struct.error, says that they are none."""


class _Field(NamedTuple):
    tag: int
    name: str
    default: Any
    """_REQUIRED: it must be present."""
    repeated: bool
    kind: _Kind
    message: type[Message] | None
    """Of which class the value is, if it is a message."""


def _layout(cls: type[Message]) -> list[_Field]:
    """The fields of `cls`, by its annotations."""
    layout = Message._layouts.get(cls)
    if layout is None:
        hints = typing.get_type_hints(cls)
        layout = [_field(field, hints[field.name]) for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
        Message._layouts[cls] = layout
    return layout


def _field(field: dataclasses.Field[Any], hint: Any) -> _Field:
    repeated = typing.get_origin(hint) is tuple
    item = typing.get_args(hint)[0] if repeated else hint
    default = field.default
    if default is dataclasses.MISSING:
        default = () if repeated else _REQUIRED
    assert not repeated or default == (), f"{field.name}: nothing is all that a repeated field can leave out"
    number = field.metadata["tag"]
    if item in _SCALARS:
        return _Field(number, field.name, default, repeated, _SCALARS[item], None)
    if typing.get_origin(item) is tuple:
        return _Field(number, field.name, default, repeated, _PAIR, None)
    return _Field(
        number, field.name, default, repeated, _Kind("value.encode()", f"message_{number}.decode(raw)"), item
    )


_SCALARS = {
    int: _Kind("pack_int(value)", "unpack_int(raw)[0]"),
    float: _Kind("pack_float(value)", "read_float(raw)"),
    bool: _Kind("pack_bool(value)", "read_bool(raw)"),
    str: _Kind("value.encode()", "raw.decode()"),
    bytes: _Kind("value", "raw"),
}
_PAIR = _Kind("pack_pair(value)", "read_pair(raw)")


def _pack_bool(value: bool) -> bytes:
    return b"\1" if value else b"\0"


def _read_bool(raw: bytes) -> bool:
    if raw not in (b"\0", b"\1"):
        raise ValueError(raw)
    return raw == b"\1"


def _read_float(raw: bytes) -> float:
    value: float = _FLOAT.unpack(raw)[0]
    if value - value != 0:  # infinity and NaN are nobody's duration or instant
        raise ValueError(value)
    return value


def _pack_pair(pair: tuple[str, str]) -> bytes:
    key = pair[0].encode()
    return _LENGTH.pack(len(key)) + key + pair[1].encode()


def _read_pair(raw: bytes) -> tuple[str, str]:
    (length,) = _LENGTH.unpack_from(raw)
    stop = _LENGTH.size + length
    if stop > len(raw):
        raise ValueError(length)
    return raw[_LENGTH.size : stop].decode(), raw[stop:].decode()


# ── encoders and decoders ─────────────────────────────────────────────────────────────────────────
# Each class has its own, written out for its fields at their first use: a loop over them takes twice to four times as
# long, and a job is in a dozen messages. This is what becomes of a field `reason: str = tag(2, "")`:
#
#     if (value := self.reason) is not default_2 and value != default_2:
#         body = value.encode()
#         add(header(2, len(body)))
#         add(body)
#     …
#     elif number == 2:
#         if field_2 is not absent:
#             raise Twice
#         field_2 = raw.decode()
#
# `_compiled` says what the names in the templates, and in `_Kind`, stand for.

_ENCODER = """\
def encode(self):
    parts = []
    add = parts.append
{fields}
    return b"".join(parts)
"""
_ENCODED = """\
{loop}
        body = {write}
        add(header({tag}, len(body)))
        add(body)
"""
_DECODER = """\
def decode(body):
    {absent} = absent
    stop, end = 0, len(body)
    while stop < end:
        if end - stop < {header_size}:
            raise BadBody("{cls}: ends inside a field header")
        number, length = header_at(body, stop)
        start = stop + {header_size}
        stop = start + length
        if stop > end:
            raise BadBody(f"{cls}: field {{number}} says {{length}} bytes, {{end - start}} are there")
        raw = body[start:stop]
        try:
            if number == 0:
                pass  # nobody's
{fields}
        except (BadBody, ValueError, struct_error) as error:
            raise fault(number, error) from None
    if {missing}:
        raise without({named})
    return cls({values})
"""
_DECODED = """\
            elif number == {tag}:
                if field_{tag} is not absent:
                    raise Twice
                field_{tag} = {read}
"""
_DECODED_REPEATED = """\
            elif number == {tag}:
                if field_{tag} is absent:
                    field_{tag} = []
                field_{tag}.append({read})
"""


class _Twice(ValueError):
    """A field that is not repeated is there again."""


def _make_encoder(cls: type[Message]) -> Callable[[Any], bytes]:
    layout = _layout(cls)
    fields = "".join(_ENCODED.format(loop=_loop(field), write=field.kind.write, tag=field.tag) for field in layout)
    return Message._encoders.setdefault(cls, _compiled("encode", cls, layout, _ENCODER.format(fields=fields)))


def _loop(field: _Field) -> str:
    """The line below which `value` is what is to be encoded."""
    if field.repeated:
        return f"    for value in self.{field.name}:"
    if field.default is _REQUIRED:
        return f"    for value in (self.{field.name},):"
    default = f"default_{field.tag}"
    return f"    if (value := self.{field.name}) is not {default} and value != {default}:"


def _make_decoder(cls: type[M]) -> Callable[[bytes], M]:
    layout = _layout(cls)
    required = [field for field in layout if field.default is _REQUIRED]
    source = _DECODER.format(
        cls=cls.__name__,
        header_size=_FIELD.size,
        absent=" = ".join(["_", *(f"field_{field.tag}" for field in layout)]),
        fields="".join(
            (_DECODED_REPEATED if field.repeated else _DECODED).format(tag=field.tag, read=field.kind.read)
            for field in layout
        ),
        missing=" or ".join(f"field_{field.tag} is absent" for field in required) or "False",
        named=", ".join(f"{field.name}=field_{field.tag}" for field in required),
        values=", ".join(map(_value, layout)),
    )
    return Message._decoders.setdefault(cls, _compiled("decode", cls, layout, source))


def _value(field: _Field) -> str:
    """What a field is, once all of the body has been read."""
    found = f"field_{field.tag}"
    if field.default is _REQUIRED:
        return found
    return f"default_{field.tag} if {found} is absent else {f'tuple({found})' if field.repeated else found}"


def _compiled(function: str, cls: type[Message], layout: list[_Field], source: str) -> Any:
    """The function in `source`, which knows all that the templates name."""

    def fault(number: int, error: Exception) -> BadBody:
        why = str(error) if isinstance(error, BadBody) else "not a value of its type"
        name = next(field.name for field in layout if field.tag == number)
        return BadBody(f"{cls.__name__}.{name}: {'present twice' if isinstance(error, _Twice) else why}")

    def without(**required: object) -> BadBody:
        missing = [name for name, value in required.items() if value is _ABSENT]
        return BadBody(f"{cls.__name__}: without {', '.join(missing)}")

    names = {
        "header": _FIELD.pack,
        "header_at": _FIELD.unpack_from,
        "pack_int": _INT.pack,
        "unpack_int": _INT.unpack,
        "pack_float": _FLOAT.pack,
        "read_float": _read_float,
        "pack_bool": _pack_bool,
        "read_bool": _read_bool,
        "pack_pair": _pack_pair,
        "read_pair": _read_pair,
        "struct_error": struct.error,
        "BadBody": BadBody,
        "Twice": _Twice,
        "absent": _ABSENT,
        "cls": cls,
        "fault": fault,
        "without": without,
        **{f"default_{field.tag}": field.default for field in layout},
        **{f"message_{field.tag}": field.message for field in layout},
    }
    exec(compile(source, f"<{function} {cls.__name__}>", "exec"), names)
    return names[function]
