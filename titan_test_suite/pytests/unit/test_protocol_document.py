"""docs/protocol.md says what the code does: every opcode, field, type, default, answer, limit and error code."""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from pathlib import Path
from typing import Any

import pytest

from titan_core.errors import BY_CODE, InvalidRequest
from titan_core.net.auth import AUTH_TIMEOUT_S, NONCE_BYTES
from titan_core.net.stream import STALL_S
from titan_core.protocol.codec import Message
from titan_core.protocol.messages import BODIES, REPLIES, ClusterStatus, StateCount, WorkerHistory, WorkerStatus
from titan_core.protocol.monitor import stats_json, stats_text
from titan_core.protocol.opcodes import Opcode
from titan_core.protocol.payloads import READERS
from titan_core.protocol.text import parse_dag
from titan_core.protocol.wire import KIB, MAX_BODY, MAX_NATIVE, MAX_TEXT, MAX_UNAUTHENTICATED, MIB, Flag
from titan_test_suite.pytests.support.messages import MESSAGES

DOCUMENT = Path(__file__).parents[3] / "docs" / "protocol.md"
_ZERO = (0, 0.0, "", b"", False, ())


def rows(first_cell: str) -> list[list[str]]:
    """The rows, as lists of cells, of all tables whose first cell looks so."""
    lines = (line for line in DOCUMENT.read_text().splitlines() if line.startswith("|"))
    cells = ([cell.strip() for cell in line.strip("|").split(" | ")] for line in lines)
    return [row for row in cells if re.fullmatch(first_cell, row[0].strip())]


def fields_cell(message: type[Message]) -> str:
    """The fields of a message as a table shows them."""
    hints = typing.get_type_hints(message)
    fields = dataclasses.fields(message)  # type: ignore[arg-type]
    return " · ".join(_field(field, hints[field.name]) for field in fields) or "no fields"


def body_cell(opcode: Opcode) -> str:
    return f"`{BODIES[opcode].__name__}`: {fields_cell(BODIES[opcode])}"


def reply_cell(opcode: Opcode) -> str:
    if opcode not in REPLIES:
        return "—"
    reply = REPLIES[opcode]
    return f"DATA `{reply.__name__}`" if reply else "ACK"


def _field(field: dataclasses.Field[Any], hint: Any) -> str:
    kind = _kind(hint)
    required = field.default is dataclasses.MISSING and not kind.startswith("[")
    name = f"**`{field.name}`**" if required else f"`{field.name}`"
    given = field.default is dataclasses.MISSING or field.default in _ZERO or isinstance(field.default, Message)
    default = "" if given else f" = {_shown(field.default)}"
    return f"{field.metadata['tag']} {name} {kind}{default}"


def _kind(hint: Any) -> str:
    arguments = typing.get_args(hint)
    if not arguments:
        return str(hint.__name__)
    if arguments[-1] is Ellipsis:
        return f"[{_kind(arguments[0])}]"
    return f"({', '.join(map(_kind, arguments))})"


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


OPCODE_ROWS = {row[1].strip("`"): row for row in rows("`0x[0-9A-F]{2}`") if len(row) == 6}
MESSAGE_ROWS = {row[0].strip("`"): row for row in rows("`[A-Z][a-z]\\w+`")}


