"""Errors as answers: a status, a code and one sentence, as a page for people and as JSON for programs.

Knows which error of the SDK is whose fault. Any thread.
"""

from __future__ import annotations

import logging

from flask import Flask, Response, current_app, jsonify, render_template, request
from werkzeug.exceptions import HTTPException

from titan_sdk.cli.text import clean
from titan_sdk.errors import (
    Conflict,
    ConnectionFailed,
    ConnectionLost,
    InvalidRequest,
    NotAuthorised,
    NotFound,
    TitanError,
    Unavailable,
)

log = logging.getLogger("titan.dashboard")

_STATUSES: tuple[tuple[type[TitanError], int], ...] = (
    (NotFound, 404),
    (InvalidRequest, 400),
    (Conflict, 409),
    (Unavailable, 503),
    (ConnectionFailed, 503),
    (ConnectionLost, 503),
    (NotAuthorised, 503),
)
_TITLES = {
    400: "That can not be used",
    401: "Log in first",
    403: "Refused",
    404: "There is no such thing here",
    405: "That can not be done here",
    409: "Not in this state",
    413: "That is too large",
    429: "Too many at once",
    500: "A defect in the dashboard",
    502: "The master did not answer as it should",
    503: "Not at this moment",
}


def install(app: Flask) -> None:
    app.register_error_handler(TitanError, _of_titan)
    app.register_error_handler(HTTPException, _of_http)
    app.register_error_handler(Exception, _of_ours)


def wants_json() -> bool:
    """Whether a program asks, rather than a person."""
    if request.path.startswith("/api/"):
        return True
    accepted = request.accept_mimetypes
    return accepted["application/json"] > accepted["text/html"]


def refusal(status: int, sentence: str, code: str) -> Response:
    """The answer that says no."""
    if wants_json():
        response = jsonify(error=sentence, code=code)
    else:
        title = _TITLES.get(status, "That did not work")
        response = Response(render_template("error.html", title=title, sentence=sentence, status=status))
    response.status_code = status
    return response


def status_of(error: TitanError) -> int:
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 502)


def _of_titan(error: TitanError) -> Response:
    return refusal(status_of(error), str(error), error.code)


def _of_http(error: HTTPException) -> Response:
    if error.code is None or error.code < 400:
        return current_app.make_response(error.get_response())
    response = refusal(error.code, _sentence(error), error.name.upper().replace(" ", "_"))
    for name, value in error.get_headers():
        if name == "Allow":
            response.headers[name] = value
    return response


def _of_ours(error: Exception) -> Response:
    log.exception("%s %s failed", clean(request.method), clean(request.path), extra={"action": "request.failed"})
    return refusal(500, "a defect in the dashboard; its log has the details", "DEFECT")


def _sentence(error: HTTPException) -> str:
    if error.code == 404 and error.description == type(error).description:
        return "there is no page at this address"
    return error.description or error.name
