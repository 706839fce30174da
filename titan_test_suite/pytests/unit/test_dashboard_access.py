"""Who may ask the dashboard for what: hosts, origins, logins, forms, and the headers of every answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboard import sessions
from dashboard.config import DashboardConfig, load, parser
from dashboard.links import local
from dashboard.pages import login
from dashboard.sessions import Sessions
from titan_sdk.errors import ConfigError, Conflict
from titan_test_suite.pytests.support.dashboards import TOKEN, Browser, FakeClient, FakeDashboard, csrf_of

DRAIN = "/workers/box:8081/drain"
ACTIONS = (DRAIN, "/workers/box:8081/undrain", "/workers/box:8081/shutdown")


@pytest.fixture(autouse=True)
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "FAILED_S", 0.0)


# ── hosts and origins ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("host", ["localhost", "localhost:5000", "127.0.0.1:80", "[::1]:5000", "LOCALHOST"])
def test_its_own_names(host: str) -> None:
    assert FakeDashboard().browser.get("/", Host=host).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:5000", "localhost:x", "a@localhost", ""],
)
@pytest.mark.parametrize("path", ["/", "/api/cluster", "/metrics", "/static/style.css", "/livez", "/login", "/nope"])
def test_a_foreign_host_is_refused(host: str, path: str) -> None:
    answer = FakeDashboard().browser.get(path, Host=host)
    assert answer.status_code in (400, 421)
    assert "box:8081" not in answer.get_data(as_text=True)


def test_a_name_that_is_allowed() -> None:
    """It is answered; but whoever asks under that name may have come through a proxy, from anywhere: not unknown."""
    dashboard = FakeDashboard(allow_hosts=("titan.example",))
    answer = dashboard.browser.get("/", Host="titan.example")
    assert (answer.status_code, answer.headers["Location"].partition("?")[0]) == (303, "/login")
    assert dashboard.browser.get("/login", Host="titan.example").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "localhost"},
        {"Origin": "ftp://localhost"},
        {"Origin": "http://localhost:8000"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": "http://localhost", "Sec_Fetch_Site": "cross-site"},
    ],
)
def test_a_form_of_another_site_is_refused(headers: dict[str, str]) -> None:
    dashboard = FakeDashboard()
    assert dashboard.logged_in().post(DRAIN, **headers).status_code == 403
    assert not dashboard.client.called("drain_worker")


@pytest.mark.parametrize("path", ["/", "/api/cluster", "/events", "/static/style.css", "/login", "/livez"])
def test_another_site_may_link_to_it_but_not_embed_it(path: str) -> None:
    browser = FakeDashboard().browser
    for site in ("cross-site", "same-site"):
        for kind in ("iframe", "script", "image", "empty", "embed"):
            assert browser.get(path, Sec_Fetch_Site=site, Sec_Fetch_Dest=kind).status_code == 403
        if path != "/events":
            assert browser.get(path, Sec_Fetch_Site=site, Sec_Fetch_Dest="document").status_code == 200
    assert browser.post("/login", Sec_Fetch_Site="cross-site", Sec_Fetch_Dest="document").status_code == 403


def test_a_form_of_ours_is_not() -> None:
    dashboard = FakeDashboard()
    answer = dashboard.logged_in().post(DRAIN, Origin="http://localhost", Sec_Fetch_Site="same-origin")
    assert answer.status_code == 303 and dashboard.client.called("drain_worker") == [("box:8081",)]


# ── logging in ────────────────────────────────────────────────────────────────────────────────────


def test_the_token_opens_a_session_whose_cookie_no_script_and_no_other_site_gets() -> None:
    dashboard = FakeDashboard()
    answer = dashboard.browser.log_in(next="/workers")
    cookie = answer.headers["Set-Cookie"]
    assert (answer.status_code, answer.headers["Location"]) == (303, "/workers")
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Secure" not in cookie and TOKEN not in cookie
    assert len(dashboard.parts.sessions) == 1
    assert "Log out" in dashboard.browser.text("/")


def test_the_cookie_is_secure_where_the_browser_came_by_https() -> None:
    browser = FakeDashboard().browser
    form = {"csrf": csrf_of(browser.text("/login")), "token": TOKEN}
    assert "Secure" in browser.post("/login", form, Origin="https://localhost").headers["Set-Cookie"]


@pytest.mark.parametrize("token", ["", "x", TOKEN[:-1], TOKEN + "0", "ä" * 40])
def test_a_wrong_token(token: str) -> None:
    dashboard = FakeDashboard()
    answer = dashboard.browser.log_in(token)
    assert answer.status_code == 403 and not len(dashboard.parts.sessions)
    assert "not the token" in answer.get_data(as_text=True)


def test_who_guesses_waits_but_does_not_keep_out_who_knows() -> None:
    """All places of those who wait are taken: one more that is wrong is refused at once, the right one let in."""
    taken = [login._wrong.acquire(blocking=False) for _ in range(2)]
    try:
        assert FakeDashboard().browser.log_in("x").status_code == 429
        assert FakeDashboard().browser.log_in().status_code == 303
    finally:
        for _ in filter(None, taken):
            login._wrong.release()


def test_a_login_form_that_is_not_ours() -> None:
    dashboard = FakeDashboard()
    dashboard.browser.text("/login")
    assert dashboard.browser.post("/login", {"csrf": "x" * 64, "token": TOKEN}).status_code == 403
    assert not len(dashboard.parts.sessions)


@pytest.mark.parametrize(
    "target", ["http://evil.example", "//evil.example", "/\\evil.example", "javascript:1", "/\nx"]
)
def test_the_way_back_stays_here(target: str) -> None:
    assert local(target) == "/"


def test_logging_out() -> None:
    dashboard = FakeDashboard()
    browser = dashboard.logged_in()
    assert browser.get("/logout").status_code == 405
    assert browser.post("/logout").status_code == 303
    assert not len(dashboard.parts.sessions) and browser.post(DRAIN).status_code == 401


def test_sessions_end_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 3)
    now = [0.0]
    known = Sessions(lambda: b"mark", lambda: now[0])
    first = known.open()
    others = []
    for _ in range(3):
        now[0] += 1
        others.append(known.open())
    assert len(known) == 3 and known.find(first.session_id) is None
    now[0] += sessions.IDLE_S
    assert known.find(others[-1].session_id) is not None
    assert known.find(others[0].session_id) is None and len(known) == 1


def test_sessions_end_when_the_cluster_has_another_token(tmp_path: Path) -> None:
    token = tmp_path / ".titan" / "token"
    token.parent.mkdir()
    token.write_text(TOKEN)
    dashboard = FakeDashboard(token=None, home=tmp_path)
    browser = dashboard.logged_in()
    assert browser.post(DRAIN).status_code == 303
    token.rename(tmp_path / "away")
    assert browser.post(DRAIN).status_code == 401, "nobody can say that it is still the same"
    token.write_text(TOKEN)
    assert browser.post(DRAIN).status_code == 303
    token.write_text(TOKEN[::-1])
    assert browser.post(DRAIN).status_code == 401 and "Log out" not in browser.text("/")
    assert browser.log_in(TOKEN).status_code == 403 and browser.log_in(TOKEN[::-1]).status_code == 303


# ── who needs it ──────────────────────────────────────────────────────────────────────────────────


def open_to_the_network(**config: object) -> FakeDashboard:
    return FakeDashboard(host="192.0.2.1", **config)


@pytest.mark.parametrize("path", ["/", "/workers", "/nope", DRAIN])
def test_a_stranger_reads_nothing_from_the_network(path: str) -> None:
    answer = open_to_the_network().browser.get(path, Accept="text/html")
    assert answer.status_code == 303 and answer.headers["Location"].startswith("/login?next=")


def test_a_stranger_that_is_a_program_gets_401() -> None:
    """A monitor that was sent to the login would take that page for an answer."""
    browser = open_to_the_network().browser
    answer = browser.get("/api/cluster")
    assert answer.status_code == 401 and answer.get_json()["code"] == "UNAUTHORIZED"
    assert [browser.get(path).status_code for path in ("/metrics", "/readyz", "/events")] == [401, 401, 401]


@pytest.mark.parametrize("path", ["/login", "/livez", "/static/live.js"])
def test_what_a_stranger_may_see_says_nothing_of_the_cluster(path: str) -> None:
    dashboard = open_to_the_network()
    dashboard.client.away = Conflict("a secret sentence")
    dashboard.cluster.refresh()
    answer = dashboard.browser.get(path)
    assert answer.status_code == 200 and "secret sentence" not in answer.get_data(as_text=True)


def test_who_has_logged_in_reads_from_the_network() -> None:
    dashboard = open_to_the_network()
    assert "box:8081" in dashboard.logged_in().text("/")


@pytest.mark.parametrize("path", [*ACTIONS, "/logout"])
def test_an_action_needs_a_login_and_the_form_of_the_session(path: str) -> None:
    dashboard = FakeDashboard()
    assert dashboard.browser.post(path, {"csrf": "x"}).status_code == 401
    browser = dashboard.logged_in()
    before = len(dashboard.client.calls)
    for wrong in ("", "x", "ä", browser.csrf[:-1]):
        assert browser.post(path, {"csrf": wrong}).status_code == 403
    assert len(dashboard.client.calls) == before and len(dashboard.parts.sessions) == 1


def test_the_token_of_a_session_may_come_in_a_header() -> None:
    browser = FakeDashboard().logged_in()
    answer = browser.post(DRAIN, {"csrf": ""}, X_CSRF=browser.csrf, Accept="application/json")
    assert answer.get_json() == {"text": "it gets no more jobs"}


def test_the_form_of_another_session_is_not_taken() -> None:
    dashboard = FakeDashboard()
    one, other = dashboard.logged_in(), Browser(dashboard)
    other.log_in()
    assert one.post(DRAIN, {"csrf": other.csrf}).status_code == 403


@pytest.mark.parametrize("path", ACTIONS)
def test_read_only(path: str) -> None:
    dashboard = FakeDashboard(read_only=True)
    browser = dashboard.logged_in()
    assert browser.post(path).status_code == 403
    assert "Drain" not in browser.text("/workers/box:8081") and '<button class="danger"' not in browser.text(path)
    assert not dashboard.client.called("drain_worker") and not dashboard.client.called("shutdown_worker")
    assert browser.post("/logout").status_code == 303


def test_every_get_is_harmless() -> None:
    dashboard = FakeDashboard()
    browser = dashboard.logged_in()
    asked = {"cluster", "runs", "dead_jobs", "jobs", "services", "schedules", "schedule_history"}
    for rule in dashboard.app.url_map.iter_rules():
        if "GET" in (rule.methods or ()) and rule.endpoint not in ("static", "probes.events"):
            path = rule.rule.replace("<worker_id>", "box:8081")
            browser.get(path)
    changing = ("drain_", "shutdown", "start", "stop", "restart", "cancel", "retry", "remove", "trigger", "pause")
    called = {name for name, _ in dashboard.client.calls}
    assert asked <= called | asked and not {name for name in called if name.startswith(changing)}


def test_a_body_that_is_too_large() -> None:
    assert FakeDashboard().logged_in().post(DRAIN, {"x": "y" * (1 << 20)}).status_code == 413


# ── headers ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["/", "/nope", "/api/nope", "/api/cluster", "/metrics", "/login", "/static/live.js"])
def test_headers_of_every_answer(path: str) -> None:
    headers = FakeDashboard().browser.get(path).headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin" and headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert (headers["Cache-Control"] == "no-store") == (not path.startswith("/static"))


def test_headers_of_what_is_refused() -> None:
    assert "Content-Security-Policy" in FakeDashboard().browser.get("/", Host="evil.example").headers


# ── what it is told ───────────────────────────────────────────────────────────────────────────────


def test_the_command_line() -> None:
    config = load(parser().parse_args(["--host", "0.0.0.0", "--allow-host", "Titan.example", "--port", "0"]))
    assert not config.on_loopback and config.hosts == {"localhost", "127.0.0.1", "::1", "titan.example"}
    assert DashboardConfig().on_loopback and DashboardConfig(host="::1").on_loopback


@pytest.mark.parametrize("wrong", [{"port": 65536}, {"port": -1}, {"threads": 1}, {"udp_port": 70000}])
def test_what_can_not_be_used(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="use a number from"):
        DashboardConfig(**wrong)  # type: ignore[arg-type]


def test_an_action_that_is_refused_says_why_beside_its_button() -> None:
    dashboard = FakeDashboard(FakeClient(drain_worker=Conflict("it stops already")))
    browser = dashboard.logged_in()
    answer = browser.post(DRAIN)
    assert (answer.status_code, answer.headers["Location"]) == (303, DRAIN)
    form = browser.text(DRAIN).partition('class="confirm"')[2].partition("</form>")[0]
    assert "it stops already" in form
    assert "it stops already" not in browser.text(DRAIN)
    program = browser.post(DRAIN, Accept="application/json")
    assert (program.status_code, program.get_json()["code"]) == (409, "CONFLICT")
