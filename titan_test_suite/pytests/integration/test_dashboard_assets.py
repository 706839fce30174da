"""The dashboard's assets behind real sockets, of a real master in this process: there, and back, and no further."""

from __future__ import annotations

import http.client
import random
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from dashboard import bodies
from dashboard.access import MAX_BODY
from dashboard.config import DashboardConfig
from dashboard.server import Dashboard
from titan_core.config import MasterConfig
from titan_core.master.app import Master
from titan_test_suite.pytests.support.dashboards import csrf_of

EVIL = "<img src=x onerror=alert(1)>'\"&;ä.html"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def dashboard(home: Path) -> Iterator[Dashboard]:
    master = Master(MasterConfig(home=home, port=0))
    master.start()
    running = Dashboard(DashboardConfig(port=0, master=f"127.0.0.1:{master.port}", home=home, threads=4))
    running.start()
    yield running
    running.stop()
    assert running.join() and not running.failed
    master.stop()
    assert master.join()


class Person:
    """A browser, as far as that matters here."""

    def __init__(self, dashboard: Dashboard) -> None:
        self._port = dashboard.port
        self._cookies: dict[str, str] = {}
        self.csrf = ""

    def ask(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("localhost", self._port, timeout=30)
        try:
            cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body or None, {"Cookie": cookies, **named})
            answer = connection.getresponse()
            for cookie in answer.headers.get_all("Set-Cookie", []):
                name, _, value = cookie.partition(";")[0].partition("=")
                self._cookies[name] = value
            return answer, answer.read()
        finally:
            connection.close()

    def text(self, path: str) -> str:
        return self.ask("GET", path)[1].decode()

    def log_in(self, home: Path) -> None:
        form = {"csrf": csrf_of(self.text("/login")), "token": (home / ".titan" / "token").read_text().strip()}
        kind = "application/x-www-form-urlencoded"
        assert self.ask("POST", "/login", urlencode(form).encode(), Content_Type=kind)[0].status == 303
        self.csrf = csrf_of(self.text("/"))

    def upload(self, file_name: str, data: bytes, name: str = "", csrf: str = "", **headers: str) -> tuple[int, str]:
        mark = uuid.uuid4().hex
        fields = {"csrf": csrf or self.csrf, "name": name}
        parts = [f'--{mark}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
        quoted = file_name.replace('"', "%22")
        head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{quoted}"\r\n\r\n'
        body = "".join([*parts, head]).encode() + data + f"\r\n--{mark}--\r\n".encode()
        kind = f"multipart/form-data; boundary={mark}"
        answer, text = self.ask("POST", "/assets/upload", body, Content_Type=kind, **headers)
        return answer.status, text.decode()


@pytest.fixture
def person(dashboard: Dashboard, home: Path) -> Person:
    somebody = Person(dashboard)
    somebody.log_in(home)
    return somebody


# ── there and back ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [0, 1, 5 * (1 << 20) + 17])
def test_a_file_goes_there_and_comes_back_as_it_was(person: Person, home: Path, size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert person.upload("own.bin", data, "models/w.bin")[0] == 303
    assert (home / "perm_files" / "models" / "w.bin").read_bytes() == data
    page = person.text("/assets")
    assert "models/w.bin is in perm_files/" in page and 'href="/assets/file/models/w.bin"' in page
    answer, content = person.ask("GET", "/assets/file/models/w.bin")
    assert answer.status == 200 and content == data and answer.headers["Content-Length"] == str(size)
    assert person.ask("HEAD", "/assets/file/models/w.bin")[0].headers["Content-Length"] == str(size)


def test_a_file_keeps_its_name_unless_it_is_given_another(person: Person, home: Path) -> None:
    person.upload("../folder/a b.txt", b"x")
    assert [path.name for path in (home / "perm_files").iterdir()] == ["a b.txt"]


@pytest.mark.parametrize("name", ["page.html", "a/b.svg", EVIL])
def test_what_is_fetched_is_handed_over_and_never_shown(person: Person, home: Path, name: str) -> None:
    path = home / "perm_files" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("<script>alert(1)</script>")
    answer, _ = person.ask("GET", f"/assets/file/{quote(name)}")
    headers = answer.headers
    assert headers["Content-Type"] == "application/octet-stream" and headers["X-Content-Type-Options"] == "nosniff"
    told = headers["Content-Disposition"]
    assert told.startswith("attachment; filename") and "\n" not in told and headers["Cache-Control"] == "no-store"
    if name == EVIL:
        assert "filename*=UTF-8''" in told and quote("ä") in told
        assert "<img" not in person.text("/assets") and "<img" not in person.text(f"/assets?q={quote(EVIL)}")


def test_the_list_and_its_search(person: Person, home: Path) -> None:
    assert "There is no file" in person.text("/assets")
    for name in ("Report.csv", "model.bin"):
        (home / "perm_files" / name).write_text(name)
    page = person.text("/assets?q=report")
    assert "Report.csv" in page and "model.bin" not in page and "1 of 2 files" in page
    assert re.search(r'title="[0-9a-f]{64}">[0-9a-f]{12}<', page)
    assert "None of 2 files" in person.text("/assets?q=nothing")
    assert person.ask("GET", "/api/assets")[1].count(b"sha256") == 2


# ── what is refused ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "name", ["nothing.txt", "../.titan/token", "..%2f.titan%2ftoken", "%2e%2e/.titan/token", "a%00b"]
)
def test_what_is_not_there_to_be_fetched(person: Person, home: Path, name: str) -> None:
    answer, text = person.ask("GET", f"/assets/file/{name}")
    assert answer.status in (400, 404)
    assert (home / ".titan" / "token").read_text().strip() not in text.decode()


@pytest.mark.parametrize(
    ("name", "said"),
    [("../x", "is not a file name"), (".hidden", "is a hidden file"), ("/etc/x", "is not a file name")],
)
def test_a_name_that_can_not_be_used(person: Person, home: Path, name: str, said: str) -> None:
    assert person.upload("a.txt", b"x", name)[0] == 303
    assert said in person.text("/assets") and not list((home / "perm_files").iterdir())
    assert person.upload("a.txt", b"x", name, Accept="application/json")[0] == 400


def test_a_form_without_a_file(person: Person) -> None:
    person.upload("", b"")
    assert "there is no file; choose one" in person.text("/assets")


def test_an_upload_needs_a_login_and_the_form_of_the_session(
    dashboard: Dashboard, person: Person, home: Path
) -> None:
    assert Person(dashboard).upload("a.txt", b"x", csrf="x")[0] == 401
    assert person.upload("a.txt", b"x", csrf="x")[0] == 403
    assert not list((home / "perm_files").iterdir())


def test_a_stranger_s_large_body_is_refused_before_it_is_received(dashboard: Dashboard, person: Person) -> None:
    for somebody, status in ((Person(dashboard), b"413"), (person, b"100")):
        connection = http.client.HTTPConnection("localhost", dashboard.port, timeout=10)
        try:
            connection.putrequest("POST", "/assets/upload")
            connection.putheader("Content-Length", str(2 * MAX_BODY))
            connection.putheader("Expect", "100-continue")
            connection.putheader("Cookie", "; ".join(f"{k}={v}" for k, v in somebody._cookies.items()))
            connection.endheaders()
            assert connection.sock.recv(1024).split()[1] == status
        finally:
            connection.close()


def test_more_than_an_asset_may_have(person: Person) -> None:
    answer, _ = person.ask("POST", "/assets/upload", Content_Length=str(bodies.MAX_UPLOAD + 1))
    assert answer.status == 413
