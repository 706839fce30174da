"""Turns the access logs into hits.csv: route, status, milliseconds. Damaged lines are counted and left out."""

import csv
import os
import re
import sys
from pathlib import Path

SHARED = Path(os.environ.get("TITAN_SHARED", "."))
LINE = re.compile(r'\S+ \[[\d:]+\] "GET (\S+)" (\d{3}) (\d+)ms')


def main() -> None:
    lines = [line for log in sorted(SHARED.glob("access*.log")) for line in log.read_text().splitlines()]
    hits = [match.groups() for line in lines if (match := LINE.fullmatch(line))]
    if not hits:
        sys.exit(f"no access log with a usable line in {SHARED}")
    with open(SHARED / "hits.csv", "w", newline="") as file:
        csv.writer(file).writerows(hits)
    print(f"hits.csv: {len(hits)} hits, {len(lines) - len(hits)} damaged lines left out")


if __name__ == "__main__":
    main()
