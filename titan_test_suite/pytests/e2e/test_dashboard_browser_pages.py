"""Each page of the dashboard in a real browser: it is drawn without a complaint, fits, can be read, and runs nothing
that somebody wrote into a name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from titan_test_suite.pytests.support import browser as browsers
from titan_test_suite.pytests.support.browser import NARROW, WIDE, Window, window
from titan_test_suite.pytests.support.browser_scene import HOSTILE, HOSTILE_NAME, LONG, Scene, scene

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(browsers.missing()), reason=browsers.missing())]

SHOWN = {
    "dead jobs": "exit code 3",
    "run that failed": HOSTILE_NAME,
    "log": HOSTILE,
    "paused schedule": HOSTILE,
    "schedules": HOSTILE,
    "assets": HOSTILE_NAME,
}
"""What has to be on which page, as text."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with browsers.opened() as running:
        yield running


@pytest.fixture(scope="module")
def person(browser: object, stage: Scene) -> Iterator[Window]:
    """Who has logged in, and is offered actions."""
    with window(browser, stage.url) as one:
        one.log_in(stage.token)
        yield one


def test_each_page_is_drawn_without_a_complaint_fits_and_keeps_what_somebody_wrote_text(
    stage: Scene, person: Window
) -> None:
    for name, path in stage.pages().items():
        person.page.set_viewport_size(WIDE)
        status = person.go(path)
        assert status == (404 if name == "not found" else 200), name
        for scheme in ("dark", "light"):
            person.page.emulate_media(color_scheme=scheme)
            assert person.page.evaluate("getComputedStyle(document.documentElement).colorScheme") == scheme, name
            for size in (WIDE, NARROW):
                person.page.set_viewport_size(size)
                assert person.overflow() <= 0, (name, scheme, person.widest())
        assert person.page.locator("img, [onerror]").count() == 0, name
        assert "taken" not in person.page.title(), name
        if name in SHOWN:
            person.page.get_by_text(SHOWN[name]).first.wait_for(state="attached")
        assert not person.troubles, (name, person.troubles)


def test_each_page_can_be_used_by_everybody(browser: object, stage: Scene) -> None:
    """As axe sees it; of the dark ones only the colours differ."""
    with window(browser, stage.url, bypass_csp=True) as scanned:
        found = _scanned(scanned, {"login": "/login"}, "before the login")
        scanned.log_in(stage.token)
        found += _scanned(scanned, stage.pages(), "")
    assert not found, "\n".join(found)


def test_long_names_are_shown_whole(person: Window) -> None:
    person.page.set_viewport_size(NARROW)
    person.go("/assets")
    person.page.get_by_text(f"{LONG}.csv").scroll_into_view_if_needed()
    assert person.overflow() <= 0


def _scanned(scanned: Window, pages: dict[str, str], when: str) -> list[str]:
    found = []
    for name, path in pages.items():
        scanned.page.emulate_media(color_scheme="light")
        scanned.go(path)
        found += [f"{name} {when}: {finding}" for finding in scanned.accessibility()]
        scanned.page.emulate_media(color_scheme="dark")
        found += [f"{name} {when}, dark: {finding}" for finding in scanned.accessibility("color-contrast")]
    return found
