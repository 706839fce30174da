"""Asking a master that may be away for a moment: it restarts, or the network is broken.

What is asked here may be asked any number of times, or carries an id by which the master knows it
again. The pauses between two tries grow; Ctrl-C and closing the client end them at once. Any thread.
"""

from __future__ import annotations

import time
from typing import TypeVar

from titan_core.errors import ConnectionFailed, ConnectionLost, TitanError, Unavailable
from titan_core.protocol.codec import Message
from titan_sdk.transport import Connection, Transport

PATIENCE_S = 60.0
"""How long a master that answered before may be away."""
RESEND_S = 10.0
"""How long a submission is sent again whose answer was lost."""
AWAY = (ConnectionFailed, ConnectionLost, Unavailable)
"""What a master that is away for a moment looks like."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0

M = TypeVar("M", bound=Message)


class Deadline:
    """The caller's own time-out; None = never."""

    def __init__(self, timeout_s: float | None) -> None:
        self._at = None if timeout_s is None else time.monotonic() + timeout_s

    def left_s(self, most: float) -> float:
        """Seconds left, from 0 to `most`."""
        return most if self._at is None else min(most, max(0.0, self._at - time.monotonic()))

    @property
    def passed(self) -> bool:
        return self._at is not None and time.monotonic() >= self._at


def ask_patiently(
    transport: Transport,
    message: Message,
    reply: type[M],
    wait_s: float = 0.0,
    deadline: Deadline | None = None,
    patience_s: float = PATIENCE_S,
) -> M:
    """Like `transport.ask`, but a master that is away is tried again for `patience_s` (or until `deadline`).

    The transport's `on_away` is told once. Raises in the end what the last try raised.
    """
    give_up: Deadline | None = None
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            return transport.ask(message, reply, wait_s=wait_s)
        except AWAY as error:
            if give_up is None:
                give_up = Deadline(patience_s)
                transport.on_away(_away(error, patience_s))
            if give_up.passed or (deadline is not None and deadline.passed):
                raise
        transport.pause(pause_s if deadline is None else deadline.left_s(pause_s))
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def submit_surely(transport: Transport, request: Message, reply: type[M], wait_s: float) -> M:
    """Send a request that carries an id; when its answer is lost, send it again for RESEND_S.

    Raises ConnectionFailed when it was never sent, ConnectionLost when its fate could not be found out.
    """
    sent = False

    def conversation(connection: Connection) -> M:
        nonlocal sent
        sent = True
        return connection.ask(request, reply, transport.timeout_s + wait_s)

    try:
        return transport.converse(conversation)
    except (ConnectionFailed, ConnectionLost):
        if not sent:
            raise
    try:
        return ask_patiently(transport, request, reply, wait_s, patience_s=RESEND_S)
    except AWAY as error:
        raise ConnectionLost(f"{error}; whether the submission was accepted is not known") from None


def _away(error: TitanError, patience_s: float) -> str:
    return f"the master is away ({error}); trying again for {patience_s:g} s"
