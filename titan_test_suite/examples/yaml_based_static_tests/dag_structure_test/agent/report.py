"""What each team should know: how often its routes were asked for, how often they failed, how slow they are."""

import csv
import json
import os
from collections import defaultdict
from pathlib import Path
from statistics import quantiles

SHARED = Path(os.environ.get("TITAN_SHARED", "."))


def rows(name: str) -> list[list[str]]:
    with open(SHARED / name, newline="") as file:
        return list(csv.reader(file))


def main() -> None:
    owners = dict(rows("owners.csv"))
    times_ms: dict[str, list[int]] = defaultdict(list)
    errors: dict[str, int] = defaultdict(int)
    for route, status, took_ms in rows("hits.csv"):
        team = owners[route]
        times_ms[team].append(int(took_ms))
        errors[team] += status.startswith("5")
    report = {
        team: {"hits": len(times), "errors": errors[team], "p95_ms": round(quantiles(times, n=20)[-1])}
        for team, times in sorted(times_ms.items())
    }
    (SHARED / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    print(f"{'team':<12}{'hits':>8}{'errors':>8}{'p95':>8}")
    for team, row in report.items():
        print(f"{team:<12}{row['hits']:>8}{row['errors']:>8}{row['p95_ms']:>6}ms")


if __name__ == "__main__":
    main()
