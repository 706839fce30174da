"""Both sides prove that they know the token, before anything else is decoded.

    dialler                                   listener
      AUTH_HELLO(nonce a) ───────────────────▶
                          ◀──────────────────── AUTH_CHALLENGE(nonce b)
      AUTH_PROOF(HMAC(token, "titan-dialler" a b)) ─▶   wrong: ERROR NOT_AUTHORISED, closed
                          ◀──────────────────── AUTH_WELCOME(HMAC(token, "titan-listener" a b))

The token never travels. The dialler proves itself first, so that a stranger who connects learns
nothing to test guesses against. Comparison takes the same time for every wrong answer.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from titan_core.errors import ConnectionLost, NotAuthorised, ProtocolError
from titan_core.net.stream import FrameStream, decode
from titan_core.protocol.messages import AuthChallenge, AuthHello, AuthProof, AuthWelcome
from titan_core.protocol.opcodes import Opcode
from titan_core.protocol.wire import Frame

AUTH_TIMEOUT_S = 10.0
"""A peer that has not proved itself by then is cut off."""
NONCE_BYTES = 32


def prove(stream: FrameStream, token: str, role: str) -> None:
    """The dialler's side. Raises NotAuthorised for a wrong token, or a listener that does not know ours."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    stream.send(AuthHello(nonce, role))
    frame = _next(stream)
    challenge = decode(frame, frame.payload, AuthChallenge)
    stream.send(AuthProof(_mac(token, b"titan-dialler", nonce, challenge.nonce)))
    frame = _next(stream)
    welcome = decode(frame, frame.payload, AuthWelcome)
    if not hmac.compare_digest(welcome.mac, _mac(token, b"titan-listener", nonce, challenge.nonce)):
        raise NotAuthorised(f"{stream.peer} does not know this token; it is not the master it should be")


def challenge(stream: FrameStream, token: str, first: Frame) -> str:
    """The listener's side; `first` is the frame the peer opened with. Returns the peer's role.

    Raises NotAuthorised for a peer that does not know the token or begins with something else.
    """
    if first.opcode != Opcode.AUTH_HELLO or not first.binary:
        raise NotAuthorised("this side serves authenticated native clients only; the first frame must be AUTH_HELLO")
    hello = AuthHello.decode(first.payload)
    if len(hello.nonce) != NONCE_BYTES:
        raise ProtocolError(f"the nonce of AUTH_HELLO has {len(hello.nonce)} bytes instead of {NONCE_BYTES}")
    nonce = secrets.token_bytes(NONCE_BYTES)
    stream.send(AuthChallenge(nonce))
    frame = _next(stream)
    if frame.opcode != Opcode.AUTH_PROOF:
        raise NotAuthorised("AUTH_CHALLENGE was not answered with AUTH_PROOF")
    proof = AuthProof.decode(frame.payload)
    if not hmac.compare_digest(proof.mac, _mac(token, b"titan-dialler", hello.nonce, nonce)):
        raise NotAuthorised("the token is wrong: pass the master's with --token-file FILE, TITAN_TOKEN or TITAN_HOME")
    stream.send(AuthWelcome(_mac(token, b"titan-listener", hello.nonce, nonce)))
    return hello.role


def _mac(token: str, label: bytes, dialler_nonce: bytes, listener_nonce: bytes) -> bytes:
    return hmac.digest(token.encode(), label + dialler_nonce + listener_nonce, hashlib.sha256)


def _next(stream: FrameStream) -> Frame:
    frame = stream.receive(AUTH_TIMEOUT_S)
    if frame is None:
        raise ConnectionLost(
            f"{stream.peer} closed the connection before both sides had proved themselves; is it a Titan master?"
        )
    return frame
