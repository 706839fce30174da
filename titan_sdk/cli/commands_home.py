"""The commands for all that a master keeps, its home: backup, check."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from titan_sdk.cli.exits import Exit
from titan_sdk.cli.text import clean, plural, size
from titan_sdk.cli.transfer_progress import TransferProgress

if TYPE_CHECKING:
    from titan_core.protocol.messages import CheckReport
    from titan_sdk.cli.context import Context


def backup(context: Context) -> int:
    """Write a backup of the running master into a file, which appears once it is whole, or to stdout."""
    options, out = context.options, context.out
    if options.target == "-":
        out.stdout.flush()
        context.client.backup(out.stdout.buffer)
        return Exit.OK
    target = Path(options.target)
    _check_free(target, options.force)
    out.say("the master copies its database; then the backup is sent")
    with TransferProgress(out, target.name) as progress:
        count = context.client.backup(target, progress)
    out.done(f"{target}  {size(count)}", [str(target)], {"target": str(target), "size": count})
    out.say(f"to go on elsewhere: tar xf {target} -C HOME, and start a master there; the token is not in it")
    return Exit.OK


def _check_free(target: Path, force: bool) -> None:
    from titan_sdk.errors import Conflict

    if target.exists() and not (force or target.is_dir()):
        raise Conflict(f"{target} exists already; name another file, or overwrite it with --force")


def check(context: Context) -> int:
    """Of the running master; with --home, or where none runs, of the home itself. Exit code 1 for problems."""
    from titan_sdk.errors import ConnectionFailed

    out, home = context.out, context.options.home
    if home:
        return _told(context, _check_home(Path(home)))
    try:
        return _told(context, context.client.check())
    except ConnectionFailed:
        home = os.environ.get("TITAN_HOME") or "."
        if context.options.master or not (Path(home) / ".titan" / "state.db").exists():
            raise
    out.say(f"no master runs; checking its home {Path(home).absolute()}")
    return _told(context, _check_home(Path(home)))


def _told(context: Context, report: CheckReport) -> int:
    out = context.out
    code = Exit.ERROR if report.problems else Exit.OK
    if out.json:
        out.record(report)
    elif not out.quiet:
        for problem in report.problems:
            out.line(clean(problem))
        verdict = plural(len(report.problems), "problem") + " found" if report.problems else "all is sound"
        out.line(
            f"{verdict}: {plural(report.runs, 'run')}, {plural(report.jobs, 'job')}, "
            f"{plural(report.attempts, 'attempt')} checked"
        )
    return code


def _check_home(home: Path) -> CheckReport:
    """What the program that ships with the master says of a home, whether a master runs there or not."""
    import json
    import subprocess
    import sys

    from titan_core.protocol.messages import CheckReport
    from titan_sdk.errors import ConfigError

    command = [sys.executable, "-m", "titan_core.store.check", str(home), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)
        return CheckReport(tuple(found["problems"]), found["runs"], found["jobs"], found["attempts"])
    except (ValueError, KeyError, TypeError):
        raise ConfigError(done.stderr.strip() or f"{home} can not be checked") from None
