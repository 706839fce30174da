"""What pages are made with: a blueprint with a place in the navigation, rendering, confirming, acting.

Knows no particular page. Threads of the server call it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import quote

from flask import Blueprint, current_app, jsonify, redirect, render_template, request
from flask.typing import ResponseReturnValue

from dashboard.access import may_read, session
from dashboard.cluster import Snapshot
from dashboard.parts import parts
from dashboard.present import local_zone
from dashboard.refusals import wants_json
from dashboard.sessions import Notice
from titan_sdk.cli.text import clean
from titan_sdk.errors import TitanError

if TYPE_CHECKING:
    from titan_core.protocol.messages import Ack

NAV = ("Home", "Runs", "History", "Charts", "Services", "Schedules", "Workers", "Assets", "Submit")
"""The order of the navigation; what is not here comes last."""


class Page(Blueprint):
    """A group of pages; with `nav`, its first route (or `nav_path`) is in the navigation under this word."""

    def __init__(self, name: str, nav: str = "", nav_path: str = "") -> None:
        super().__init__(name, f"dashboard.pages.{name}")
        self.nav = nav
        self.nav_path = nav_path or f"/{name}"


def navigation() -> list[tuple[str, str]]:
    """Words and paths of the pages there are."""
    found = [page for page in current_app.blueprints.values() if isinstance(page, Page) and page.nav]
    found.sort(key=lambda page: NAV.index(page.nav) if page.nav in NAV else len(NAV))
    return [(page.nav, page.nav_path) for page in found]


def render(template: str, **values: object) -> str:
    """A page; or, for `static/live.js`, only what of it can change.

    Templates get these values, `layout`, `snapshot`, the functions of `links`, and the filters of `present`.
    """
    fragment = bool(request.headers.get("X-Fragment"))
    return render_template(template, layout="fragment.html" if fragment else "layout.html", **values)


def confirm(
    title: str, sentence: str, button: str, back: str, template: str = "confirm.html", **values: object
) -> str:
    """A page that asks before an action: a form that posts to the address it is at.

    `template` may extend confirm.html with a block `fields` of inputs.
    """
    return render(template, title=title, sentence=sentence, button=button, back=back, **values)


def act(action: Callable[[], Ack | str], then: str) -> ResponseReturnValue:
    """Do it, and show `then` with what became of it; or, where it was refused, the page that asked for it with the
    reason beside the button. A program gets JSON, or the error as its status."""
    if wants_json():
        return jsonify(text=_said(action()))
    try:
        notice = Notice(_said(action()))
    except TitanError as error:
        notice, then = Notice(str(error), bad=True), quote(request.path, safe="/:@")
    parts().cluster.renew()
    known = session()
    if known is not None and notice.text:
        known.notices.append(notice)
    return redirect(then, 303)


def _said(done: Ack | str) -> str:
    return clean(done if isinstance(done, str) else done.text)


def for_templates() -> dict[str, object]:
    """What every template finds."""
    return {
        "snapshot": parts().cluster.look() if may_read() else Snapshot(),
        "navigation": navigation() if may_read() else [],
        "here": request.path,
        "zone": local_zone(time.time()),
        "layout": "layout.html",
    }
