"""Every command line a user may type, read by the command table."""

from __future__ import annotations

import shlex

import pytest

from titan_core.protocol import checks
from titan_core.scheduler.states import JobState, RunState
from titan_sdk.cli import states
from titan_sdk.cli.command_table import COMMANDS, GROUPS, handler
from titan_sdk.cli.parsing import command_parser, overview, parser


def read(line: str):
    return parser().parse_args(shlex.split(line))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_carried_out_and_explained(name):
    assert callable(handler(COMMANDS[name]))
    text = command_parser(COMMANDS[name]).format_help()
    assert COMMANDS[name].example in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_the_overview_names_every_command():
    for name in COMMANDS:
        assert f"  {name} " in overview()
    assert {command.group for command in COMMANDS.values()} == set(GROUPS)


@pytest.mark.parametrize("line", ["--json ls", "ls --json", "ls last --json", "--json ls last"])
def test_flags_hold_wherever_they_stand(line):
    options = read(line)
    assert options.json and options.command == "ls" and not options.quiet


def test_a_flag_before_the_command_is_not_undone_by_the_command():
    options = read("--master here:1 --home /h -q status last --token-file t")
    assert (options.master, options.home, options.quiet, options.token_file) == ("here:1", "/h", True, "t")
    assert options.key == "last"


def test_words_and_options_mix():
    options = read("run train.py --wait GPU --priority -3 --env A=1 --env B=x=y")
    assert (options.file, options.capability, options.wait) == ("train.py", "GPU", True)
    assert (options.priority, options.env) == (-3, [("A", "1"), ("B", "x=y")])


def test_what_follows_two_dashes_belongs_to_the_program():
    options = read("run train.py --wait -- --epochs 3 -- x")
    assert options.program_args == ["--epochs", "3", "--", "x"]
    assert options.capability is None


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("1.5", 1.5), ("250ms", 0.25), ("5m", 300), ("2h", 7200)])
def test_durations(text, seconds):
    assert read(f"wait last --timeout {text}").timeout == seconds


def test_the_forms_of_the_text_commands():
    assert read("deploy server.py 9100 GPU").port == 9100
    assert read("shutdown localhost 8081").port == 8081
    assert read("shutdown localhost:8081 --force").force
    assert read("dag A|GENERAL|a.py|1|0|[] ; B|GENERAL|b.py|1|0|[A]").words[1] == ";"
    assert read("submit hello.py|5|1000").words == ["hello.py|5|1000"]
    assert read("upload train.py jobs/train.py").name == "jobs/train.py"
    assert read("apply -").path == "-"
    assert read("ls --state running").state == "RUNNING"


def test_the_forms_of_the_commands_for_services():
    assert read("deploy server.py auto GPU").port == "auto"
    assert read("deploy worker 8086 GPU").capability == "GPU"
    options = read("deploy a.py --restart on-failure --instances 3 --health-http /up --max-memory 300M --wait")
    assert (options.restart, options.instances, options.health_http) == ("on-failure", 3, "/up")
    assert (options.max_memory, options.wait, options.patience) == (300 << 20, True, None)
    options = read("deploy a.py --health-command 'test -e x' --min-uptime 1m --unhealthy-after 5 --ready-timeout 0")
    assert (options.health_command, options.min_uptime) == ("test -e x", 60)
    assert (options.unhealthy_after, options.ready_timeout) == (5, 0)
    options = read("update web new.py 9100 --wait --wait-timeout 1m --timeout 5 -- --debug")
    assert (options.key, options.file, options.port, options.patience) == ("web", "new.py", 9100, 60)
    assert (options.timeout, options.program_args) == (5, ["--debug"])
    assert read("scale web 3 --wait --timeout 5m").instances == 3
    assert (read("services").key, read("services web").key) == (None, "web")
    assert read("restart last/web --wait --timeout 1.5").patience == 1.5
    assert read("shutdown 8081 --now").now


def test_without_a_command_there_is_none():
    assert read("").command is None
    assert read("--version").command == "version"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("lss", "did you mean 'ls'?"),
        ("frobnicate", "there is no command 'frobnicate'"),
        ("ls --jsn", "unrecognized arguments: --jsn"),
        ("wait", "required: KEY"),
        ("wait last --timeout soon", "'soon' is not a duration"),
        ("wait last --timeout=-4", "must not be negative"),
        ("logs x -n many", "'many' is not a whole number from 0"),
        ("ls -n 0", "'0' is not a whole number from 1"),
        ("deploy a.py 99999", "'99999' is not a port"),
        ("deploy a.py any", "'any' is not a port: use a number from 1 to 65535, or auto"),
        ("deploy a.py --restart maybe", "invalid choice: 'maybe'"),
        ("deploy a.py --instances 0", "'0' is not a whole number from 1"),
        ("deploy a.py --max-memory lots", "'lots' is not a size: it must be a whole number of bytes"),
        ("run a.py --restart never", "unrecognized arguments: --restart"),
        ("update web", "required: FILE|DIR"),
        ("update web a.py --instances 3", "unrecognized arguments: --instances"),
        ("scale web", "required: N"),
        ("scale web 0", "'0' is not a whole number from 1"),
        ("restart web --timeout soon", "'soon' is not a duration"),
        ("services ''", "RUN|SERVICE: it is empty"),
        ("run a.py --env A", "'A' is not a variable: use NAME=value"),
        ("ls --state asleep", "invalid choice: 'ASLEEP'"),
        ("cancel a b", "unrecognized arguments: b"),
        ("workers -- x", "unrecognized arguments"),
        ("apply ''", "FILE|DIR|-: it is empty"),
        ("run '' GPU", "FILE: it is empty"),
        ("upload ' '", "FILE|DIR: it is empty"),
        ("cancel ''", "KEY: it is empty; is a variable of the shell not set?"),
    ],
)
def test_a_mistake_is_named_and_exits_with_2(line, said, capsys):
    with pytest.raises(SystemExit) as exit:
        read(line)
    assert exit.value.code == 2
    printed = capsys.readouterr()
    assert said in printed.err and "try: titan help" in printed.err
    assert printed.out == ""


def test_an_unknown_command_is_shown_without_its_control_characters(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["\x1b[2Jls"])
    assert "\x1b" not in capsys.readouterr().err


def test_the_words_of_the_commands_are_those_of_the_protocol():
    assert states.RESTARTS == checks.RESTARTS
    assert set(states.JOB_STATES) == {state.value for state in JobState}
    assert set(states.RUN_STATES) == {state.value for state in RunState}
