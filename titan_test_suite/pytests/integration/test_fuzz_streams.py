"""Streams over real sockets whose peer sends frames that somebody touched, and then hangs up.

`TITAN_TORTURE=1` makes it long. `TITAN_SEED=…` repeats a run whose seed was printed.
"""

from __future__ import annotations

import random
import socket
import threading
import tracemalloc

from titan_core.errors import ConnectionLost, ProtocolError, TitanError
from titan_core.net.stream import FrameStream, decode_any
from titan_core.protocol.messages import BODIES, Ack, GetRun
from titan_core.protocol.opcodes import Opcode
from titan_core.protocol.wire import AUTHENTICATED, KIB, Flag, encode_frame
from titan_test_suite.pytests.support.mutations import mutated_bytes
from titan_test_suite.pytests.support.seeds import TORTURE, announced_seed

ROUNDS = 100_000 if TORTURE else 2000


def test_what_a_peer_leaves_behind_is_messages_or_errors_of_ours() -> None:
    dice = random.Random(announced_seed())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(ROUNDS):
            stream, theirs = _connected(listener)
            data = _made_up(dice)
            with theirs:
                theirs.sendall(mutated_bytes(dice, data) if dice.random() < 0.7 else data)
            try:
                _read_to_the_end(stream)
            except TitanError as error:
                assert isinstance(error, ProtocolError | ConnectionLost), error
            finally:
                stream.close()


def test_a_body_of_tiny_frames_takes_little_more_memory_than_its_bytes() -> None:
    """Its limit is one of bytes: a frame of two must not be kept as an object of thirty and its place in a list."""
    frames = 100_000
    sent = encode_frame(Opcode.ASSET_DATA, b"xy", Flag.BINARY | Flag.MORE) * frames
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stream, theirs = _connected(listener)
    sender = threading.Thread(target=theirs.sendall, args=(sent + encode_frame(Opcode.ASSET_DATA, b"."),))
    sender.start()
    first = stream.receive(10)
    assert first is not None
    tracemalloc.start()
    try:
        assert len(stream.receive_body(first)) == 2 * frames + 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        sender.join()
        stream.close()
        theirs.close()
    # Beside the body and its copy: what one recv brings, which is up to 6,553 such frames.
    assert peak < 6 * 2 * frames + 6553 * 200, peak


def _connected(listener: socket.socket) -> tuple[FrameStream, socket.socket]:
    """A stream, and the bare socket of its peer."""
    theirs = socket.create_connection(listener.getsockname(), timeout=10)
    return FrameStream(listener.accept()[0], AUTHENTICATED), theirs


def test_a_wait_may_be_as_long_as_a_number_can_say() -> None:
    """Some waits are what a peer asked for."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stream, theirs = _connected(listener)
    frame = encode_frame(Opcode.GET_RUN, b"")
    for timeout_s in (1e6, 1e15, 1e308, float("inf")):
        sender = threading.Timer(0.02, theirs.sendall, (frame,))
        sender.start()
        assert stream.receive(timeout_s) is not None
        sender.join()
    stream.close()
    theirs.close()


def _made_up(dice: random.Random) -> bytes:
    """Bodies in one frame and in several, whole and not."""
    sent = []
    for _ in range(dice.randrange(1, 4)):
        opcode, body = dice.choice([*BODIES, 0x6E]), dice.choice((b"", Ack("x").encode(), GetRun("last").encode()))
        for _ in range(dice.choice((0, 0, 1, 5))):
            sent.append(encode_frame(opcode, dice.randbytes(dice.randrange(300)), Flag.BINARY | Flag.MORE))
        sent.append(encode_frame(opcode, body))
    return b"".join(sent)


def _read_to_the_end(stream: FrameStream) -> None:
    while (frame := stream.receive(5)) is not None:
        decode_any(frame, stream.receive_body(frame, limit=KIB))
