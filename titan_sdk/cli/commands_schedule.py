"""The commands for schedules: `schedule add`, `ls`, `show`, `next`, `history`, `trigger`, `pause`, …

Ctrl-C while waiting ends the waiting only; what was asked for goes on.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from titan_sdk.cli import rows, schedule_rows
from titan_sdk.cli.exits import Exit
from titan_sdk.cli.text import clean, plural, span

if TYPE_CHECKING:
    from titan_core.protocol.messages import Backfilled, FireStatus, SchedulePut, ScheduleStatus, Timing
    from titan_sdk.cli.context import Context
    from titan_sdk.jobs import TitanJob

_SAID = (
    "cron",
    "every",
    "at",
    "timezone",
    "seconds",
    "jitter",
    "start",
    "end",
    "paused",
    "overlap",
    "catch_up",
    "catch_up_window",
    "on_missed",
    "on_failure",
)
"""Options that are fields of a schedule."""
_TIMES = ("cron", "every", "at")
_OF_THE_JOB = (
    "name",
    "delay",
    "requirement",
    "priority",
    "args",
    "env",
    "timeout",
    "retries",
    "retry_backoff",
    "max_attempts",
    "stop_grace",
)
"""Options that are fields of a single job."""


# ── making ────────────────────────────────────────────────────────────────────────────────────────


def add(context: Context) -> int:
    """Make a schedule, or change it: for a file, or for the jobs of a pipeline."""
    from titan_sdk.cli.commands_submit import is_pipeline, run_job
    from titan_sdk.errors import ConfigError
    from titan_sdk.pipeline import load

    options, client = context.options, context.client
    fields, update = _fields(context), not options.no_update
    path = options.file or options.schedule
    if not is_pipeline(path):
        if not options.file:
            raise ConfigError(f"say what {path} is to run: titan schedule add {path} FILE")
        if not any(name in fields for name in _TIMES):
            raise ConfigError("say when it is due: --cron, --every or --at")
        return told(context, client.schedule(options.schedule, run_job(context), update=update, **fields))
    _refuse_flags_of_a_job(context)
    pipeline = load(path)
    name = options.schedule if options.file else pipeline.name
    return told(context, client.schedule(name, pipeline, update=update, **fields))


def told(context: Context, put: SchedulePut) -> int:
    """Say what became of a schedule that was put."""
    out, name = context.out, put.schedule.name
    out.done(name, [name], put)
    verb = f"{put.outcome} schedule {name}" if put.outcome != "unchanged" else f"schedule {name} is unchanged"
    out.say(f"{verb}; {_coming(put.schedule)}")
    for change in put.changes:
        out.say(f"  {change}")
    return Exit.OK


def _coming(schedule: ScheduleStatus) -> str:
    """`next: 2026-11-26 02:00 CET (01:00 UTC)`."""
    paused = "it is PAUSED; " if schedule.state == "PAUSED" else ""
    if not schedule.next_wall:
        return paused + "nothing is due any more"
    return f"{paused}next: {schedule_rows.slot(schedule.next_wall, schedule.timing.timezone)}"


def _fields(context: Context) -> dict[str, Any]:
    """What the options say of the schedule."""
    fields = {name: value for name in _SAID if (value := getattr(context.options, name, None)) is not None}
    return {name: _who(value) if name.startswith("on_") else value for name, value in fields.items()}


def _who(text: str) -> str | TitanJob:
    """A URL, or the job that runs a file: one that is here, else what a pipeline there would mean by it."""
    from titan_sdk.jobs import TitanJob

    if "://" in text:
        return text
    archive, is_archive, _ = text.partition(".zip/")
    here = Path(f"{archive}.zip" if is_archive else text).exists()
    return TitanJob(filename=Path(text).absolute() if here else text, is_archive=bool(is_archive))


def _refuse_flags_of_a_job(context: Context) -> None:
    from titan_sdk.cli.command_table import COMMANDS
    from titan_sdk.cli.parsing import command_parser
    from titan_sdk.errors import ConfigError

    options, parser = context.options, command_parser(COMMANDS[context.options.command])
    given = [name for name in _OF_THE_JOB if getattr(options, name) != parser.get_default(name)]
    flags = [f"--{name.replace('_', '-')}" for name in given]
    flags += [str(word) for word in (options.capability, *options.program_args[:1]) if word]
    if flags:
        raise ConfigError(f"{flags[0]} is for a single file; the jobs of a pipeline say it themselves")


# ── looking ───────────────────────────────────────────────────────────────────────────────────────


def ls(context: Context) -> int:
    found = context.client.schedules()
    columns = rows.filled(found, schedule_rows.SCHEDULES)
    context.out.listing(found, lambda schedule: schedule.name, columns, "schedules")
    return Exit.OK


def show(context: Context) -> int:
    out, schedule = context.out, context.client.get_schedule(context.options.schedule)
    if out.json or out.quiet:
        out.done("", [schedule.name], schedule)
        return Exit.OK
    for name, value in schedule_rows.facts(schedule):
        if value:
            out.line(f"{name:<12} {clean(value)}")
    out.line()
    out.listing(schedule.jobs, lambda job: job.job_id, rows.filled(schedule.jobs, schedule_rows.JOBS), "jobs")
    return Exit.OK


def next_fires(context: Context) -> int:
    """When a schedule is due next, or one would be that is described by flags."""
    from titan_sdk.schedules import next_fires

    out = context.out
    timing = _timing(context)
    found = next_fires(timing, context.options.limit)
    if out.json:
        out.record([schedule_rows.record(due) for due in found])
        return Exit.OK
    out.listing(found, schedule_rows.stamp, rows.filled(found, schedule_rows.UPCOMING), "further fires")
    if found and timing.jitter_s:
        out.say(f"each is put off by up to {schedule_rows.period(timing.jitter_s)} (jitter)")
    return Exit.OK


def _timing(context: Context) -> Timing:
    from titan_sdk.errors import ConfigError

    fields = _fields(context)
    if bool(fields) == bool(context.options.schedule):
        raise ConfigError("name a schedule, or say when with --cron, --every or --at")
    if not fields:
        schedule = context.client.get_schedule(context.options.schedule)
        if schedule.state == "PAUSED":
            context.out.say(f"{schedule.name} is PAUSED: nothing of this will run until it is resumed")
        return schedule.timing
    from titan_sdk.schedule_fields import schedule_of

    return schedule_of(fields).timing()


def history(context: Context) -> int:
    """What became of the fires, newest first."""
    options, out = context.options, context.out
    fires = context.client.schedule_history(options.schedule, options.limit, outcome=options.outcome)
    shown = [fire for fire in fires if fire.run_id] if out.quiet else fires
    out.listing(shown, lambda fire: fire.run_id, rows.filled(shown, schedule_rows.FIRES), "such fires")
    if len(fires) == options.limit:
        out.say(f"the newest {len(fires)}; -n shows more")
    return Exit.OK


# ── acting ────────────────────────────────────────────────────────────────────────────────────────


def pause(context: Context) -> int:
    return _changed(context, context.client.pause_schedule(context.options.schedule, context.options.reason))


def resume(context: Context) -> int:
    return _changed(context, context.client.resume_schedule(context.options.schedule))


def _changed(context: Context, schedule: ScheduleStatus) -> int:
    reason = f" ({schedule.reason})" if schedule.reason else ""
    coming = "" if schedule.state == "PAUSED" else f"; {_coming(schedule)}"
    context.out.done(f"{schedule.name} is {schedule.state}{reason}{coming}", [schedule.name], schedule)
    return Exit.OK


def rm(context: Context) -> int:
    from titan_sdk.cli.commands_act import done

    return done(context, context.client.remove_schedule(context.options.schedule))


def trigger(context: Context) -> int:
    """Fire a schedule now; with --wait, follow its run to its end."""
    fire = context.client.trigger_schedule(context.options.schedule)
    if context.options.wait:
        return _follow(context, fire)
    if fire.outcome not in ("RAN", "QUEUED"):
        context.out.warn(f"it was {fire.outcome}: {fire.reason}")
        return Exit.ERROR
    _tell_run(context, fire)
    if fire.outcome == "QUEUED":
        context.out.say(_queued(fire))
    else:
        context.out.say(f"accepted; follow it with: titan wait {fire.run_id}")
    return Exit.OK


def _follow(context: Context, fire: FireStatus) -> int:
    """Show the progress of the run of a fire, once it has begun, until it is over."""
    from titan_sdk.cli.commands_wait import follow_run

    out = context.out
    if fire.outcome == "QUEUED":
        out.say(_queued(fire))
        try:
            fire = context.client.wait_fire(fire)
        except KeyboardInterrupt:
            return _left(context, f"it stays queued; look at it with: titan schedule history {fire.schedule}")
    if fire.outcome != "RAN":
        out.done(f"no run has begun: {fire.outcome}" + (f", {fire.reason}" if fire.reason else ""), [], fire)
        return Exit.ERROR
    if not out.json:
        _tell_run(context, fire)
    return follow_run(context, fire.run_id)


def _tell_run(context: Context, fire: FireStatus) -> None:
    """The id of the run; of one that waits it may not be known yet."""
    if fire.run_id or context.out.json:
        context.out.done(fire.run_id, [fire.run_id], fire)
        context.out.stdout.flush()


def _queued(fire: FireStatus) -> str:
    return f"queued: {fire.reason or 'it begins when the runs before it are over'}"


def backfill(context: Context) -> int:
    """Make up for the past, or let nothing wait any more that is being made up for."""
    from titan_sdk.errors import ConfigError

    options, out = context.options, context.out
    asked = bool(options.first), bool(options.last)
    if options.cancel == any(asked) or asked[0] != asked[1] or (options.cancel and options.wait):
        raise ConfigError("say --from TIME and --to TIME, or --cancel alone")
    if options.cancel:
        answer = context.client.cancel_backfill(options.schedule)
    else:
        answer = context.client.backfill_schedule(options.schedule, options.first, options.last)
        if options.wait and answer.run_ids:
            return _wait_for_backfill(context, answer)
    out.done(answer.text, answer.run_ids, answer)
    return Exit.OK


def _wait_for_backfill(context: Context, answer: Backfilled) -> int:
    from titan_sdk.cli.schedule_progress import show, told

    out, name, count = context.out, context.options.schedule, len(answer.run_ids)
    out.say(answer.text)
    if context.client.get_schedule(name).state == "PAUSED":
        out.say(f"{name} is PAUSED: nothing of this begins until it is resumed")
    began = time.time()
    try:
        ended = show(out, context.client.watch_fires(name, answer.run_ids), count)
    except KeyboardInterrupt:
        return _left(context, f"the backfill goes on; end it with: titan schedule backfill {name} --cancel")
    if not out.json:
        took = span(began, time.time())
        out.done(f"{plural(count, 'run')} over: {told(ended)}, in {took}", answer.run_ids)
    return Exit.OK if set(ended) <= {"COMPLETED"} else Exit.ERROR


def _left(context: Context, told: str) -> int:
    """Ctrl-C: only the waiting ends."""
    context.connection.close()
    context.out.warn(told)
    return Exit.INTERRUPTED
