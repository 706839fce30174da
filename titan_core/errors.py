"""Every exception Titan raises on purpose, in one tree.

    TitanError
    ├── ProtocolError                 the bytes are not TITAN_PROTO; the connection ends
    │   ├── BadVersion
    │   ├── BadFlags
    │   ├── FrameTooLarge
    │   ├── BadBody                   the frame is whole, its body is not the message it claims to be
    │   └── UnknownOpcode
    ├── ConnectionFailed              nobody answers at that address
    ├── ConnectionLost                the peer went away, or stalled
    ├── NotAuthorised                 no token, or the wrong one
    ├── RequestRefused                the peer understood, and says no
    │   ├── InvalidRequest            a value is of the wrong type, out of range or badly named
    │   │   └── InvalidGraph          duplicate job, unknown parent, or a cycle
    │   ├── NotFound                  no such run, job, worker or asset
    │   ├── AssetMissing              a job names content the master does not hold
    │   ├── Conflict                  the thing exists already, or is in the wrong state for this
    │   ├── Unavailable               not now: stopping, full, or too many connections
    │   └── InternalError             a defect in Titan; the log of the master has the details
    ├── ArchiveRefused                an archive that would escape, explode or repeat itself
    ├── ChecksumMismatch              the bytes are not those that were announced
    ├── ConfigError                   a flag, variable or file that can not be used
    └── ProvisioningFailed            whoever makes workers outside of the cluster did not

Each class has a stable `code` (it is what an ERROR frame carries), says whether trying again can
help (`retryable`), and its docstring is its message when none is given.
"""

from __future__ import annotations


class TitanError(Exception):
    """Something went wrong in Titan."""

    code = "ERROR"
    retryable = False

    def __init__(self, message: str = "", **details: str) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())
        self.details = details
        """Machine-readable facts beside the sentence, such as `job` or `field`."""

    @property
    def message(self) -> str:
        return str(self.args[0])


class ProtocolError(TitanError):
    """The peer does not speak TITAN_PROTO."""

    code = "PROTOCOL"


class BadVersion(ProtocolError):
    """The first byte of a frame is not a protocol version this side speaks."""

    code = "BAD_VERSION"


class BadFlags(ProtocolError):
    """The frame has a flag bit, or a spare byte, this version does not define."""

    code = "BAD_FLAGS"


class FrameTooLarge(ProtocolError):
    """The frame is larger than this connection accepts."""

    code = "FRAME_TOO_LARGE"


class BadBody(ProtocolError):
    """The body of the frame is not the message its opcode stands for."""

    code = "BAD_BODY"


class UnknownOpcode(ProtocolError):
    """The opcode is not one this side serves."""

    code = "UNKNOWN_OPCODE"


class ConnectionFailed(TitanError):
    """Nobody answers at that address."""

    code = "CONNECTION_FAILED"
    retryable = True


class ConnectionLost(TitanError):
    """The peer closed the connection."""

    code = "CONNECTION_LOST"
    retryable = True


class NotAuthorised(TitanError):
    """The token is missing or wrong: pass the master's with --token-file FILE, TITAN_TOKEN or TITAN_HOME."""

    code = "NOT_AUTHORISED"


class RequestRefused(TitanError):
    """The request was refused."""

    code = "REFUSED"


class InvalidRequest(RequestRefused):
    """A value in the request can not be used."""

    code = "INVALID"


class InvalidGraph(InvalidRequest):
    """The jobs do not form a graph without cycles whose parents all exist."""

    code = "INVALID_GRAPH"


class NotFound(RequestRefused):
    """There is no such thing here."""

    code = "NOT_FOUND"


class AssetMissing(RequestRefused):
    """The master does not hold this content."""

    code = "ASSET_MISSING"


class Conflict(RequestRefused):
    """That exists already, or is in the wrong state."""

    code = "CONFLICT"


class Unavailable(RequestRefused):
    """Not possible at this moment; try again shortly."""

    code = "UNAVAILABLE"
    retryable = True


class InternalError(RequestRefused):
    """A defect in Titan; the master's log has the details."""

    code = "INTERNAL"


class ArchiveRefused(TitanError):
    """The archive can not be unpacked safely."""

    code = "ARCHIVE_REFUSED"


class ChecksumMismatch(TitanError):
    """The content does not have the SHA-256 it was announced with."""

    code = "CHECKSUM"
    retryable = True


class ConfigError(TitanError):
    """A setting can not be used."""

    code = "CONFIG"


class ProvisioningFailed(TitanError):
    """Workers could not be asked for."""

    code = "PROVISIONING"


def _tree(root: type[TitanError]) -> list[type[TitanError]]:
    return [root] + [cls for child in root.__subclasses__() for cls in _tree(child)]


BY_CODE: dict[str, type[TitanError]] = {cls.code: cls for cls in _tree(TitanError)}


def from_code(code: str, message: str, details: dict[str, str] | None = None) -> TitanError:
    """The exception an ERROR frame stands for; an unknown code (a newer peer) becomes RequestRefused."""
    return BY_CODE.get(code, RequestRefused)(message, **(details or {}))
