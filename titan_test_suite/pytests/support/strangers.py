"""Peers that do to a listening port what no client of ours would, as a dice decides."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
from collections.abc import Callable
from dataclasses import replace

from titan_core.errors import TitanError
from titan_core.net.dial import dial
from titan_core.net.stream import FrameStream, encode
from titan_core.protocol.messages import (
    BODIES,
    AuthHello,
    GetRun,
    JobSpec,
    Register,
    Result,
    SubmitRun,
    Task,
    UploadAsset,
)
from titan_core.protocol.opcodes import Opcode
from titan_core.protocol.wire import HEADER, KIB, MIB, Flag, encode_body, encode_frame
from titan_test_suite.pytests.support.messages import MESSAGES, rolled
from titan_test_suite.pytests.support.mutations import mutated_body, mutated_bytes

ANSWER_S = 0.05
"""How long a stranger waits for an answer, if at all."""
SHA256 = "0" * 64
_REQUESTS = [message for opcode, message in BODIES.items() if opcode not in (Opcode.BACKUP, Opcode.CHECK)]
"""Without those that take long on purpose."""


class Strangers:
    """They know the token; that is the worst kind."""

    def __init__(self, dice: random.Random, port: int, token: str) -> None:
        self._dice, self._port, self._token = dice, port, token
        self._unproved: tuple[Callable[[], bytes], ...] = (
            lambda: self._dice.randbytes(self._dice.randrange(200)),
            lambda: encode(AuthHello(bytes(32), "client"))[: self._dice.randrange(60)],
            lambda: mutated_bytes(self._dice, encode(AuthHello(self._dice.randbytes(32), "worker"))),
            lambda: HEADER.pack(
                1, self._dice.randrange(256), self._dice.randrange(4), 0, self._dice.randrange(2**32)
            ),
            lambda: encode(AuthHello(bytes(32), "client")) * 3,
            lambda: encode(rolled(self._dice, self._dice.choice(MESSAGES))),
            lambda: encode_frame(self._dice.choice([*BODIES]), b"a|RUN|x.sh|1|0|[]", Flag(0)),
        )
        self._proved: tuple[Callable[[], bytes], ...] = (
            self._garbage,
            self._touched_requests,
            self._made_up_requests,
            self._made_up_requests,
            self._half_a_body,
            self._half_an_upload,
            self._half_a_submission,
            self._a_registration,
            self._questions,
            self._touched_stream,
        )

    def misbehave(self) -> None:
        """One connection from its beginning to a bad end."""
        with contextlib.suppress(OSError, TitanError):
            if self._dice.random() < 0.3:
                self._knock(self._dice.choice(self._unproved)())
            else:
                self._abuse(self._dice.choice(self._proved)())

    def _knock(self, data: bytes) -> None:
        with socket.create_connection(("127.0.0.1", self._port), timeout=ANSWER_S) as sock:
            sock.sendall(data)
            if self._dice.random() < 0.5:
                sock.recv(4096)
            self._leave(sock)

    def _abuse(self, data: bytes) -> None:
        stream = dial("127.0.0.1", self._port, self._token, self._dice.choice(("client", "worker")))
        try:
            stream.send_bytes(data)
            if self._dice.random() < 0.5:
                self._listen(stream)
            self._leave(stream._sock)
        finally:
            stream.close()

    def _listen(self, stream: FrameStream) -> None:
        for _ in range(self._dice.randrange(4)):
            if stream.receive(ANSWER_S) is None:
                return

    def _leave(self, sock: socket.socket) -> None:
        """With a reset, with a half-closed connection, or just so."""
        how = self._dice.randrange(3)
        if how == 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif how == 1:
            sock.shutdown(socket.SHUT_WR)

    # ── what they say once they are in ────────────────────────────────────────────────────────────

    def _garbage(self) -> bytes:
        return self._dice.randbytes(self._dice.choice((1, 8, 100, 100 * KIB)))

    def _made_up_requests(self) -> bytes:
        """Well-formed messages of all kinds: orders, results, replies and requests, where nobody expects them."""
        return b"".join(encode(rolled(self._dice, self._dice.choice(_REQUESTS))) for _ in range(3))

    def _touched_requests(self) -> bytes:
        sent = []
        for _ in range(5):
            opcode, message = self._dice.choice([*BODIES.items()])
            sent.append(encode_frame(opcode, mutated_body(self._dice, rolled(self._dice, message).encode())))
        return b"".join(sent)

    def _touched_stream(self) -> bytes:
        return mutated_bytes(self._dice, self._made_up_requests())

    def _half_a_body(self) -> bytes:
        """It goes on in a frame that does not come, or that belongs to something else."""
        more = encode_frame(
            self._dice.choice([*BODIES]), b"x" * self._dice.choice((0, 1, MIB)), Flag.BINARY | Flag.MORE
        )
        return more * self._dice.randrange(1, 3) + self._dice.choice((b"", encode(GetRun("last"))))

    def _half_an_upload(self) -> bytes:
        announced = encode(
            UploadAsset(self._dice.choice(("", "x.sh", "../x")), SHA256, self._dice.choice((10, MIB, -1)))
        )
        content = encode_body(Opcode.ASSET_DATA, bytes(self._dice.choice((0, 10, 2 * MIB))))
        return announced + content[: self._dice.randrange(len(content))]

    def _half_a_submission(self) -> bytes:
        jobs = tuple(JobSpec(f"j{n}", Task("x.sh"), ("j0",) if n else ()) for n in range(200))
        whole = encode(SubmitRun("hostile", jobs, self._dice.randbytes(16)))
        return whole[: self._dice.randrange(len(whole))]

    def _a_registration(self) -> bytes:
        """A worker that is none, and says what no worker says."""
        instance, tokens = self._dice.randbytes(16), tuple(self._dice.randbytes(16) for _ in range(3))
        finished = tuple(Result(token, self._dice.choice(("SUCCEEDED", "LOST", "?"))) for token in tokens)
        port, offers = self._dice.choice((1, 8081, 70000)), self._dice.choice((("NONE",), (), ("N",) * 100))
        register = Register(port, "stranger", offers, self._dice.choice((-1, 0, 1, 2**40)), instance)
        whole = encode(replace(register, running=tokens, finished=finished))
        return (
            whole + self._made_up_requests()
            if self._dice.random() < 0.7
            else whole[: self._dice.randrange(len(whole))]
        )

    def _questions(self) -> bytes:
        """More than anybody reads the answers of."""
        return encode(GetRun("last", wait_s=0.2)) * 3 + encode(GetRun("nothing")) * 300
