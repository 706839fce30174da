"""A real browser: the chromium of this machine, driven by playwright; and pages that remember what went wrong.

Neither has to be there: `missing()` says what is not, for tests to be skipped with. Playwright's own waiting
(`expect`) is the only one there is.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

AXE = Path(__file__).parent / "vendor" / "axe" / "axe.min.js"
FOREIGN = "foreign.example"
"""A name that the browser takes for this machine."""
WAIT_MS = 15_000
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    f"--host-resolver-rules=MAP {FOREIGN} 127.0.0.1",
)
_SERIOUS = ("serious", "critical")


def executable() -> str:
    """Of chromium; "": there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or ""


def missing() -> str:
    """What a browser lacks; "": nothing."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed: pip install -e .[test]"
    return "" if executable() else "there is no chromium: apt-get install chromium"


@contextmanager
def opened() -> Iterator[Browser]:
    """Chromium without a window, gone when the block is left."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def window(browser: Browser, url: str, **settings: Any) -> Iterator[Window]:
    """A window of a person of its own: no cookie is shared. `settings` are those of playwright's contexts."""
    context = browser.new_context(base_url=url, viewport=settings.pop("viewport", WIDE), **settings)
    context.set_default_timeout(WAIT_MS)
    try:
        yield Window(context.new_page())
    finally:
        context.close()


WIDE = {"width": 1280, "height": 800}
NARROW = {"width": 390, "height": 800}


class Window:
    """A page, and what went wrong in it: exceptions, what the console calls an error, a breach of the policy of
    content."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.troubles: list[str] = []
        page.on("console", lambda message: self._heard(message.type, message.text, message.location.get("url", "")))
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("dialog", lambda dialog: (self.troubles.append(f"a dialog: {dialog.message}"), dialog.dismiss()))

    def _heard(self, kind: str, text: str, source: str) -> None:
        is_answer = text.startswith("Failed to load resource") and source == self.page.url  # of `go`
        if (kind == "error" and not is_answer) or "Content Security Policy" in text:
            self.troubles.append(f"{text} {source}")

    def go(self, path: str) -> int:
        """The status of the answer, once the page has been drawn: its scripts have run, what they fetch is there."""
        answer = self.page.goto(path)
        assert answer is not None
        self.page.wait_for_function(_DRAWN)
        return answer.status

    def log_in(self, token: str) -> None:
        self.page.goto("/login")
        self.page.get_by_label("Token").fill(token)
        self.page.get_by_role("main").get_by_role("button", name="Log in").click()
        self.page.get_by_role("button", name="Log out").wait_for()

    def overflow(self) -> int:
        """So many pixels the document is wider than the window."""
        root = "document.documentElement"
        return int(self.page.evaluate(f"{root}.scrollWidth - {root}.clientWidth"))

    def widest(self) -> list[str]:
        """The elements that reach beyond the window, and are not in a box that scrolls: for a message."""
        return list(self.page.evaluate(_WIDEST))

    def accessibility(self, *rules: str) -> list[str]:
        """What axe finds that is serious or critical, one text per rule and element; of these rules, or of all."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE.read_text())
        some = {"runOnly": list(rules)} if rules else {}
        found = self.page.evaluate("(o) => axe.run(document, o)", {"resultTypes": ["violations"], **some})
        return [
            f"{rule['id']} ({rule['impact']}): {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
            for rule in found["violations"]
            if rule["impact"] in _SERIOUS
            for node in rule["nodes"]
        ]


_DRAWN = """() => {
  const shown = (id) => document.getElementById(id)?.hidden === false;
  if (shown('graph') && !document.querySelector('#graph-box g.node')) return false;
  if (document.querySelector('#log[data-api]') && !shown('log-box')) return false;
  return document.readyState === 'complete';
}"""
"""Whether what scripts draw is there: the graph of a run, the lines of a log."""
_WIDEST = """() => {
  const wide = document.documentElement.clientWidth;
  const own = (one) => one && (getComputedStyle(one).overflowX !== 'visible' || own(one.parentElement));
  const isOut = (one) => one.getBoundingClientRect().right > wide + 1 && !own(one.parentElement);
  return [...document.body.querySelectorAll('*')].filter(isOut).map((one) => one.outerHTML.slice(0, 150));
}"""
