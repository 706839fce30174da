"""The dashboard in a real browser, with a real cluster behind it: what a person does, and what comes by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from titan_test_suite.pytests.support import browser as browsers
from titan_test_suite.pytests.support.browser import FOREIGN, Window, window
from titan_test_suite.pytests.support.browser_scene import DashboardProgram, Scene, scene
from titan_test_suite.pytests.support.cluster import Cluster

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(browsers.missing()), reason=browsers.missing())]

LINES = """#!/bin/sh
# lines.sh FILE: a thousand lines, and after each file FILE-1 and FILE-2 has come, one more
seq -f 'line %g of many' 1 1000
for number in 1 2; do
    until [ -e "$1-$number" ]; do sleep 0.05; done
    echo "after gate $number"
done
"""

LIVELY = """async (many) => {
  const { LogModel } = await import("/static/log-model.js"), { LogView } = await import("/static/log-view.js");
  const box = document.createElement("div"), model = new LogModel(), encoder = new TextEncoder();
  Object.assign(box, { id: "lively", className: "log-lines log-box", tabIndex: 0 });
  document.getElementById("main").replaceChildren(box);
  const view = new LogView(box, model, { onFetch() {}, onDraw() {} });
  const add = (count) => {
    const lines = Array.from({ length: count }, (_, place) => `line ${model.rows + place + 1}\n`);
    model.add(model.end, encoder.encode(lines.join("")), (at, more) => view.changed(at, more));
  };
  const frames = async (count) => { for (; count; count--) await new Promise(requestAnimationFrame); };
  const next = () => { add(1); requestAnimationFrame(next); };
  window.atEnd = async () => { await frames(20); return view.atEnd; };
  window.settled = async () => { // the first line in sight, once it stays so; 0: it does not
    for (let line = 0, turn = 0; turn < 50; turn++, await frames(20)) {
      if (line === view.topLine) return line;
      line = view.topLine;
    }
    return 0;
  };
  add(many);
  next();
}"""
"""A log of so many lines in a page of its own, and one more in each frame that the browser draws."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsers.opened() as running:
        yield running


@pytest.fixture
def stranger(browser: Browser, stage: Scene) -> Iterator[Window]:
    with window(browser, stage.url) as one:
        yield one
        assert not one.troubles, one.troubles


@pytest.fixture
def person(stranger: Window, stage: Scene) -> Window:
    stranger.log_in(stage.token)
    return stranger


def expect(*what: object) -> object:
    from playwright.sync_api import expect

    return expect(*what)


# ── what comes by itself ──────────────────────────────────────────────────────────────────────────


def test_a_graph_changes_colour_while_it_is_looked_at(stage: Scene, stranger: Window, tmp_path: Path) -> None:
    gate, page = tmp_path / "gate", stranger.page
    run = stage.dag("colours", gate)
    stranger.go(f"/runs/{run}")
    page.evaluate("window.same = true")
    node = {name: page.locator(f'#graph-box g.node[data-job="{name}"]') for name in ("extract", "clean", "load")}
    expect(node["extract"]).to_have_class("node live")
    expect(node["clean"]).to_have_class("node wait")
    _open(gate, "extract")
    expect(node["extract"]).to_have_class("node good")
    expect(node["clean"]).to_have_class("node live")
    _open(gate, "clean", "count")
    expect(node["load"]).to_have_class("node live")
    _open(gate, "load", *(job.job_id for job in stage.client.run(run).jobs))
    expect(page.locator("#facts .state")).to_contain_text("COMPLETED")
    expect(page.locator("#graph-box g.node.good")).to_have_count(5)
    expect(page.locator("#jobs tbody .state.good")).to_have_count(5)
    assert page.evaluate("window.same"), "it was loaded again"


def test_the_first_page_learns_of_a_run(stage: Scene, stranger: Window) -> None:
    stranger.go("/")
    stranger.page.evaluate("window.same = true")
    job = stage.client.submit_job(filename=stage.script("true.sh", "#!/bin/sh\n"), job_id="later")
    row = stranger.page.locator("#runs tr", has_text=job.run_id)
    expect(row).to_contain_text("COMPLETED")
    assert stranger.page.evaluate("window.same"), "it was loaded again"


