"""Files to the master and back: streamed in frames of at most 1 MiB, with a SHA-256 that is checked at the far end.

upload      UPLOAD_ASSET ──▶   ◀── DATA UploadReply(have)      ASSET_DATA… ──▶   ◀── DATA AssetInfo
download    FETCH_ASSET  ──▶   ◀── DATA AssetInfo   ◀── ASSET_DATA…
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from titan_core.errors import BadBody, ChecksumMismatch, ConnectionLost, InvalidRequest, ProtocolError
from titan_core.net.stream import raise_error
from titan_core.protocol.messages import AssetInfo, FetchAsset, UploadAsset, UploadReply
from titan_core.protocol.opcodes import Opcode
from titan_core.protocol.wire import Flag, encode_frame
from titan_sdk.local_files import LocalFile
from titan_sdk.transport import Connection, Transport

Progress = Callable[[int, int], None]
"""Told (bytes so far, bytes in all) after each piece."""


def ignore_progress(done: int, total: int) -> None:
    """The Progress of those who do not look."""


def upload(transport: Transport, name: str, file: LocalFile, progress: Progress = ignore_progress) -> AssetInfo:
    """Publish `file` as `name` in perm_files/; with an empty name, only keep its content for jobs.

    Raises InvalidRequest, Unavailable, ChecksumMismatch (it changed meanwhile), ConnectionLost.
    """

    def conversation(connection: Connection) -> AssetInfo:
        announced = UploadAsset(name, file.sha256, file.size)
        if connection.ask(announced, UploadReply, transport.timeout_s).have:
            return AssetInfo(name, file.sha256, file.size)
        try:
            _send_pieces(connection, file, progress)
        except ConnectionLost:
            _raise_last_words(connection)
            raise
        return connection.receive(AssetInfo, transport.timeout_s)

    return transport.converse(conversation)


def download(
    transport: Transport, name: str, target: Path | None, progress: Progress = ignore_progress
) -> tuple[AssetInfo, bytes]:
    """The asset `name`: its bytes, or no bytes once they are all in `target`, which is replaced in one step.

    Raises NotFound, ChecksumMismatch, ConnectionLost; InvalidRequest when `target` can not be written.
    """

    def conversation(connection: Connection) -> tuple[AssetInfo, bytes]:
        info = connection.ask(FetchAsset(name=name), AssetInfo, transport.timeout_s)
        connection.at_rest = False  # the content follows
        if target is None:
            sink = io.BytesIO()
            _receive_pieces(connection, info, sink, transport.timeout_s, progress)
            return info, sink.getvalue()
        with _replacing(target) as file:
            _receive_pieces(connection, info, file, transport.timeout_s, progress)
        return info, b""

    return transport.converse(conversation)


def _send_pieces(connection: Connection, file: LocalFile, progress: Progress) -> None:
    sent = 0
    for piece in file.pieces():
        sent += len(piece)
        flags = Flag.BINARY | Flag.MORE if sent < file.size else Flag.BINARY
        connection.send(encode_frame(Opcode.ASSET_DATA, piece, flags))
        progress(sent, file.size)


def _raise_last_words(connection: Connection) -> None:
    """Raise the error that the master answered with before it hung up, if that arrived."""
    with contextlib.suppress(ConnectionLost, ProtocolError):
        connection.receive(AssetInfo, 0.0)


def _receive_pieces(
    connection: Connection, info: AssetInfo, sink: BinaryIO, timeout_s: float, progress: Progress
) -> None:
    first = connection.stream.receive(timeout_s)
    if first is None:
        raise ConnectionLost(f"{connection.stream.peer} closed the connection before it sent {info.name}")
    if first.opcode == Opcode.ERROR:
        raise_error(first.payload)
    if first.opcode != Opcode.ASSET_DATA:
        raise BadBody(f"opcode 0x{first.opcode:02x} where the content of {info.name} was to follow")
    digest, received = hashlib.sha256(), 0
    for piece in connection.stream.receive_pieces(first, limit=info.size):
        digest.update(piece)
        sink.write(piece)
        received += len(piece)
        progress(received, info.size)
    connection.at_rest = True
    if received != info.size or digest.hexdigest() != info.sha256:
        raise ChecksumMismatch(f"{info.name} arrived damaged: {received} of {info.size} bytes; fetch it again")


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    """A file that becomes `target` when all went well, and otherwise was never there."""
    part = target.with_name(f".titan-{secrets.token_hex(8)}.part")
    try:
        with open(part, "xb") as file:
            yield file
        part.replace(target)
    except OSError as error:
        raise InvalidRequest(f"{target} can not be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
