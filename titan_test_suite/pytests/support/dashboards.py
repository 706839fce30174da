"""A dashboard without sockets and threads: its application, a client that answers as a test says, and a browser."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, cast

from werkzeug.test import TestResponse

from dashboard.app import create_app
from dashboard.cluster import ClusterWatch
from dashboard.config import DashboardConfig
from dashboard.parts import Parts
from dashboard.sessions import Sessions
from dashboard.streams import Streams
from titan_core.protocol.messages import Ack, ClusterStatus, JobList, StateCount, WorkerStatus
from titan_sdk import TitanClient
from titan_sdk.errors import TitanError

TOKEN = "0123456789abcdef0123456789abcdef"
EVIL = "<img src=x onerror=alert(1)>'\"&"
"""A name that would do something if it were taken for HTML."""

WORKER = WorkerStatus("box:8081", "ONLINE", ("GENERAL",), 4, 1, jobs=("sales-1/load",), memory_total=1 << 30)


class FakeClient:
    """Answers each method with what `answers` holds under its name; `away` makes all of them fail."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = {
            "cluster": ClusterStatus((WORKER,), (StateCount("RUNNING", 1),)),
            "runs": (),
            "dead_jobs": JobList(),
            "jobs": JobList(),
            "services": (),
            "schedules": (),
            "schedule_history": (),
            "drain_worker": Ack("it gets no more jobs"),
            "shutdown_worker": Ack("it stops"),
            **answers,
        }
        self.away: TitanError | None = None
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        def method(*values: Any, **named: Any) -> Any:
            self.calls.append((name, (*values, *named.values())))
            if self.away is not None:
                raise self.away
            answer = self.answers[name]
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return method

    def called(self, name: str) -> list[tuple[Any, ...]]:
        return [values for method, values in self.calls if method == name]


class FakeDashboard:
    """The parts of one, its application, and a browser that has not logged in."""

    def __init__(self, client: FakeClient | None = None, **config: Any) -> None:
        self.client = client or FakeClient()
        self.config = replace(DashboardConfig(token=TOKEN), **config)
        as_client = cast(TitanClient, self.client)
        self.cluster = ClusterWatch(as_client)
        self.cluster.refresh()
        self.parts = Parts(
            self.config, as_client, self.cluster, Streams(self.config.threads), Sessions(self.config.token_mark)
        )
        self.app = create_app(self.parts)
        self.browser = Browser(self)

    def logged_in(self) -> Browser:
        self.browser.log_in()
        return self.browser


class Browser:
    """Keeps cookies, and sends forms as a browser does."""

    def __init__(self, dashboard: FakeDashboard) -> None:
        self._http = dashboard.app.test_client()
        self.csrf = ""

    def get(self, path: str, **headers: str) -> TestResponse:
        return self._http.get(path, headers=_named(headers), buffered=True)

    def text(self, path: str, **headers: str) -> str:
        return self.get(path, **headers).get_data(as_text=True)

    def post(self, path: str, form: dict[str, str] | None = None, **headers: str) -> TestResponse:
        """With the token of the session, unless `form` has another one."""
        return self._http.post(path, data={"csrf": self.csrf, **(form or {})}, headers=_named(headers))

    def log_in(self, token: str = TOKEN, **fields: str) -> TestResponse:
        answer = self.post("/login", {"csrf": csrf_of(self.text("/login")), "token": token, **fields})
        if answer.status_code == 303:
            self.csrf = csrf_of(self.text("/"))
        return answer


def csrf_of(page: str) -> str:
    """What the first form of a page carries."""
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found, page
    return found[1]


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
