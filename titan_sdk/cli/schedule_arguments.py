"""The arguments of the commands for schedules: functions that take a command's parser and add to it."""

from __future__ import annotations

from argparse import ArgumentParser

from titan_sdk.cli.arguments import count, execution_fields, given, seconds
from titan_sdk.cli.states import CATCH_UPS, FIRE_OUTCOMES, OVERLAPS


def schedule(parser: ArgumentParser) -> None:
    parser.add_argument("schedule", type=given, metavar="NAME", help="the schedule's name")


def add(parser: ArgumentParser) -> None:
    told = "the schedule's name; alone, a pipeline that has a schedule"
    parser.add_argument("schedule", type=given, metavar="NAME|PIPELINE", help=told)
    told = "the file to run; or a pipeline (YAML or DIR)"
    parser.add_argument("file", nargs="?", type=given, metavar="FILE|DIR", help=told)
    parser.add_argument("capability", nargs="?", metavar="CAPABILITY", help="same as --requirement")
    _when(parser)
    _rules(parser)
    fields = parser.add_argument_group("the job, where FILE is one (a pipeline says it itself)")
    fields.add_argument("--name", help="its id (default: the file's name)")
    fields.add_argument("--delay", type=seconds, default=0.0, metavar="SECONDS", help="wait so long before it")
    execution_fields(fields)
    parser.add_argument("--no-update", action="store_true", help="refuse to change a schedule that exists")


def _when(parser: ArgumentParser) -> None:
    times = parser.add_argument_group("when it is due")
    one = times.add_mutually_exclusive_group()
    one.add_argument("--cron", type=given, metavar="FIELDS", help="minute hour day month weekday; or @daily and such")
    one.add_argument("--every", type=seconds, metavar="SECONDS", help="again and again after so long, such as 15m")
    one.add_argument("--at", type=given, metavar="TIME", help="once, such as 2026-12-24T18:00")
    times.add_argument("--timezone", type=given, metavar="ZONE", help="such as Europe/Berlin (default: UTC)")
    told = "FIELDS begin with one for seconds"
    times.add_argument("--seconds", action="store_const", const=True, help=told)
    told = "put each fire off by a part of this of its own"
    times.add_argument("--jitter", type=seconds, metavar="SECONDS", help=told)
    times.add_argument("--start", type=given, metavar="TIME", help="not before")
    times.add_argument("--end", type=given, metavar="TIME", help="not after")


def _rules(parser: ArgumentParser) -> None:
    rules = parser.add_argument_group("what is done about a fire")
    rules.add_argument("--paused", action="store_const", const=True, help="start nothing until it is resumed")
    told = "while an earlier run goes on: skip, queue, allow or replace (default: skip)"
    rules.add_argument("--overlap", choices=OVERLAPS, metavar="HOW", help=told)
    told = "of what was due while there was no master, make up for: none, last or all (default: last)"
    rules.add_argument("--catch-up", choices=CATCH_UPS, metavar="WHICH", help=told)
    told = "but not for what is older (default: 7d)"
    rules.add_argument("--catch-up-window", type=seconds, metavar="SECONDS", help=told)
    told = "call this URL, or run this file, when a fire was missed"
    rules.add_argument("--on-missed", type=given, metavar="URL|FILE", help=told)
    rules.add_argument("--on-failure", type=given, metavar="URL|FILE", help="the same when a run has failed")


def next_fires(parser: ArgumentParser) -> None:
    parser.add_argument("schedule", nargs="?", type=given, metavar="NAME", help="a schedule; else say when")
    parser.add_argument("-n", dest="limit", type=count, default=10, metavar="COUNT", help="so many (default: 10)")
    _when(parser)


def history(parser: ArgumentParser) -> None:
    schedule(parser)
    told = "at most so many, the newest (default: 50)"
    parser.add_argument("-n", dest="limit", type=count, default=50, metavar="COUNT", help=told)
    told = "only " + ", ".join(FIRE_OUTCOMES)
    parser.add_argument("--outcome", type=str.upper, default="", choices=FIRE_OUTCOMES, metavar="OUTCOME", help=told)


def trigger(parser: ArgumentParser) -> None:
    schedule(parser)
    parser.add_argument("--wait", action="store_true", help="show the progress of its run until it is over")


def pause(parser: ArgumentParser) -> None:
    schedule(parser)
    parser.add_argument("--reason", default="", help="kept with the schedule")


def backfill(parser: ArgumentParser) -> None:
    schedule(parser)
    parser.add_argument("--from", dest="first", type=given, metavar="TIME", help="such as 2026-11-01")
    parser.add_argument("--to", dest="last", type=given, metavar="TIME", help="such as 2026-11-08T12:00")
    parser.add_argument("--wait", action="store_true", help="until all these runs are over")
    parser.add_argument("--cancel", action="store_true", help="instead: make up for nothing that still waits")
