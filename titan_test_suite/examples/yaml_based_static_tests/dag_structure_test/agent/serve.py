"""Serves report.json over HTTP, on the port that the job was given, until it is told to stop."""

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

REPORT = Path(os.environ.get("TITAN_SHARED", ".")) / "report.json"
PORT = int(os.environ.get("PORT", "8600"))


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        content = REPORT.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def main() -> None:
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    with ThreadingHTTPServer(("127.0.0.1", PORT), Handler) as server:
        print(f"serving {REPORT.name} on http://127.0.0.1:{PORT}/")
        try:
            server.serve_forever()
        finally:
            print("told to stop")


if __name__ == "__main__":
    main()
