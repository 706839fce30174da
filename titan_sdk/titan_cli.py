"""The console script `titan`, which also runs from a checkout: `python titan_sdk/titan_cli.py deploy DIR`."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Run as a file, the first entry of the path is this folder; the packages are one above.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)


def main() -> int:
    """Run `titan` with the program's arguments; its exit code."""
    try:
        from titan_sdk.cli.main import main as run

        return run()
    except KeyboardInterrupt:  # before `run` could look after it
        return 130


if __name__ == "__main__":
    sys.exit(main())
