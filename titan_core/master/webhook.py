"""A webhook: somebody who is told of something by an HTTP POST of a JSON object, and says yes with any 2xx.

With a secret, what is posted is signed: `X-Titan-Signature` is `sha256=` and the HMAC-SHA256, in hex, of what is in
`X-Titan-Timestamp`, a dot, and the body. A post without an answer may have been heard, so it has an id, and has the
same one when it is made again.

Knows nothing of what it tells, of whom it is configured by, and of threads. `post` and `send` block, and are called
by one thread, `provisioner` or `alerter`; `stop` by any.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from titan_core.errors import ConfigError, ConnectionFailed, RequestRefused
from titan_core.master.http_post import HttpPost

CALL_S = 10.0
"""What one try may take."""
PAUSES_S = (0.5, 2.0, 5.0)
"""Of `post`, between a try that failed for now and the next one; as often as here it is tried again."""
SHOWN = 250
"""Characters of what somebody else has said that are passed on."""

Json = str | int | float | bool | None | Sequence["Json"] | Mapping[str, "Json"]


class Failure(NamedTuple):
    """A try that was in vain."""

    sentence: str
    status: int
    """Of the answer; 0 = there was none."""

    @property
    def passing(self) -> bool:
        """Whether another try may help."""
        return self.status == 0 or self.status >= 500


class Webhook:
    """Whoever listens at `url`, which is one that `check_webhook` lets pass; an empty secret: nothing is signed."""

    def __init__(self, url: str, secret: bytes) -> None:
        parts = urlsplit(url)
        self.name = f"webhook {parts.scheme}://{parts.netloc}{parts.path}"  # a query may hold a password
        self._url = url
        self._secret = secret
        self._context = ssl.create_default_context() if parts.scheme == "https" else None
        self._post: HttpPost | None = None
        self._stopping = threading.Event()

    def post(self, fields: Mapping[str, Json]) -> None:
        """Tell it, with an id and the time besides, until there is an answer.

        Raises ConnectionFailed when there is none, RequestRefused when it is not a yes.
        """
        identity = {"id": secrets.token_hex(16), "sent": datetime.now(UTC).isoformat()}
        body = json.dumps({**fields, **identity}).encode()
        failure = self.send(body)
        for pause_s in PAUSES_S:
            if failure is None or not failure.passing or self._stopping.wait(pause_s):
                break
            failure = self.send(body)
        if failure is not None:
            raise (RequestRefused if failure.status else ConnectionFailed)(failure.sentence)

    def send(self, body: bytes) -> Failure | None:
        """One try; None: it was heard."""
        # Whoever stops sets the Event and then looks for a post; so the post is there before the Event is looked at.
        self._post = HttpPost(self._url, CALL_S, self._context)
        if self._stopping.is_set():
            self._post.cut()
        try:
            answer = self._post.send(self._headers(body), body)
        except ConnectionFailed as error:
            return Failure(f"{self.name} {error}", 0)
        if 200 <= answer.status < 300:
            return None
        said = one_line(f"{answer.status} {answer.reason}: {answer.text}").rstrip(": ")
        return Failure(f"{self.name} answered {said}", answer.status)

    def stop(self) -> None:
        """End what blocks, and let nothing block any more. Idempotent."""
        self._stopping.set()
        if self._post is not None:
            self._post.cut()

    def _headers(self, body: bytes) -> dict[str, str]:
        timestamp = str(int(time.time()))
        headers = {"Content-Type": "application/json", "X-Titan-Timestamp": timestamp}
        if self._secret:
            signature = hmac.new(self._secret, timestamp.encode() + b"." + body, hashlib.sha256)
            headers["X-Titan-Signature"] = f"sha256={signature.hexdigest()}"
        return headers


def read_secret(path: str | None) -> bytes:
    """What is in the file, without blanks around it; empty: there is no file. Raises ConfigError."""
    if path is None:
        return b""
    try:
        secret = Path(path).read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"webhook_secret_file {path} can not be read: {error.strerror}") from None
    if not secret:
        raise ConfigError(f"webhook_secret_file {path} is empty: put the secret into it")
    return secret


def one_line(text: str) -> str:
    """The beginning of a text, without what would do something to a terminal or a log."""
    words = "".join(char if char.isprintable() else " " for char in text[:SHOWN]).split()
    return " ".join(words)
