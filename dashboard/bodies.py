"""How large a request may be before anything of it is looked at: waitress receives all of it, into a temporary file.

Only who has logged in may send more than a form, so that a stranger can not fill the disk; what a view takes is for
`access` to say afterwards. The thread `http` calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from werkzeug.http import parse_cookie

from dashboard.access import MAX_BODY
from dashboard.sessions import Sessions

MAX_UPLOAD = (4 << 30) + MAX_BODY
"""Bytes: the largest asset that a master takes, and the form around it."""
MAX_STRANGER = MAX_BODY + 1
"""Of those who have not logged in; waitress refuses what is not smaller."""


def install(server: Any, sessions: Sessions) -> None:
    """Have a server of waitress, which was made with MAX_STRANGER, receive more of those who have a session."""
    server.channel_class = _channel(lambda cookies: _known(cookies, sessions))


def _channel(is_known: Callable[[str], bool]) -> type[HTTPChannel]:
    class Parser(HTTPRequestParser):  # type: ignore[misc]
        adj: Any

        def parse_header(self, header_plus: bytes) -> None:
            super().parse_header(header_plus)
            if is_known(self.headers.get("COOKIE", "")):
                adj = copy(self.adj)
                adj.max_request_body_size = MAX_UPLOAD + 1
                self.adj = adj

        def received(self, data: bytes) -> int:
            consumed: int = super().received(data)
            if self.error:
                self.expect_continue = False  # else waitress asks for the body that it refuses
            return consumed

    class Channel(HTTPChannel):  # type: ignore[misc]
        parser_class = Parser

    return Channel


def _known(cookies: str, sessions: Sessions) -> bool:
    values = (value for name, value in parse_cookie(cookies).items(multi=True) if name.startswith("titan_session_"))
    return any(sessions.find(value) is not None for value in values)
