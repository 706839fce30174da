"""Whether a request is served: its host, its origin, who asks, and whether they meant it; and the headers of answers.

Every request passes `_guard` before anything else sees it:

    a foreign Host                          421: a name that was pointed at us, to read us from another page
    a page of another site, which embeds us 403: it could learn from how we answer, or keep us busy
    not a GET, from a foreign Origin        403: another page sends it
    nobody has logged in, and must have     a person is shown the login, a program gets 401
    not a GET, without the session's token  403: nobody on a page of ours has meant it
    not a GET, and we are read-only         403

On a loopback address reading needs no login; an action does always. Nothing is changed by a GET. Any thread.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from typing import TypeVar

from flask import Flask, Response, current_app, g, redirect, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup
from werkzeug.exceptions import BadRequest, Forbidden, MisdirectedRequest, RequestEntityTooLarge, Unauthorized

from dashboard.parts import parts
from dashboard.refusals import wants_json
from dashboard.sessions import Session

F = TypeVar("F", bound=Callable[..., ResponseReturnValue])

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
MAX_BODY = 1 << 20
"""Bytes of a request, unless its view says `takes_up_to`."""
_FOR_ALL = frozenset({"static", "login.form", "login.enter", "probes.livez"})
"""Endpoints that need no login."""
_SELF_GUARDED = frozenset({"login.enter"})
"""It has a token of its own, since there is no session yet."""
_READ_ONLY_TOO = frozenset({"login.enter", "login.leave"})
_HOST = re.compile(r"(?P<name>[a-z0-9_.-]+|\[[0-9a-f:.]+\])(:(?P<port>[0-9]{1,5}))?")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # not no-referrer: with it browsers send `Origin: null` with our own forms
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}


def install(app: Flask) -> None:
    app.before_request(_guard)
    app.after_request(_finish)
    app.context_processor(_for_templates)


def takes_up_to(most: int) -> Callable[[F], F]:
    """A view whose requests may have a body of `most` bytes; put it below the route."""

    def mark(view: F) -> F:
        view.max_body = most  # type: ignore[attr-defined]
        return view

    return mark


def session() -> Session | None:
    """Of who asks; None: they have not logged in."""
    found: Session | None = g.get("session")
    return found


def may_act() -> bool:
    """Whether actions are to be offered to who asks."""
    return session() is not None and not parts().config.read_only


def may_read() -> bool:
    """Whether who asks may see anything of the cluster; not on the login, nor on an error page, of a stranger."""
    return bool(g.get("may_read"))


def cookie_name() -> str:
    """Cookies of one host are shared by all its ports, so each port has its own."""
    found = _host()
    return f"titan_session_{(found and found['port']) or 80}"


def csrf_field() -> Markup:
    """What each form with method="post" must hold."""
    known = session()
    return Markup('<input type="hidden" name="csrf" value="{}">').format(known.csrf if known else "")


# ── before ────────────────────────────────────────────────────────────────────────────────────────


def _guard() -> ResponseReturnValue | None:
    g.session, g.may_read = None, False
    _check_host()
    _check_origin()
    _check_dates()
    g.session = parts().sessions.find(request.cookies.get(cookie_name(), ""))
    acts = request.method not in SAFE
    if request.endpoint not in _FOR_ALL and g.session is None and (acts or not parts().config.on_loopback):
        return _ask_to_log_in()
    g.may_read = g.session is not None or parts().config.on_loopback
    if acts:
        _check_action()
    return None


def _check_host() -> None:
    found = _host()
    if found is None or found["name"].strip("[]") not in parts().config.hosts:
        raise MisdirectedRequest(
            "the dashboard is not known under this name; ask for it by its own address, "
            "or start it with --allow-host NAME"
        )


def _host() -> re.Match[str] | None:
    """The Host header in its parts; None: it is none."""
    return _HOST.fullmatch(request.headers.get("Host", "").lower())


def _check_origin() -> None:
    """Another site may have a link to us, and nothing else. Browsers say so themselves; programs need not."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    host = request.headers["Host"].lower()
    is_link = request.method in SAFE and request.headers.get("Sec-Fetch-Dest") == "document"
    foreign = site not in (None, "same-origin", "none") and not is_link
    if request.method not in SAFE and origin is not None:
        foreign = foreign or origin.lower() not in (f"http://{host}", f"https://{host}")
    if foreign:
        raise Forbidden(
            "the request comes from a page of another site; open the dashboard itself and do it there "
            "(a proxy before it must pass Host as it is)"
        )


def _check_dates() -> None:
    try:
        _ = request.if_modified_since, request.if_unmodified_since, request.if_range
    except OverflowError:
        raise BadRequest("a date in the headers of the request is in no year that there is") from None


def _ask_to_log_in() -> ResponseReturnValue:
    is_page = request.blueprint != "probes" and not wants_json() and not request.headers.get("X-Fragment")
    if request.method == "GET" and is_page:
        return redirect(url_for("login.form", next=request.full_path.rstrip("?")), 303)
    raise Unauthorized("log in first, at /login: this needs the token of the cluster")


def _check_action() -> None:
    view = current_app.view_functions.get(request.endpoint or "")
    request.max_content_length = getattr(view, "max_body", MAX_BODY)
    if (request.content_length or 0) > request.max_content_length:
        raise RequestEntityTooLarge(f"{request.max_content_length} bytes is the most")
    if request.endpoint not in _SELF_GUARDED:
        _check_csrf()
    if parts().config.read_only and request.endpoint not in _READ_ONLY_TOO:
        raise Forbidden("this dashboard is read-only")


def _check_csrf() -> None:
    known = session()
    given = request.headers.get("X-CSRF") or request.form.get("csrf", "")
    if known is None or not hmac.compare_digest(given.encode(), known.csrf.encode()):
        raise Forbidden("the form is not from this session; load the page again and repeat it")


# ── after ─────────────────────────────────────────────────────────────────────────────────────────


def _finish(response: Response) -> Response:
    response.headers.extend({name: value for name, value in HEADERS.items() if name not in response.headers})
    if request.endpoint != "static" or response.status_code >= 400:
        response.headers["Cache-Control"] = "no-store"
    parts().traffic.count(request.method, response.status_code)
    return response


def _for_templates() -> dict[str, object]:
    return {
        "session": session(),
        "may_act": may_act(),
        "may_read": may_read(),
        "read_only": parts().config.read_only,
        "csrf_field": csrf_field,
    }
