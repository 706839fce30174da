"""Getting a content from the master, on a connection of its own, so that it never delays the session."""

from __future__ import annotations

import hashlib
from typing import BinaryIO

from titan_core.errors import ChecksumMismatch, ConnectionLost
from titan_core.net.dial import dial
from titan_core.net.stream import FrameStream, decode, raise_error
from titan_core.protocol.messages import AssetInfo, FetchAsset
from titan_core.protocol.opcodes import Opcode
from titan_core.protocol.wire import Frame

ANSWER_S = 30.0
MAX_BYTES = 1 << 40


def fetch_from_master(host: str, port: int, token: str, sha256: str, file: BinaryIO) -> None:
    """Write the content to `file`, and check it.

    Raises ConnectionFailed, ConnectionLost, NotFound (the master has it no longer), ChecksumMismatch, OSError.
    """
    stream = dial(host, port, token, role="client")
    try:
        stream.send(FetchAsset(sha256=sha256))
        announced = _next(stream)
        decode(announced, stream.receive_body(announced), AssetInfo)
        digest = hashlib.sha256()
        for piece in stream.receive_pieces(_next(stream), MAX_BYTES):
            digest.update(piece)
            file.write(piece)
    finally:
        stream.close()
    if digest.hexdigest() != sha256:
        raise ChecksumMismatch(f"the master sent other bytes than those of {sha256[:12]}…")


def _next(stream: FrameStream) -> Frame:
    frame = stream.receive(ANSWER_S)
    if frame is None:
        raise ConnectionLost(f"{stream.peer} closed the connection without an answer")
    if frame.opcode == Opcode.ERROR:
        raise_error(stream.receive_body(frame))
    return frame
