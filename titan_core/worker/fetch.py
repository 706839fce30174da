"""Getting a content from the master, on a connection of its own, so that it never delays the session."""

from __future__ import annotations

from dataclasses import replace
from typing import BinaryIO

from titan_core.net.content import receive_content
from titan_core.net.dial import dial
from titan_core.protocol.messages import AssetInfo, FetchAsset

ANSWER_S = 30.0


def fetch_from_master(host: str, port: int, token: str, sha256: str, file: BinaryIO) -> None:
    """Write the content to `file`, and check it.

    Raises ConnectionFailed, ConnectionLost, NotFound (the master has it no longer), ChecksumMismatch, OSError.
    """
    stream = dial(host, port, token, role="client")
    try:
        stream.send(FetchAsset(sha256=sha256))
        info = stream.receive_message(AssetInfo, ANSWER_S)
        receive_content(stream, replace(info, sha256=sha256), file, ANSWER_S)
    finally:
        stream.close()
