"""Files to the master and back: streamed in frames of at most 1 MiB, with a SHA-256 that is checked at the far end.

upload      UPLOAD_ASSET ──▶   ◀── DATA UploadReply(have)      ASSET_DATA… ──▶   ◀── DATA AssetInfo
download    FETCH_ASSET  ──▶   ◀── DATA AssetInfo   ◀── ASSET_DATA…
backup      BACKUP  ──▶        ◀── DATA BackupInfo  ◀── ASSET_DATA…   (how many bytes is not known before)
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from titan_core.errors import BadBody, ConnectionLost, InvalidRequest, ProtocolError
from titan_core.net.content import Progress, ignore_progress, receive_content
from titan_core.net.stream import STALL_S, FrameStream, raise_error
from titan_core.protocol.messages import AssetInfo, Backup, BackupInfo, FetchAsset, UploadAsset, UploadReply
from titan_core.protocol.opcodes import Opcode
from titan_core.protocol.wire import Flag, encode_frame
from titan_sdk.local_files import LocalFile
from titan_sdk.transport import Connection, Transport

SNAPSHOT_S = 600.0
"""What the master may take to copy its database, before the backup begins."""


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


def receive_backup(transport: Transport, file: BinaryIO, progress: Progress = ignore_progress) -> int:
    """Write a backup of the master's home to `file`; its size in bytes. Raises Unavailable, ConnectionLost."""

    def conversation(connection: Connection) -> int:
        info = connection.ask(Backup(), BackupInfo, transport.timeout_s + SNAPSHOT_S)
        connection.at_rest = False  # the archive follows
        received = _receive_archive(connection.stream, info, file, progress)
        connection.at_rest = True
        return received

    return transport.converse(conversation, repeatable=False)


def _receive_archive(stream: FrameStream, info: BackupInfo, file: BinaryIO, progress: Progress) -> int:
    received = 0
    while True:
        frame = stream.receive(STALL_S)
        if frame is None:
            raise ConnectionLost(f"{stream.peer} closed the connection in the middle of the backup")
        if frame.opcode == Opcode.ERROR:
            raise_error(stream.receive_body(frame))
        if frame.opcode != Opcode.ASSET_DATA:
            raise BadBody(f"opcode 0x{frame.opcode:02x} in the middle of a backup")
        file.write(frame.payload)
        received += len(frame.payload)
        if not frame.more:
            return received
        progress(received, max(received, info.size))


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
def appearing(target: Path) -> Iterator[BinaryIO]:
    """`<target>.part`, for its owner only, which becomes `target` once all of it is on disk; else it is gone."""
    if target.is_dir():
        raise InvalidRequest(f"{target} is a directory; name a file in it")
    part = target.with_name(f"{target.name}.part")
    with _written(target, part):
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            yield file
            file.flush()
            os.fsync(descriptor)
        part.replace(target)


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    """A file that becomes `target` when all went well, and otherwise was never there."""
    part = target.with_name(f".titan-{secrets.token_hex(8)}.part")
    with _written(target, part):
        with open(part, "xb") as file:
            yield file
        part.replace(target)


@contextlib.contextmanager
def _written(target: Path, part: Path) -> Iterator[None]:
    """What can not be written is a refusal; and `part` is gone in the end."""
    try:
        yield
    except OSError as error:
        raise InvalidRequest(f"{target} can not be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
