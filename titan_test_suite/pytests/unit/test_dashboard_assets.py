"""The dashboard's assets without sockets: who may upload, what is shown when things go wrong; and its command."""

from __future__ import annotations

import signal
from argparse import Namespace

import pytest

from dashboard import __main__ as program
from titan_core.protocol.messages import AssetInfo
from titan_sdk.cli.commands_dashboard import dashboard as command
from titan_sdk.cli.parsing import parser
from titan_sdk.errors import ConnectionFailed
from titan_test_suite.pytests.support.dashboards import EVIL, FakeClient, FakeDashboard

FILE = AssetInfo(f"{EVIL}.py", "ab" * 32, 12, 1.0)


def test_nasty_names_are_text_and_links_lead_to_them() -> None:
    page = FakeDashboard(FakeClient(assets=(FILE,))).browser.text(f"/assets?q={EVIL[:4]}")
    assert "<img" not in page and 'href="/assets/file/%3Cimg%20src%3Dx' in page and ">abababababab<" in page


def test_only_who_may_act_is_offered_an_upload() -> None:
    offered = 'href="/assets/upload"'
    client = FakeClient(assets=())
    assert offered not in FakeDashboard(client).browser.text("/assets")
    assert offered not in FakeDashboard(client, read_only=True).logged_in().text("/assets")
    browser = FakeDashboard(client).logged_in()
    assert offered in browser.text("/assets")
    assert 'enctype="multipart/form-data"' in browser.text("/assets/upload")
    assert FakeDashboard(client, read_only=True).logged_in().post("/assets/upload").status_code == 403


def test_a_master_that_is_away() -> None:
    dashboard = FakeDashboard(FakeClient(assets=ConnectionFailed("nobody answers at box:9090")))
    answer = dashboard.browser.get("/assets")
    assert answer.status_code == 503 and "nobody answers at box:9090" in answer.get_data(as_text=True)


# ── titan dashboard ───────────────────────────────────────────────────────────────────────────────


class _Context:
    def __init__(self, line: str) -> None:
        self.options: Namespace = parser().parse_args(line.split())


def test_the_command_says_the_same_as_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[list[str]] = []
    monkeypatch.setattr(program, "main", lambda words: said.append(words) or 3)
    before = signal.getsignal(signal.SIGINT)
    line = (
        "dashboard --port 0 --host ::1 --read-only --allow-host a --allow-host b --home h --master box:1 --udp-port 9"
    )
    assert command(_Context(line)) == 3  # type: ignore[arg-type]
    config = program.load(program.parser().parse_args(said[0]))
    assert (config.port, config.host, config.read_only, config.allow_hosts) == (0, "::1", True, ("a", "b"))
    assert (config.master, config.udp_port, config.home and config.home.name) == ("box:1", 9, "h")
    assert command(_Context("dashboard")) == 3 and said[1] == []  # type: ignore[arg-type]
    assert signal.getsignal(signal.SIGINT) is before
