"""Greets everybody: `greeter.py GREETING`. Whoever asks is told which instance answers, and in which process."""

import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = int(os.environ.get("PORT", "8600"))
NAME = os.environ.get("TITAN_JOB_ID", "greeter")
LINGER_S = 0.5
"""Whoever has looked up the address just before we were told to stop may still come."""


class Handler(BaseHTTPRequestHandler):
    timeout = 5  # a client that says nothing keeps us from ending for no longer

    def do_GET(self) -> None:
        content = f"{sys.argv[1]} from {NAME}, process {os.getpid()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing it waits for the answers


def main() -> None:
    told_to_stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: told_to_stop.set())
    with Server(("127.0.0.1", PORT), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        print(f"{NAME} greets on http://127.0.0.1:{PORT}/")
        told_to_stop.wait()
        time.sleep(LINGER_S)
        server.shutdown()
    print(f"{NAME} has greeted everybody")


if __name__ == "__main__":
    main()
