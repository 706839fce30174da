"""`python -m titan_test_suite.torture`: blow, judge, say so. Exit code 0: everything held; 1: something did not;
130: interrupted. The home of a storm that found something is kept, and named."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from titan_sdk.errors import TitanError
from titan_test_suite.torture import report
from titan_test_suite.torture.storm import Outcome, Plan, Storm

MASTER_AGAIN_S = 5.0
"""What recovery from a kill may take, at p99: until the master starts new jobs …"""
_MARGIN_S = 5.0
"""… and, beyond `death_s`, until what a worker had running starts again."""


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    plan = Plan(
        options.seed,
        options.minutes * 60,
        rate=options.rate,
        master_share=options.master_share,
        due_share=options.due_share,
        death_s=options.death_s,
        heartbeat_s=min(Plan.heartbeat_s, options.death_s / 4),
    )
    home = Path(tempfile.mkdtemp(prefix="titan-torture-", dir=options.home))
    _say(f"seed {plan.seed}, {options.minutes:g} min, in {home}")
    storm = Storm(plan, home, _say)
    _come_to_an_end_when_told(storm)
    try:
        outcome = storm.run()
    except (AssertionError, TitanError) as error:
        _say(f"it could not be judged: {error}\nseed {plan.seed}; everything is kept in {home}")
        return 1
    except KeyboardInterrupt:
        _say(f"interrupted; everything is kept in {home}")
        return 130
    finally:
        storm.close()
    return _verdict(outcome, home, options.json, storm.interrupted)


def _come_to_an_end_when_told(storm: Storm) -> None:
    """The first Ctrl-C or SIGTERM ends the storm, which is then judged; a second one ends that, too."""

    def end(number: int, frame: FrameType | None) -> None:
        storm.interrupt()
        for other in (signal.SIGINT, signal.SIGTERM):
            signal.signal(other, signal.default_int_handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)


def _verdict(outcome: Outcome, home: Path, as_json: bool, interrupted: bool) -> int:
    """Say what came of it, and clear up if it is good; the exit code."""
    for line in report.lines(outcome):
        _say(line)
    for line in report.violations(outcome):
        _say(line)
    slow = list(report.too_slow(outcome, MASTER_AGAIN_S, outcome.plan.death_s + _MARGIN_S))
    for line in slow:
        _say(line)
    if as_json:
        print(json.dumps(report.as_json(outcome)))
    if outcome.violations or slow:
        _say(f"it did not hold; seed {outcome.plan.seed}; everything is kept in {home}")
        return 1
    shutil.rmtree(home)
    _say(f"all of it held; seed {outcome.plan.seed}")
    return 130 if interrupted else 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m titan_test_suite.torture",
        description="Kill and cut off a cluster at random while it works, and judge what it has promised.",
    )
    option = parser.add_argument
    option("--minutes", type=float, default=10.0, help="how long it blows (default %(default)g)")
    option("--seed", type=int, default=random.SystemRandom().randrange(1 << 32), help="of all that is random")
    option(
        "--home",
        type=_directory,
        metavar="DIR",
        help="make the cluster's home in there (default: the system's directory for such)",
    )
    option("--rate", type=float, default=Plan.rate, help="jobs per second (default %(default)g)")
    option("--death-s", type=float, default=Plan.death_s, help="the master's death_s (default %(default)g)")
    option(
        "--master-share",
        type=float,
        default=Plan.master_share,
        help="the part of the kills that hits the master, 0 to 1 (default %(default)g)",
    )
    option(
        "--due-share",
        type=float,
        default=Plan.due_share,
        help="the part of the master's kills that comes when a schedule is due, 0 to 1 (default %(default)g)",
    )
    option("--json", action="store_true", help="the outcome as JSON on stdout")
    return parser


def _directory(text: str) -> Path:
    path = Path(text).absolute()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not a directory")
    return path


if __name__ == "__main__":
    sys.exit(main())