def test_a_log_is_followed_and_searched(stage: Scene, stranger: Window, tmp_path: Path) -> None:
    gate, page = tmp_path / "gate", stranger.page
    job = stage.client.submit_job(filename=stage.script("lines.sh", LINES), job_id="lines", args=(str(gate),))
    stage.client.job(job)
    stranger.go(f"/runs/{job.run_id}/jobs/{job.job_id}/log")
    box = page.locator("#log-box")
    expect(box).to_contain_text("line 1000 of many")
    expect(page.locator("#log-state")).to_contain_text("live")
    _open(gate, "1")
    expect(box).to_contain_text("after gate 1")
    expect(box.get_by_text("after gate 1")).to_be_in_viewport()  # it is followed
    page.get_by_label("Filter").fill("line 77 of")
    expect(page.locator("#log-box .log-row")).to_have_count(1)
    expect(page.locator("#log-count")).to_contain_text("1 ")
    expect(box.locator(".log-row a")).to_have_text("77")
    page.get_by_label("Filter").fill("after gate")
    expect(page.locator("#log-box .log-row")).to_have_count(1)
    _open(gate, "2")
    expect(page.locator("#log-box .log-row")).to_have_count(2)  # new lines are filtered, too
    expect(box).to_contain_text("after gate 2")
    expect(page.locator("#log-state")).to_contain_text("over")
    expect(page.locator("#log-facts .state")).to_contain_text("COMPLETED")


def test_colours_go_on_from_line_to_line(stage: Scene, stranger: Window) -> None:
    script = stage.script("colours.sh", "#!/bin/sh\nprintf '\\033[31mred\\nstill red\\033[0m\\nplain\\n'\n")
    job = stage.client.submit_job(filename=script, job_id="coloured")
    stage.client.wait_for_job(job, 20)
    stranger.go(f"/runs/{job.run_id}/jobs/{job.job_id}/log")
    expect(stranger.page.locator("#log-box .t-ink1")).to_have_text(["red", "still red"])


def test_a_log_of_millions_of_lines_is_gone_through_from_end_to_end(stage: Scene, stranger: Window) -> None:
    """More than a browser can make a box high for."""
    page, most = stranger.page, 2_000_000
    job = stage.client.submit_job(filename=stage.script("many.sh", f"#!/bin/sh\nseq 1 {most}\n"), job_id="many")
    stage.client.wait_for_job(job, 20)
    stranger.go(f"/runs/{job.run_id}/jobs/{job.job_id}/log")
    box, line = page.locator("#log-box"), page.locator("#log-box .log-row code")
    expect(page.locator("#log-count")).to_have_text(f"{most:,} lines")
    box.focus()
    for key, number in (("Home", 1), ("End", most)):
        page.keyboard.press(key)
        expect(line.get_by_text(str(number), exact=True)).to_be_in_viewport()
    page.keyboard.press("PageUp")
    expect(line.get_by_text(str(most), exact=True)).not_to_be_in_viewport()
    expect(line.get_by_text(str(most - 40), exact=True)).to_be_in_viewport()
    page.get_by_label("Line").fill("1234567")
    page.keyboard.press("Enter")
    expect(line.get_by_text("1234567", exact=True)).to_be_in_viewport()
    expect(page.locator("#log-box .log-row.chosen code")).to_have_text("1234567")


@pytest.mark.parametrize("many", [1_000, 500_000])  # the second is higher than a box of a browser can be
def test_a_lively_log_is_followed_until_a_person_goes_up(stranger: Window, many: int) -> None:
    page = stranger.page
    stranger.go("/login")
    page.evaluate(LIVELY, many)
    assert page.evaluate("atEnd()")
    page.locator("#lively").focus()
    for key in ("ArrowUp", "PageUp"):
        page.keyboard.press(key)
        assert many - 100 < page.evaluate("settled()")
        assert not page.evaluate("atEnd()")
        page.keyboard.press("End")
        assert page.evaluate("atEnd()")
    page.keyboard.press("PageUp")
    page.keyboard.press("End")  # while that is being scrolled
    assert page.evaluate("atEnd()")
    page.locator("#lively").hover()
    page.mouse.wheel(0, -100)
    assert many - 100 < page.evaluate("settled()")
    page.keyboard.press("Home")
    assert page.evaluate("settled()") == 1


