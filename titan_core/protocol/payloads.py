"""Payloads of text bodies: the part of a job definition that says what to run.

    RUN_PAYLOAD|file|args|base64|requirement                            run this script
    RUN_PAYLOAD|file|base64|requirement                                 the same, without args
    DEPLOY_PAYLOAD|file|base64|port|requirement                         start this file as a service
    RUN_ARCHIVE|project.zip/path/entry|args|requirement                 run an entry of an uploaded project
    START_ARCHIVE_SERVICE|project.zip/path/entry|args|port|requirement  start one as a service
    RUN|file|requirement                                                run a file of `perm_files/`
    DEPLOY|file|port|requirement                                        start one as a service
    file                                                                RUN, as people type it

A SKILL may stand before any of them (`GPU|RUN_PAYLOAD|…`, `GPU|train.py`); the requirement at the
end may then be left out. `args` may hold bars, so each form is read from both ends inwards, and are
split at spaces. Everything here is pure and raises InvalidRequest.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from typing import NamedTuple

from titan_core.errors import InvalidRequest
from titan_core.protocol.checks import check_capability, check_path, check_range, shown
from titan_core.protocol.messages import StartWorker

GENERAL = "GENERAL"
WORKER_JAR = "Worker.jar"
"""What clients of the Java system deploy to get one more worker."""
WORKER_PORT = 8085
"""Of a worker that is deployed without one."""

_LONGEST_REQUIREMENT = 50
"""Characters; a longer field in a place where a requirement or base64 may stand is base64."""
_NUMBER = re.compile(r"-?[0-9]{1,15}")


class Payload(NamedTuple):
    asset: str
    content: bytes | None = None
    """None: the file of that name in `perm_files/`."""
    entry: str = ""
    args: tuple[str, ...] = ()
    requirement: str = ""
    service: bool = False
    port: int = 0


def read_payload(fields: list[str]) -> Payload:
    """The payload in these fields, with or without a SKILL before it; its requirement is always filled in."""
    words = [field.strip() for field in fields]
    if words[0] in READERS:
        return _with_requirement(READERS[words[0]](fields[1:], ""), "")
    if len(words) > 1 and words[1] in READERS:
        return _with_requirement(READERS[words[1]](fields[2:], words[0]), words[0])
    if len(words) > 2:
        raise InvalidRequest(f"{shown(words[1])} is not a payload: use a file name, or {', '.join(READERS)}")
    return _with_requirement(Payload(_file(words[-1])), words[0] if len(words) == 2 else "")


def read_worker(fields: list[str]) -> StartWorker:
    """What follows `Worker.jar`: `[port[|requirement]]`."""
    port = _port(fields[0]) if fields else 0
    capability = _only(fields[1:]).strip()
    if capability:
        check_capability(capability)
    return StartWorker(port or WORKER_PORT, capability)


def is_number(field: str) -> bool:
    return _NUMBER.fullmatch(field.strip()) is not None


def number(field: str, what: str) -> int:
    if not is_number(field):
        raise InvalidRequest(f"{what} {shown(field.strip())} is not a whole number")
    return int(field.strip())


def decoded(encoded: str, file: str) -> bytes:
    """Base64, strictly: the standard alphabet, with its padding, and nothing else."""
    try:
        return binascii.a2b_base64(encoded.strip(), strict_mode=True)
    except ValueError:
        raise InvalidRequest(f"the content of {shown(file)} is not base64", field="content") from None


# ── the forms ─────────────────────────────────────────────────────────────────────────────────────


def _inline_run(fields: list[str], skill: str) -> Payload:
    file, *rest = _at_least(2, fields, "RUN_PAYLOAD|file|args|base64|requirement")
    requirement = rest.pop() if _ends_in_requirement(rest, skill) else ""
    *args, encoded = rest
    return Payload(_file(file), _content(encoded, file), args=_args(args), requirement=requirement)


def _inline_service(fields: list[str], skill: str) -> Payload:
    file, encoded, port, *rest = _at_least(3, fields, "DEPLOY_PAYLOAD|file|base64|port|requirement")
    return Payload(_file(file), _content(encoded, file), requirement=_only(rest), service=True, port=_port(port))


def _archive_run(fields: list[str], skill: str) -> Payload:
    form = "RUN_ARCHIVE|project.zip/path/entry|args|requirement"
    pointer, *rest = _at_least(1 if skill else 3, fields, form)
    requirement = rest.pop() if len(rest) > 1 else ""
    asset, entry = _pointer(pointer)
    return Payload(asset, entry=entry, args=_args(rest), requirement=requirement)


def _archive_service(fields: list[str], skill: str) -> Payload:
    form = "START_ARCHIVE_SERVICE|project.zip/path/entry|args|port|requirement"
    pointer, *rest = _at_least(2 if skill else 4, fields, form)
    requirement = "" if is_number(rest[-1]) else rest.pop()
    port = _port(rest.pop()) if rest else 0
    asset, entry = _pointer(pointer)
    return Payload(asset, entry=entry, args=_args(rest), requirement=requirement, service=True, port=port)


def _run(fields: list[str], skill: str) -> Payload:
    file, *rest = _at_least(1, fields, "RUN|file|requirement")
    return Payload(_file(file), requirement=_only(rest))


def _deploy(fields: list[str], skill: str) -> Payload:
    file, *rest = _at_least(1, fields, "DEPLOY|file|port|requirement")
    port = _port(rest.pop(0)) if rest else 0
    if file.strip() == WORKER_JAR:
        raise InvalidRequest(
            f"{WORKER_JAR} is no job; a worker is started by DEPLOY|{WORKER_JAR}|port, or titan deploy worker",
            field="file",
        )
    return Payload(_file(file), requirement=_only(rest), service=True, port=port)


READERS: dict[str, Callable[[list[str], str], Payload]] = {
    "RUN_PAYLOAD": _inline_run,
    "DEPLOY_PAYLOAD": _inline_service,
    "RUN_ARCHIVE": _archive_run,
    "START_ARCHIVE_SERVICE": _archive_service,
    "RUN": _run,
    "DEPLOY": _deploy,
}
"""What reads the fields after each payload word; the second argument is the SKILL before it (empty: none)."""


# ── the fields ────────────────────────────────────────────────────────────────────────────────────


def _at_least(count: int, fields: list[str], form: str) -> list[str]:
    if len(fields) < count:
        raise InvalidRequest(f"the payload has too few fields; it is written {form}")
    return fields


def _only(rest: list[str]) -> str:
    """The requirement, which is the last field or left out."""
    if len(rest) > 1:
        raise InvalidRequest(f"{shown('|'.join(rest[1:]))} follows the requirement, where the payload ends")
    return rest[0] if rest else ""


def _ends_in_requirement(rest: list[str], skill: str) -> bool:
    """Whether the last of `[args…] base64 [requirement]` is the requirement; the two can look alike."""
    last = rest[-1].strip()
    if len(rest) == 1 or not (last == "" or _is_capability(last)):
        return False
    return (
        not skill
        or len(rest) > 2
        or last in (skill, "")
        or len(rest[0]) > _LONGEST_REQUIREMENT
        or not _is_base64(last)
    )


def _is_capability(text: str) -> bool:
    try:
        check_capability(text)
    except InvalidRequest:
        return False
    return len(text) <= _LONGEST_REQUIREMENT


def _is_base64(text: str) -> bool:
    try:
        return bool(decoded(text, ""))
    except InvalidRequest:
        return False


def _file(field: str) -> str:
    return check_path(field.strip(), "file")


def _content(encoded: str, file: str) -> bytes:
    content = decoded(encoded, file.strip())
    if not content:
        raise InvalidRequest(f"the content of {shown(file.strip())} is empty", field="content")
    return content


def _args(fields: list[str]) -> tuple[str, ...]:
    return tuple("|".join(fields).split())


def _port(field: str) -> int:
    """0 when it is left empty."""
    port = number(field, "the port") if field.strip() else 0
    check_range(port, 0, 65535, "port")
    return port


def _pointer(field: str) -> tuple[str, str]:
    """`project.zip/path/entry` as the archive and the path in it."""
    archive, separator, entry = field.strip().partition(".zip/")
    if not separator:
        raise InvalidRequest(f"{shown(field.strip())} does not say what to run: write project.zip/path/entry")
    return check_path(f"{archive}.zip", "file"), check_path(entry, "entry")


def _with_requirement(payload: Payload, skill: str) -> Payload:
    """GENERAL asks for nothing, so that of a SKILL and a requirement the more special one holds."""
    asked = {text.strip() for text in (skill, payload.requirement)} - {"", GENERAL}
    if len(asked) > 1:
        raise InvalidRequest(
            f"it has the skill {shown(skill)} before, and {shown(payload.requirement)} after the payload"
        )
    return payload._replace(requirement=asked.pop() if asked else GENERAL)
