"""Datagrams: what an attempt prints, sent to whoever collects it, while it goes to the master for good.

     0    2    3      4        8           16     24       26       28
     | TL | 01 | spare| attempt| offset    | wall | run id | job id | run id … job id … data … | mac, 16 bytes
     |    |    |      | u32    | u64       | f64  | length | length |

All big-endian; the lengths are u16. `offset` is where the data begins in the attempt's log: it puts datagrams in
order, says what is missing between two, and where that is found in the master's log. `wall` is when they were sent,
in unix seconds. The mac is the first half of the HMAC-SHA256, with the key that the collector has given the master,
of all before it.

A datagram may be lost, come twice, or late. Pure; any thread.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterator
from typing import NamedTuple

from titan_core.errors import BadBody

MAX_DATAGRAM = 1_400
"""Bytes; less than what a usual network carries in one piece."""
KEY_BYTES = 32
_MAGIC = b"TL\x01\x00"
_HEADER = struct.Struct(">4sIQdHH")
_MAC_BYTES = 16
_LEAST_DATA = 64
"""Bytes of data that a datagram has room for, however long the names are."""


class Printed(NamedTuple):
    """What came in one datagram."""

    run_id: str
    job_id: str
    attempt: int
    offset: int
    wall: float
    data: bytes


def datagrams(key: bytes, printed: Printed) -> Iterator[bytes]:
    """As many as it takes, each of whole lines where that is possible."""
    run_id, job_id = printed.run_id.encode(), printed.job_id.encode()
    room = max(_LEAST_DATA, MAX_DATAGRAM - _HEADER.size - len(run_id) - len(job_id) - _MAC_BYTES)
    names = run_id + job_id
    start, data = 0, printed.data
    while start < len(data):
        stop = _end_of_piece(data, start, room)
        header = _HEADER.pack(_MAGIC, printed.attempt, printed.offset + start, printed.wall, len(run_id), len(job_id))
        body = header + names + data[start:stop]
        yield body + _mac(key, body)
        start = stop


def read_datagram(key: bytes, datagram: bytes) -> Printed:
    """Raises BadBody for what is none, or was sent by somebody who does not know the key."""
    body, mac = datagram[:-_MAC_BYTES], datagram[-_MAC_BYTES:]
    if len(body) < _HEADER.size or not hmac.compare_digest(mac, _mac(key, body)):
        raise BadBody("not a datagram of a worker of this cluster")
    magic, attempt, offset, wall, run_length, job_length = _HEADER.unpack_from(body)
    names_end = _HEADER.size + run_length + job_length
    if magic != _MAGIC or names_end > len(body):
        raise BadBody("not a datagram of this version")
    try:
        run_id = body[_HEADER.size : _HEADER.size + run_length].decode()
        job_id = body[_HEADER.size + run_length : names_end].decode()
    except UnicodeDecodeError:
        raise BadBody("its names are no text") from None
    return Printed(run_id, job_id, attempt, offset, wall, body[names_end:])


def _end_of_piece(data: bytes, start: int, room: int) -> int:
    if len(data) - start <= room:
        return len(data)
    line_end = data.rfind(b"\n", start, start + room)
    return line_end + 1 if line_end >= 0 else start + room


def _mac(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, body, hashlib.sha256)[:_MAC_BYTES]