# ── what a person does ────────────────────────────────────────────────────────────────────────────


def test_a_worker_is_drained_and_given_work_again(stage: Scene, stranger: Window) -> None:
    page = stranger.page
    stranger.go(f"/workers/{stage.worker}")
    expect(page.get_by_role("link", name="Drain: no more jobs…")).to_have_count(0)
    stranger.log_in(stage.token)
    stranger.go(f"/workers/{stage.worker}")
    state = page.locator("#facts .state").first
    page.get_by_role("link", name="Drain: no more jobs…").click()
    assert stage.client.workers()[0].state == "ONLINE"  # it asks first
    page.locator("form.confirm button").click()
    expect(page.locator(".notice.good")).to_be_visible()
    expect(state).to_contain_text("DRAINING")
    page.get_by_role("link", name="Give it work again…").click()
    page.locator("form.confirm button").click()
    expect(state).to_contain_text("ONLINE")
    assert {worker.state for worker in stage.client.workers()} == {"ONLINE"}


def test_a_run_is_cancelled_and_retried(stage: Scene, person: Window, tmp_path: Path) -> None:
    page, gate = person.page, tmp_path / "gate"
    run = stage.dag("by-hand", gate)
    person.go(f"/runs/{run}")
    state = page.locator("#facts .state").first
    page.get_by_role("link", name="Cancel the run…").click()
    assert not stage.client.run(run).final  # it asks first
    page.get_by_role("link", name="Leave it").click()
    page.get_by_role("link", name="Cancel the run…").click()
    page.get_by_role("button", name="Cancel the run").click()
    expect(page.locator(".notice.good")).to_be_visible()
    expect(state).to_contain_text("CANCELLED")
    page.get_by_role("link", name="Retry the run…").click()
    page.get_by_role("button", name="Retry the run").click()
    expect(state).to_contain_text("RUNNING")
    _open(gate, *(job.job_id for job in stage.client.run(run).jobs))
    expect(state).to_contain_text("COMPLETED")


def test_a_schedule_is_fired_paused_and_resumed(stage: Scene, person: Window) -> None:
    page = person.page
    person.go("/schedules/nightly")
    fires, state = page.locator("#fires tbody tr"), page.locator("#facts .state").first
    before = fires.count()
    page.get_by_role("link", name="Fire now…").click()
    page.locator("form.confirm button").click()
    expect(fires).to_have_count(before + 1)
    expect(fires.first).to_contain_text("COMPLETED")
    page.get_by_role("link", name="Pause the schedule…").click()
    page.get_by_label("Why (kept with it)").fill("the disk is being replaced")
    page.locator("form.confirm button").click()
    expect(state).to_contain_text("PAUSED")
    expect(page.locator("#facts")).to_contain_text("the disk is being replaced")
    page.get_by_role("link", name="Resume the schedule…").click()
    page.locator("form.confirm button").click()
    expect(state).to_contain_text("ACTIVE")


