"""Logging in with the token of the cluster, and out again. The token is compared, and never stored."""

from __future__ import annotations

import hmac
import secrets
import threading

from flask import Response, redirect, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import Forbidden, TooManyRequests

from dashboard import links
from dashboard.access import cookie_name, session
from dashboard.page import Page, render
from dashboard.parts import parts
from dashboard.sessions import IDLE_S

page = Page("login")

FAILED_S = 0.5
"""Each wrong token costs whoever tries it so much time."""
_AT_ONCE = 2
"""So many wait at the same time, each in a thread: others that are wrong are refused at once."""
_wrong = threading.Semaphore(_AT_ONCE)
_secret = secrets.token_bytes(32)


@page.get("/login")
def form() -> ResponseReturnValue:
    return _form(request.args.get("next", "/"))


@page.post("/login")
def enter() -> ResponseReturnValue:
    """Nobody has a session yet: the form is known by a cookie that only our own page has set."""
    nonce, given = request.cookies.get(_nonce_cookie(), ""), request.form.get("csrf", "")
    if not nonce or not hmac.compare_digest(given.encode(), _proof(nonce).encode()):
        raise Forbidden("the form is out of date, or its cookie is missing; load the page again and repeat it")
    target = links.local(request.form.get("next", "/"))
    if not _knows_token(request.form.get("token", "").strip()):
        return _form(target, "That is not the token of this cluster."), 403
    return _opened(target)


@page.post("/logout")
def leave() -> ResponseReturnValue:
    known = session()
    if known is not None:
        parts().sessions.close(known.session_id)
    response = redirect(url_for("home.home"), 303)
    response.delete_cookie(cookie_name(), httponly=True, samesite="Strict")
    return response


def _form(target: str, problem: str = "") -> Response:
    nonce = request.cookies.get(_nonce_cookie()) or secrets.token_urlsafe(24)
    response = Response(render("login.html", proof=_proof(nonce), next=links.local(target), problem=problem))
    response.set_cookie(_nonce_cookie(), nonce, httponly=True, samesite="Strict", secure=_over_https())
    return response


def _opened(target: str) -> ResponseReturnValue:
    response = redirect(target, 303)
    response.set_cookie(
        cookie_name(),
        parts().sessions.open().session_id,
        max_age=int(IDLE_S),
        httponly=True,
        samesite="Strict",
        secure=_over_https(),
    )
    return response


def _knows_token(given: str) -> bool:
    """Who knows it is not kept waiting by those who guess. Raises NotAuthorised or ConfigError where the dashboard
    itself finds none."""
    if hmac.compare_digest(given.encode(), parts().config.access().find_token().encode()):
        return True
    if not _wrong.acquire(blocking=False):
        raise TooManyRequests("that is not the token of this cluster, and others guess as well; wait a second")
    try:
        parts().cluster.stopping.wait(FAILED_S)
        return False
    finally:
        _wrong.release()


def _proof(nonce: str) -> str:
    return hmac.new(_secret, nonce.encode(), "sha256").hexdigest()


def _nonce_cookie() -> str:
    return cookie_name().replace("session", "login")


def _over_https() -> bool:
    """Also behind a proxy: the browser says itself by which scheme it has come."""
    return request.is_secure or request.headers.get("Origin", "").startswith("https://")
