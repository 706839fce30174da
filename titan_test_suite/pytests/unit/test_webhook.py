"""Webhooks: which URL can be one, and which failures pass."""

from __future__ import annotations

import pytest

from titan_core.errors import InvalidRequest
from titan_core.master.webhook import Failure, Webhook, one_line
from titan_core.protocol.checks import MAX_URL, check_webhook


@pytest.mark.parametrize(
    "url",
    [
        "http://host",
        "https://host/",
        "HTTPS://Host:8443/a/b?key=a%20b&c=d#e",
        "http://127.0.0.1:1/",
        "http://[::1]:8000/x",
        "http://host:/",
        "http://host?x",
        "http://host/" + "x" * (MAX_URL - len("http://host/")),
    ],
)
def test_what_can_be_called(url: str) -> None:
    assert check_webhook(url, "webhook") == url


@pytest.mark.parametrize(
    "url",
    [
        *["", " ", "host", "host:80", "/path", "//host/", "ftp://host/", "file:///etc/passwd", "http:", "http://"],
        *["http:///path", "http://:80/", "http://?x", "http://host:0/", "http://host:65536/", "http://host:-1/"],
        *["http://host:x/", "http://[::1/", "http://user@host/", "http://user:word@host/", "http://a\n:b@host/"],
        *["http://a b/", " http://host/", "http://host/\n", "http://host/a\r\nX: y", "http://host/\0", "http://h\t/"],
        *["http://host/\x7f", "http://host/ä", "http://hößt/", "http://host/\ud800", "http://host/🚀"],
        "http://host/" + "x" * (MAX_URL + 1 - len("http://host/")),
    ],
)
def test_what_can_not_be_called(url: str) -> None:
    with pytest.raises(InvalidRequest, match="use a URL such as http://") as refused:
        check_webhook(url, "on_failure")
    assert refused.value.message.startswith("on_failure '") and len(refused.value.message) < 400
    assert refused.value.details == {"field": "on_failure"}


def test_what_may_be_secret_is_not_named() -> None:
    assert Webhook("https://host:8443/a?key=hidden", b"").name == "webhook https://host:8443/a"


@pytest.mark.parametrize(
    ("status", "passing"), [(0, True), (500, True), (503, True), (404, False), (429, False), (302, False)]
)
def test_what_passes(status: int, passing: bool) -> None:
    assert Failure("", status).passing == passing


def test_what_somebody_says_is_one_line() -> None:
    assert one_line(" a\n\tb\x1b[2J " + "x" * 500) == "a b [2J " + "x" * 240
