"""What all groups of a client's requests have in common: the connections, and who sends what jobs need."""

from __future__ import annotations

import os
from typing import TypeVar

from titan_core.protocol.codec import Message
from titan_sdk.submission import Submitter
from titan_sdk.transport import Transport

Pathname = str | os.PathLike[str]
M = TypeVar("M", bound=Message)


class Requests:
    """A part of a TitanClient."""

    def __init__(self, transport: Transport, submitter: Submitter) -> None:
        self._transport = transport
        self._submitter = submitter

    def _ask(self, message: Message, reply: type[M]) -> M:
        return self._transport.ask(message, reply)
