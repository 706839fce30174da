"""A web API in plain Python: `GET /factors/360` is answered with the prime factors of 360, `GET /health` with ok.

Told to stop, it takes no more requests, and ends once those that it has are answered.
"""

import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = int(os.environ.get("PORT", "8600"))
FACTORS = re.compile(r"/factors/([1-9][0-9]{0,13})")
HELP = "there are /health and /factors/NUMBER, of at most 14 digits"


class Handler(BaseHTTPRequestHandler):
    timeout = 5  # a client that says nothing keeps us from ending for no longer

    def do_GET(self) -> None:
        if self.path == "/health":
            self.answer(200, "ok")
        elif asked := FACTORS.fullmatch(self.path):
            number = int(asked[1])
            self.answer(200, {"number": number, "factors": list(factors(number))})
        else:
            self.answer(404, HELP)

    def answer(self, status: int, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        if self.path != "/health":
            super().log_request(code, size)


class Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing it waits for the answers


def factors(number: int) -> Iterator[int]:
    """Its prime factors, in order."""
    candidate = 2
    while candidate * candidate <= number:
        while number % candidate == 0:
            yield candidate
            number //= candidate
        candidate += 1
    if number > 1:
        yield number


def main() -> None:
    told_to_stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: told_to_stop.set())
    with Server(("127.0.0.1", PORT), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        print(f"serving on http://127.0.0.1:{PORT}/")
        told_to_stop.wait()
        print("told to stop")
        server.shutdown()
    print("every request is answered")


if __name__ == "__main__":
    main()
