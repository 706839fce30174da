"""Holds files of the backup against the manifest: a part of them (--part 2 --of 4), or some (--every 10)."""

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

BACKUP = Path(os.environ.get("TITAN_SHARED", ".")) / "backup"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", type=int, default=1)
    parser.add_argument("--of", type=int, default=1)
    parser.add_argument("--every", type=int, default=1)
    options = parser.parse_args()
    manifest = json.loads((BACKUP / "manifest.json").read_text())
    names = sorted(manifest)[options.part - 1 :: options.of][:: options.every]
    damaged = [name for name in names if hashlib.sha256((BACKUP / name).read_bytes()).hexdigest() != manifest[name]]
    (BACKUP / f"checked-{options.part}.json").write_text(json.dumps({"files": len(names), "damaged": damaged}))
    print(f"{len(names)} of {len(manifest)} files checked, {len(damaged)} damaged {' '.join(damaged)}".rstrip())
    sys.exit(1 if damaged else 0)


if __name__ == "__main__":
    main()
