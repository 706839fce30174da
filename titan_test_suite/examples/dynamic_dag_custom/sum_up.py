"""Adds up what the parts have checked; fails when a file of the manifest was left out."""

import json
import os
import sys
from pathlib import Path

BACKUP = Path(os.environ.get("TITAN_SHARED", ".")) / "backup"


def main() -> None:
    checked = sum(json.loads(path.read_text())["files"] for path in BACKUP.glob("checked-*.json"))
    known = len(json.loads((BACKUP / "manifest.json").read_text()))
    print(f"{checked} of {known} files are as they were saved")
    sys.exit(0 if checked == known else 1)


if __name__ == "__main__":
    main()
