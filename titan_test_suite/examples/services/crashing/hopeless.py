"""Needs a file that nobody has written, and says so: no restart can help it."""

import signal
import sys
from pathlib import Path

SETTINGS = Path("hopeless.conf")


def main() -> None:
    if not SETTINGS.exists():
        sys.exit(f"there is no {SETTINGS.absolute()}")
    print(f"{SETTINGS} is there")
    signal.pause()


if __name__ == "__main__":
    main()