def test_what_is_refused_says_why_beside_the_button(stage: Scene, person: Window, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run = stage.dag("refused", gate)
    person.go(f"/runs/{run}/cancel")
    stage.client.cancel(run)  # somebody else was first
    person.page.get_by_role("button", name="Cancel the run").click()
    expect(person.page.locator("form.confirm [role=alert]")).to_be_visible()
    assert person.page.url.endswith("/cancel")


def test_a_run_that_failed_shows_the_failure_first(stage: Scene, stranger: Window) -> None:
    page = stranger.page
    stranger.go(f"/runs/{stage.failed.run_id}")
    expect(page.locator("#panel-title")).to_have_text(stage.failed.job_id)
    expect(page.locator("#panel")).to_contain_text("exit code 3")
    expect(page.locator("#panel-title")).to_be_in_viewport()
    page.locator("#panel-close").click()
    expect(page.locator("#panel")).to_be_hidden()
    page.reload()
    expect(page.locator("#panel")).to_be_hidden()  # as it was left


def test_a_wrong_token_is_refused_in_words(stranger: Window) -> None:
    page = stranger.page
    stranger.go("/login")
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("main").get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    stranger.troubles.clear()  # the console tells of the answer's status


def test_another_name_for_it_is_refused(browser: Browser, stage: Scene) -> None:
    with window(browser, stage.url.replace("localhost", FOREIGN)) as foreign:
        assert foreign.go("/") == 421
        expect(foreign.page.locator("main")).to_contain_text("not known under this name")
        assert stage.running.run_id not in foreign.page.content()


def test_everything_can_be_done_by_keyboard(stage: Scene, person: Window) -> None:
    page = person.page
    person.go(f"/workers/{stage.worker}")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    expect(page.locator(".skip")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    reached = _tabs_to(person, "Drain: no more jobs…")
    assert "Jobs" not in reached and "Log out" not in reached, reached  # what was skipped
    page.keyboard.press("Enter")
    expect(page.locator("form.confirm")).to_be_visible()
    _tabs_to(person, page.locator("form.confirm button").inner_text())
    _tabs_to(person, "Leave it")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{stage.url}/workers/{stage.worker}")


def test_a_graph_can_be_gone_through_by_keyboard(stage: Scene, stranger: Window) -> None:
    page = stranger.page
    stranger.go(f"/runs/{stage.running}")
    expect(page.locator("#graph-box g.node").first).to_have_accessible_name("extract: RUNNING")
    page.locator("#graph-box g.node").first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#graph-box g.node").nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#panel-title")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#panel")).to_be_hidden()
    expect(page.locator("#graph-box g.node").nth(1)).to_be_focused()


def test_the_theme_is_chosen_and_kept(stranger: Window) -> None:
    page = stranger.page
    stranger.go("/")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").click()
    page.locator("#theme").click()
    expect(page.locator("#theme")).to_have_text("Theme: dark")
    stranger.go("/workers")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light


# ── the master goes, and comes back ───────────────────────────────────────────────────────────────


def test_pages_say_how_old_they_are_while_the_master_is_away(browser: Browser, tmp_path: Path) -> None:
    with Cluster(tmp_path) as own:
        own.start_worker()
        with DashboardProgram(own) as dashboard, window(browser, dashboard.url) as one:
            one.go("/")
            page, section = one.page, one.page.locator("#workers")
            expect(section).to_have_css("filter", "none")
            page.evaluate("window.same = true")
            port = own.port
            own.master.kill()
            expect(page.locator("#master-status")).to_contain_text("as of")
            expect(section).to_have_css("filter", "grayscale(1)")
            expect(section).to_contain_text("1 worker")  # what was known is still there
            assert one.go("/workers") == 200  # also for who comes now
            expect(page.locator("#master-status")).to_contain_text("as of")
            one.go("/")
            page.evaluate("window.same = true")
            own.start_master("--port", str(port))
            expect(page.locator("#master-status")).to_have_text("")
            expect(section).to_have_css("filter", "none")
            expect(section.locator(".state")).to_contain_text("ONLINE")
            assert page.evaluate("window.same"), "it was loaded again"
            assert not one.troubles, one.troubles


def _open(gate: Path, *names: str) -> None:
    for name in names:
        Path(f"{gate}-{name}").touch()


def _tabs_to(one: Window, name: str) -> list[str]:
    """Press Tab until what is called so has the focus; the names on the way."""
    passed: list[str] = []
    for _ in range(60):
        one.page.keyboard.press("Tab")
        focused = str(one.page.evaluate("document.activeElement.textContent.trim()"))
        if focused == name:
            return passed
        passed.append(focused)
    raise AssertionError(f"{name} is not reached; but {passed}")