class TestOpcodes:
    @pytest.mark.parametrize("opcode", Opcode, ids=lambda opcode: opcode.name)
    def test_each_has_its_row(self, opcode):
        number, name, direction, body, reply, errors = OPCODE_ROWS[opcode.name]
        assert (number, name) == (f"`0x{opcode:02X}`", f"`{opcode.name}`")
        assert direction
        assert errors
        if opcode in BODIES:
            assert body == body_cell(opcode)
        assert reply == reply_cell(opcode)

    def test_there_is_no_other_row(self):
        assert set(OPCODE_ROWS) == set(Opcode.__members__)
        assert len([row for row in rows("`0x[0-9A-F]{2}`") if len(row) == 6]) == len(Opcode)

    def test_refusals_are_codes_that_exist(self):
        for row in OPCODE_ROWS.values():
            assert set(re.findall(r"`([A-Z_]+)`", row[5])) <= set(BY_CODE)

    def test_text_requests_are_opcodes(self):
        found = {row[1].strip("`"): row for row in rows("`[0-9A-F]{2}`")}
        assert all(row[0] == f"`{Opcode[name]:02X}`" for name, row in found.items())
        assert set(Opcode.__members__) - {opcode.name for opcode in BODIES} - {"DATA", "ASSET_DATA"} <= set(found)


class TestMessages:
    @pytest.mark.parametrize("message", [m for m in MESSAGES if m not in BODIES.values()], ids=lambda m: m.__name__)
    def test_each_has_its_row(self, message):
        assert MESSAGE_ROWS[message.__name__] == [f"`{message.__name__}`", fields_cell(message)]

    def test_there_is_no_other_row(self):
        assert set(MESSAGE_ROWS) == {message.__name__ for message in MESSAGES if message not in BODIES.values()}


def test_error_codes():
    found = {row[0].strip("`"): row[1] for row in rows("`[A-Z_]+`") if row[1] in ("yes", "no")}
    assert found == {code: "yes" if cls.retryable else "no" for code, cls in BY_CODE.items()}


def test_payload_words():
    assert {row[0].strip("`").split("\\|")[0] for row in rows(r"`[A-Z_]+\\\|.*`")} == set(READERS)


@pytest.mark.parametrize(
    "sentence",
    [
        f"| unauthenticated | {MAX_UNAUTHENTICATED // KIB} KiB | {MAX_UNAUTHENTICATED // KIB} KiB |",
        f"| authenticated | {MAX_NATIVE // MIB} MiB | {MAX_UNAUTHENTICATED // KIB} KiB |",
        f"| text client | {MAX_UNAUTHENTICATED // KIB} KiB | {MAX_TEXT // MIB} MiB |",
        f"A body is at most {MAX_BODY // MIB} MiB",
        f"| {Flag.BINARY:d} | `BINARY` |",
        f"| {Flag.MORE:d} | `MORE` |",
        f"proved itself within {AUTH_TIMEOUT_S:g} s",
        f"pauses for {STALL_S:g} s",
        f"{NONCE_BYTES} random bytes",
    ],
)
def test_figures(sentence):
    assert sentence in DOCUMENT.read_text()


def test_the_refusal_it_shows_is_the_one_that_is_sent():
    definition = "load|GENERAL|load.py|soon|0|[extract]"
    with pytest.raises(InvalidRequest) as caught:
        parse_dag(f"extract|GENERAL|extract.py|1|0|[]; {definition}")
    assert f"ERROR: {caught.value}\n" in DOCUMENT.read_text()


def test_the_monitor_it_shows_is_the_one_that_is_sent():
    worker = WorkerStatus(
        "localhost:8080",
        "ONLINE",
        ("GENERAL",),
        slots=4,
        used=2,
        services=("demo-20260101T000000-1a2b/server",),
        jobs=("demo/extract",),
        history=(WorkerHistory("demo/extract", "RUNNING", 0.25), WorkerHistory("demo/fetch", "SUCCEEDED", 0.812)),
    )
    cluster = ClusterStatus((worker,), (StateCount("DELAYED", 1), StateCount("BLOCKED", 2)))
    assert stats_text(cluster) in DOCUMENT.read_text()
    shown = DOCUMENT.read_text().partition("```json\n")[2].partition("```")[0]
    assert json.loads(shown) == json.loads(stats_json(cluster))


def test_it_stands_by_itself():
    assert "shared" not in re.sub(r"TITAN_SHARED|titan_workspace/shared", "", DOCUMENT.read_text())
