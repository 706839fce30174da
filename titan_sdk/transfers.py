"""Files to the master and back: streamed in frames of at most 1 MiB, with a SHA-256 that is checked at the far end.

upload      UPLOAD_ASSET ──▶   ◀── DATA UploadReply(have)      ASSET_DATA… ──▶   ◀── DATA AssetInfo
download    FETCH_ASSET  ──▶   ◀── DATA AssetInfo   ◀── ASSET_DATA…
"""

from __future__ import annotations

import contextlib
import io
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from titan_core.errors import ConnectionLost, InvalidRequest, ProtocolError
from titan_core.net.content import Progress, ignore_progress, receive_content
from titan_core.protocol.messages import AssetInfo, FetchAsset, UploadAsset, UploadReply
from titan_core.protocol.opcodes import Opcode
from titan_core.protocol.wire import Flag, encode_frame
from titan_sdk.local_files import LocalFile
from titan_sdk.transport import Connection, Transport


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
        content = io.BytesIO()
        with _replacing(target) if target else contextlib.nullcontext(content) as file:
            receive_content(connection.stream, info, file, transport.timeout_s, progress)
        connection.at_rest = True
        return info, content.getvalue()

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
