"""How large a request may be before anything of it is looked at: waitress receives all of it, into a temporary file.

Only who has logged in may send more than a form, and only where that is asked for, so that a stranger can not fill
the disk. What waitress refuses looks like what the application refuses. The thread `http` calls the parser.
"""

from __future__ import annotations

import json
from copy import copy
from typing import Any

from flask import Flask
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.task import ErrorTask
from waitress.utilities import Error, RequestEntityTooLarge
from werkzeug.exceptions import HTTPException
from werkzeug.http import parse_cookie

from dashboard.access import HEADERS, MAX_BODY
from dashboard.sessions import Sessions

MAX_UPLOAD = (4 << 30) + MAX_BODY
"""Bytes: the largest asset that a master takes, and the form around it."""
MAX_STRANGER = MAX_BODY + 1
"""Of those who have not logged in; waitress refuses what is not smaller."""


def install(server: Any, app: Flask, sessions: Sessions) -> None:
    """Have a server of waitress, which was made with MAX_STRANGER, receive more where `app` takes more."""
    server.adj.largest_body = lambda path, cookies: largest_body(app, path) if _known(cookies, sessions) else MAX_BODY


def largest_body(app: Flask, path: str) -> int:
    """Bytes of a request that posts to `path`."""
    try:
        endpoint, _ = app.url_map.bind("localhost").match(path, "POST")
    except HTTPException:
        return MAX_BODY
    return int(getattr(app.view_functions[endpoint], "max_body", MAX_BODY))


class Parser(HTTPRequestParser):  # type: ignore[misc]
    adj: Any

    def parse_header(self, header_plus: bytes) -> None:
        """Raises ParsingError."""
        try:
            super().parse_header(header_plus)
        except ValueError:  # an address or a length that Python can not read
            raise ParsingError("the address or the length of the request can not be read") from None
        if self.chunked and "CONTENT_LENGTH" in self.headers:  # a proxy may have taken the other one for true
            raise ParsingError("a request has either a Content-Length or a Transfer-Encoding")
        if self.content_length or self.chunked:
            adj = copy(self.adj)
            adj.max_request_body_size = 1 + adj.largest_body(self.path, self.headers.get("COOKIE", ""))
            self.adj = adj

    def received(self, data: bytes) -> int:
        consumed: int = super().received(data)
        if self.error:
            self.expect_continue = False  # else waitress asks for the body that it refuses
        return consumed


class Refused(ErrorTask):  # type: ignore[misc]
    """The answer to what can not be a request of ours."""

    def execute(self) -> None:
        error: Error = self.request.error
        sentence = str(error.body)
        if isinstance(error, RequestEntityTooLarge):
            most = self.request.adj.max_request_body_size - 1
            sentence = f"a request may have {most} bytes here; log in first to send more, where more is taken"
        code = error.reason.upper().replace(" ", "_")
        is_json = str(getattr(self.request, "path", "")).startswith("/api/")
        body = json.dumps({"error": sentence, "code": code}) if is_json else sentence
        self.status = f"{error.code} {error.reason}"
        kind = "application/json" if is_json else "text/plain; charset=utf-8"
        self.response_headers.extend([*HEADERS.items(), ("Cache-Control", "no-store"), ("Content-Type", kind)])
        self.set_close_on_finish()
        self.content_length = len(body.encode()) + 1
        self.write(f"{body}\n".encode())


def _known(cookies: str, sessions: Sessions) -> bool:
    values = (value for name, value in parse_cookie(cookies).items(multi=True) if name.startswith("titan_session_"))
    return any(sessions.find(value) is not None for value in values)
