"""The command table: what `titan` can do, shared by the shell and the `titan>` prompt.

A command is a row: its words of help, its arguments, and the function that carries it out, which is
imported when it is called.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from titan_sdk.cli import arguments
from titan_sdk.cli.command import Command
from titan_sdk.cli.schedule_table import SCHEDULE_ROWS, SCHEDULES

if TYPE_CHECKING:
    from titan_sdk.cli.context import Context


GROUPS = ("Run things", SCHEDULES, "Look", "Act", "Artifacts", "The home", "The program")
_RUN, _, _LOOK, _ACT, _FILES, _HOME, _PROGRAM = GROUPS

_ROWS = (
    Command(
        "apply",
        _RUN,
        "submit a pipeline: a YAML file, a directory, or stdin",
        "titan apply pipeline/ --wait",
        arguments.apply,
        "commands_submit:apply",
        completes="files",
    ),
    Command(
        "run",
        _RUN,
        "run one file as a job",
        "titan run train.py GPU --wait -- --epochs 3",
        arguments.run,
        "commands_submit:run",
        program_args=True,
        completes="files",
    ),
    Command(
        "deploy",
        _RUN,
        "keep one file running as a service; or apply a pipeline",
        "titan deploy server.py 9100",
        arguments.deploy,
        "commands_submit:deploy",
        program_args=True,
        completes="files",
    ),
    Command(
        "dag",
        _RUN,
        "submit a graph written in the text form",
        'titan dag "A|RUN_PAYLOAD|a.py|cHJpbnQoMSk=|GENERAL|1|0|[]"',
        arguments.words,
        "commands_submit:dag",
    ),
    Command(
        "submit",
        _RUN,
        "submit one job in the text form, or a file",
        'titan submit "hello.py|5|1000"',
        arguments.words,
        "commands_submit:submit",
        completes="files",
    ),
    *SCHEDULE_ROWS,
    Command(
        "ls",
        _LOOK,
        "list runs, or the jobs of one",
        "titan ls --state RUNNING",
        arguments.ls,
        "commands_look:ls",
        completes="runs",
    ),
    Command(
        "status",
        _LOOK,
        "show a run, a job, or the cluster",
        "titan status last",
        arguments.optional_key,
        "commands_look:status",
        completes="keys",
    ),
    Command(
        "logs",
        _LOOK,
        "print what a job has written",
        "titan logs -f extract",
        arguments.logs,
        "commands_wait:logs",
        completes="jobs",
    ),
    Command(
        "wait",
        _LOOK,
        "wait for the end of a run or a job",
        "titan wait last --timeout 5m",
        arguments.wait,
        "commands_wait:wait",
        completes="keys",
    ),
    Command(
        "explain",
        _LOOK,
        "say why a job is where it is",
        "titan explain train",
        arguments.job_key,
        "commands_look:explain",
        completes="jobs",
    ),
    Command(
        "events",
        _LOOK,
        "tell what happened to a run or a job, and why",
        "titan events last",
        arguments.events,
        "commands_wait:events",
        completes="keys",
    ),
    Command(
        "dlq",
        _LOOK,
        "list the dead letters: jobs that failed for good",
        "titan dlq -n 20",
        arguments.dlq,
        "commands_look:dlq",
    ),
    Command("workers", _LOOK, "list the workers", "titan workers", arguments.nothing, "commands_look:workers"),
    Command(
        "services",
        _LOOK,
        "list the services, or the instances of one",
        "titan services server",
        arguments.services,
        "commands_services:services",
        completes="services",
    ),
    Command(
        "dashboard",
        _LOOK,
        "show the cluster in the browser, until Ctrl-C",
        "titan dashboard --port 5000",
        arguments.dashboard,
        "commands_dashboard:dashboard",
    ),
    Command("stats", _LOOK, "print the system monitor", "titan stats", arguments.nothing, "commands_look:stats"),
    Command(
        "json", _LOOK, "print the cluster in JSON", "titan json", arguments.nothing, "commands_look:cluster_json"
    ),
    Command(
        "cancel",
        _ACT,
        "cancel a job or a run, with what depends on it",
        "titan cancel last",
        arguments.cancel,
        "commands_act:cancel",
        completes="keys",
    ),
    Command(
        "retry",
        _ACT,
        "run dead or cancelled jobs again",
        "titan retry last/load",
        arguments.retry,
        "commands_act:retry",
        completes="keys",
    ),
    Command(
        "start",
        _ACT,
        "start a service that was stopped, or rests in its crash loop",
        "titan start server --wait",
        arguments.start,
        "commands_services:start",
        completes="services",
    ),
    Command(
        "stop",
        _ACT,
        "stop a service",
        "titan stop server",
        arguments.some_services,
        "commands_services:stop",
        completes="services",
    ),
    Command(
        "restart",
        _ACT,
        "restart a service, one instance after the other",
        "titan restart server --wait",
        arguments.start,
        "commands_services:restart",
        completes="services",
    ),
    Command(
        "scale",
        _ACT,
        "say how many instances a service is to have",
        "titan scale server 3 --wait",
        arguments.scale,
        "commands_services:scale",
        completes="services",
    ),
    Command(
        "update",
        _ACT,
        "replace the definition of a service, one instance after the other",
        "titan update server server.py auto --wait",
        arguments.update,
        "commands_services:update",
        program_args=True,
        completes="services",
    ),
    Command(
        "drain",
        _ACT,
        "give a worker no more jobs",
        "titan drain localhost:8081 --wait",
        arguments.drain,
        "commands_act:drain",
        completes="workers",
    ),
    Command(
        "shutdown",
        _ACT,
        "stop a worker",
        "titan shutdown localhost 8081",
        arguments.shutdown,
        "commands_act:shutdown",
        completes="workers",
    ),
    Command(
        "upload",
        _FILES,
        "put a file or a project into perm_files/",
        "titan upload train.py",
        arguments.upload,
        "commands_assets:upload",
        completes="files",
    ),
    Command(
        "fetch",
        _FILES,
        "get a file of perm_files/",
        "titan fetch report.csv out/",
        arguments.fetch,
        "commands_assets:fetch",
        completes="assets",
    ),
    Command("assets", _FILES, "list perm_files/", "titan assets", arguments.nothing, "commands_assets:assets"),
    Command(
        "backup",
        _HOME,
        "copy what the master needs to go on elsewhere into a file",
        "titan backup titan.tar",
        arguments.backup,
        "commands_home:backup",
        completes="files",
    ),
    Command(
        "check",
        _HOME,
        "check that what the master keeps is sound",
        "titan check",
        arguments.nothing,
        "commands_home:check",
    ),
    Command(
        "help",
        _PROGRAM,
        "explain a command",
        "titan help run",
        arguments.help_topic,
        "commands_program:show_help",
        completes="commands",
    ),
    Command("version", _PROGRAM, "print the version", "titan version", arguments.nothing, "commands_program:version"),
    Command("exit", _PROGRAM, "leave the prompt", "exit", arguments.nothing, "commands_program:leave"),
    Command("quit", _PROGRAM, "leave the prompt", "quit", arguments.nothing, "commands_program:leave"),
)

COMMANDS: dict[str, Command] = {row.name: row for row in _ROWS}
FAMILIES = tuple(dict.fromkeys(name.partition(" ")[0] for name in COMMANDS if " " in name))
"""First words of commands that have two."""


def named_by(words: Sequence[str]) -> Command | None:
    """The command that a line of these words is about."""
    length = 2 if words and words[0] in FAMILIES else 1
    return COMMANDS.get(" ".join(words[:length]))


def next_words(words: Sequence[str]) -> list[str]:
    """What may follow these words in the name of a command."""
    names = (name.split() for name in COMMANDS)
    begun = (name for name in names if len(name) > len(words) and name[: len(words)] == list(words))
    return list(dict.fromkeys(name[len(words)] for name in begun))


def handler(command: Command) -> Callable[[Context], int]:
    """The function that carries the command out."""
    module, _, name = command.function.partition(":")
    return cast("Callable[[Context], int]", getattr(importlib.import_module(f"titan_sdk.cli.{module}"), name))
