"""`python -m dashboard`: the dashboard in the foreground, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import signal

if __name__ == "__main__":  # Ctrl-C while the rest is imported ends the process, without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import logging
import sys
from collections.abc import Sequence

from dashboard.config import DashboardConfig, load, parser
from dashboard.server import Dashboard
from titan_core.signals import StopSignals
from titan_sdk.errors import ConfigError

EXIT_ERROR, EXIT_USAGE = 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    options = parser().parse_args(argv)
    signals = StopSignals()
    logging.basicConfig(level=options.log_level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    try:
        config = load(options)
        address = config.access().address()
        dashboard = Dashboard(config)
    except ConfigError as error:
        print(f"titan dashboard: {error}", file=sys.stderr)
        return EXIT_USAGE
    dashboard.on_failure = lambda component: signals.notify()
    dashboard.start()
    _announce(dashboard.url, "{}:{}".format(*address), config)
    signals.wait()
    dashboard.stop()
    return 0 if dashboard.join() and not dashboard.failed else EXIT_ERROR


def _announce(url: str, master: str, config: DashboardConfig) -> None:
    print(f"titan dashboard: {url} shows the master at {master}", flush=True)
    if not config.on_loopback:
        print(
            "titan dashboard: reachable from the network, and nothing is encrypted: stay inside a network you trust, "
            "or put a proxy with TLS before it",
            file=sys.stderr,
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
