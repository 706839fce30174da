"""The content of an asset as it comes over a connection: ASSET_DATA frames, announced by an AssetInfo."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import BinaryIO

from titan_core.errors import BadBody, ChecksumMismatch, ConnectionLost
from titan_core.net.stream import FrameStream, raise_error
from titan_core.protocol.messages import AssetInfo
from titan_core.protocol.opcodes import Opcode

Progress = Callable[[int, int], None]
"""Told (bytes so far, bytes in all) after each piece."""


def ignore_progress(done: int, total: int) -> None:
    """The Progress of those who do not look."""


def receive_content(
    stream: FrameStream, info: AssetInfo, file: BinaryIO, timeout_s: float, progress: Progress = ignore_progress
) -> None:
    """Write the content that `info` announces to `file`, and check it; it must begin within `timeout_s`.

    Raises ConnectionLost, ChecksumMismatch, ProtocolError, the error that comes instead, and OSError of the file.
    """
    name = info.name or f"content {info.sha256[:12]}…"
    first = stream.receive(timeout_s)
    if first is None:
        raise ConnectionLost(f"{stream.peer} closed the connection before it sent {name}")
    if first.opcode == Opcode.ERROR:
        raise_error(stream.receive_body(first))
    if first.opcode != Opcode.ASSET_DATA:
        raise BadBody(f"opcode 0x{first.opcode:02x} where {name} was to follow")
    digest, received = hashlib.sha256(), 0
    for piece in stream.receive_pieces(first, limit=info.size):
        digest.update(piece)
        file.write(piece)
        received += len(piece)
        progress(received, info.size)
    if received != info.size or digest.hexdigest() != info.sha256:
        raise ChecksumMismatch(f"{name} arrived damaged: other bytes, {received} of {info.size}; fetch it again")
