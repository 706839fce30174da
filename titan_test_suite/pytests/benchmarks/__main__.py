"""`make bench`: take the measurements that were asked for, print the table, write the JSON.

Talk goes to stderr, the table to stdout. A measurement that fails costs its figures and the exit code, not
the others. Ctrl-C and SIGTERM end whatever was started and print what is known by then.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from titan_test_suite.pytests.benchmarks import (
    chains,
    crowds,
    dag,
    dashboard,
    delays,
    endurance,
    followed,
    idle,
    latency,
    places,
    projects,
    report,
    round_trip,
    rows,
    schedules,
    services,
    steps,
    store,
    throughput,
)
from titan_test_suite.pytests.benchmarks.figures import Figure, Plan

MEASUREMENTS: dict[str, Callable[[Plan], list[Figure]]] = {
    "throughput": throughput.measure,
    "latency": latency.measure,
    "steps": steps.measure,
    "round-trip": round_trip.measure,
    "dag": dag.measure,
    "store": store.measure,
    "rows": rows.measure,
    "delays": delays.measure,
    "schedules": schedules.measure,
    "services": services.measure,
    "chains": chains.measure,
    "crowds": crowds.measure,
    "projects": projects.measure,
    "endurance": endurance.measure,
    "idle": idle.measure,
    "dashboard": dashboard.measure,
    "followed": followed.measure,
}
INTERRUPTED = 130


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    rounds = arguments.rounds or (1 if arguments.quick else 5)
    plan = Plan(rounds, arguments.quick, _say)
    directory = arguments.directory or places.default_directory()
    _say(f"files are in {places.described(directory)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sections: list[report.Section] = []
    with places.room_in(directory):
        code = _measure(plan, arguments.only, sections)
    if sections:
        report.print_table(sections, sys.stdout)
        report.write_json(sections, plan, places.described(directory), arguments.out)
        _say(f"written to {arguments.out}")
    return code


def _measure(plan: Plan, names: list[str], sections: list[report.Section]) -> int:
    """Append to `sections` what could be measured; the exit code."""
    code = 0
    for name in names:
        try:
            sections.append((name, MEASUREMENTS[name](plan)))
        except KeyboardInterrupt:
            return INTERRUPTED
        except Exception:
            traceback.print_exc()
            _say(f"{name} could not be measured")
            code = 1
    return code


def _say(sentence: str) -> None:
    print(f"bench: {sentence}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "make bench", description='Measure Titan beside the peers that are installed. make bench ARGS="--quick"'
    )
    everything = list(MEASUREMENTS)
    parser.add_argument(
        "--only", metavar="NAMES", type=_names, default=everything, help=f"some of {','.join(everything)}"
    )
    parser.add_argument("--rounds", metavar="N", type=_positive, help="how often to repeat (5; 1 with --quick)")
    parser.add_argument("--quick", action="store_true", help="fewer jobs: to see that it works, not to compare")
    parser.add_argument(
        "--directory", metavar="DIR", type=_directory, help="keep all files there (/dev/shm, if it can be)"
    )
    parser.add_argument("--out", metavar="FILE", type=Path, default=Path("build/bench.json"), help="%(default)s")
    return parser


def _names(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in MEASUREMENTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no {unknown[0]!r}; there are {', '.join(MEASUREMENTS)}")
    return names


def _directory(text: str) -> Path:
    if not os.access(text, os.W_OK | os.X_OK) or not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a directory that can be written to")
    return Path(text)


def _positive(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rounds, 1 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
