"""The rows of the command table that are about schedules."""

from __future__ import annotations

from titan_sdk.cli import arguments
from titan_sdk.cli import schedule_arguments as of_schedules
from titan_sdk.cli.command import Command

SCHEDULES = "Schedules"
"""Their group."""

SCHEDULE_ROWS = (
    Command(
        "schedule add",
        SCHEDULES,
        "run a file, or a pipeline, whenever its time has come",
        'titan schedule add nightly report.py --cron "0 2 * * *" --timezone Europe/Berlin',
        of_schedules.add,
        "commands_schedule:add",
        program_args=True,
        completes="files",
    ),
    Command(
        "schedule ls",
        SCHEDULES,
        "list the schedules",
        "titan schedule ls",
        arguments.nothing,
        "commands_schedule:ls",
    ),
    Command(
        "schedules",
        SCHEDULES,
        "list them, too",
        "titan schedules",
        arguments.nothing,
        "commands_schedule:ls",
    ),
    Command(
        "schedule show",
        SCHEDULES,
        "show all there is to say of a schedule",
        "titan schedule show nightly",
        of_schedules.schedule,
        "commands_schedule:show",
        completes="schedules",
    ),
    Command(
        "schedule next",
        SCHEDULES,
        "tell when a schedule, or an expression, is due next",
        'titan schedule next --cron "0 2 * * 1-5" --timezone Europe/Berlin -n 5',
        of_schedules.next_fires,
        "commands_schedule:next_fires",
        completes="schedules",
    ),
    Command(
        "schedule history",
        SCHEDULES,
        "tell what became of the fires of a schedule",
        "titan schedule history nightly --outcome MISSED",
        of_schedules.history,
        "commands_schedule:history",
        completes="schedules",
    ),
    Command(
        "schedule trigger",
        SCHEDULES,
        "fire a schedule now",
        "titan schedule trigger nightly --wait",
        of_schedules.trigger,
        "commands_schedule:trigger",
        completes="schedules",
    ),
    Command(
        "schedule pause",
        SCHEDULES,
        "let a schedule start nothing",
        'titan schedule pause nightly --reason "the database is moved"',
        of_schedules.pause,
        "commands_schedule:pause",
        completes="schedules",
    ),
    Command(
        "schedule resume",
        SCHEDULES,
        "let it start runs again",
        "titan schedule resume nightly",
        of_schedules.schedule,
        "commands_schedule:resume",
        completes="schedules",
    ),
    Command(
        "schedule backfill",
        SCHEDULES,
        "run what was due in the past and has not run",
        "titan schedule backfill nightly --from 2026-11-01 --to 2026-11-08 --wait",
        of_schedules.backfill,
        "commands_schedule:backfill",
        completes="schedules",
    ),
    Command(
        "schedule rm",
        SCHEDULES,
        "remove a schedule; its runs go on",
        "titan schedule rm nightly",
        of_schedules.schedule,
        "commands_schedule:rm",
        completes="schedules",
    ),
)
