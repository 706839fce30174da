"""The arguments of each command, and what their values may be.

Functions that take a command's parser and add to it. Values that argparse turns into numbers or
pairs are checked here, so that a slip is answered with usage (exit code 2) before anything is dialled.
"""

from __future__ import annotations

import argparse
import re
from argparse import ArgumentParser

from titan_sdk.cli.states import JOB_STATES, RESTARTS, RUN_STATES

_NUMBER = re.compile(r"-?\d+(\.\d*)?")


def seconds(text: str) -> float:
    """A duration from 0: `90`, `1.5`, `250ms`, `10s`, `5m`, `2h`, `1d`; in seconds."""
    from titan_sdk import fields

    try:
        value = fields.seconds(float(text) if _NUMBER.fullmatch(text) else text)
    except fields.WrongType:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a duration: use seconds, or 500ms, 2s, 5m, 1h, 1d"
        ) from None
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} must not be negative")
    return value


def given(text: str) -> str:
    """A text that says something. An empty path would mean the current directory."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty; is a variable of the shell not set?")
    return text


def count(text: str) -> int:
    """A whole number from 1."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def number(text: str) -> int:
    """A whole number from 0."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: use a number from 1 to 65535")
    return int(text)


def service_port(text: str) -> int | str:
    """A port, or `auto`."""
    if text == "auto":
        return text
    try:
        return port(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or auto") from None


def memory(text: str) -> int:
    """Bytes, also as `300M` or `1.5G`."""
    from titan_sdk import fields

    try:
        return fields.memory(text)
    except fields.WrongType as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: it {error}") from None


def variable(text: str) -> tuple[str, str]:
    """`NAME=value` as a pair."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not a variable: use NAME=value")
    return name, value


# ── for every command ─────────────────────────────────────────────────────────────────────────────


def everywhere(parser: ArgumentParser, default: object) -> None:
    """The flags every command takes. `default` argparse.SUPPRESS keeps what was said before the command."""
    group = parser.add_argument_group("everywhere")

    def text(name: str, metavar: str, help: str) -> None:
        group.add_argument(name, metavar=metavar, help=help, default=default)

    def flag(*names: str, help: str) -> None:
        group.add_argument(*names, action="store_true", help=help, default=default or False)

    text("--master", "HOST:PORT", "where the master listens (default: TITAN_MASTER, the home's, localhost:9090)")
    text("--token-file", "FILE", "file with the master's token (default: TITAN_TOKEN, the home's)")
    text("--home", "DIR", "the master's home (default: TITAN_HOME, or the current directory)")
    flag("--json", help="print JSON; JSON Lines where there is a stream")
    flag("-q", "--quiet", help="print ids only, and no talk")
    flag("--no-color", help="no colours (NO_COLOR does the same)")


def nothing(parser: ArgumentParser) -> None:
    """For commands without arguments."""


# ── looking ───────────────────────────────────────────────────────────────────────────────────────


def ls(parser: ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", type=given, metavar="RUN", help="list the jobs of this run instead of runs")
    parser.add_argument("--jobs", action="store_true", help="list jobs of all runs: those that are not final")
    states = tuple(dict.fromkeys((*RUN_STATES, *JOB_STATES)))
    told = "only in this state; one that only jobs have lists jobs"
    parser.add_argument("--state", type=str.upper, default="", choices=states, metavar="STATE", help=told)
    parser.add_argument("--name", default="", help="only names (of runs; in a run, of jobs) that begin so")
    parser.add_argument("-n", dest="limit", type=count, metavar="COUNT", help="at most so many")


def optional_key(parser: ArgumentParser) -> None:
    parser.add_argument("key", nargs="?", type=given, metavar="KEY", help="a run or a job; without it, the cluster")


def job_key(parser: ArgumentParser) -> None:
    parser.add_argument(
        "key", type=given, metavar="JOB", help="RUN/JOB, a job id (in the newest run that has it), or 'last'"
    )


def key(parser: ArgumentParser) -> None:
    parser.add_argument(
        "key", type=given, metavar="KEY", help="a run, RUN/JOB, a job id, 'last', or a unique beginning"
    )


def cancel(parser: ArgumentParser) -> None:
    key(parser)
    parser.add_argument("--reason", default="", help="kept with the job")


def logs(parser: ArgumentParser) -> None:
    job_key(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the job is over")
    parser.add_argument("-n", dest="lines", type=number, metavar="LINES", help="only the last so many lines")
    parser.add_argument(
        "--attempt", type=number, default=0, metavar="N", help="of this attempt (default: the latest)"
    )


def wait(parser: ArgumentParser) -> None:
    key(parser)
    parser.add_argument("--timeout", type=seconds, metavar="SECONDS", help="give up after so long (exit code 6)")


def dlq(parser: ArgumentParser) -> None:
    parser.add_argument(
        "-n", "--limit", dest="limit", type=count, default=200, metavar="COUNT", help="at most so many (default: 200)"
    )


def events(parser: ArgumentParser) -> None:
    key(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on until it is over")


def help_topic(parser: ArgumentParser) -> None:
    parser.add_argument("topic", nargs="*", metavar="COMMAND", help="the command to explain, in one word or two")


def dashboard(parser: ArgumentParser) -> None:
    told = "address to listen on (default: 127.0.0.1, this machine only)"
    parser.add_argument("--host", type=given, metavar="ADDRESS", help=told)
    parser.add_argument("--port", type=number, metavar="PORT", help="port to listen on (default: 5000)")
    told = "receive what jobs print on this UDP port (default: a free one)"
    parser.add_argument("--udp-port", type=number, metavar="PORT", help=told)
    parser.add_argument("--read-only", action="store_true", help="offer no actions, and refuse them")
    told = "a further name browsers may use for it; may be repeated"
    parser.add_argument("--allow-host", type=given, action="append", default=[], metavar="NAME", help=told)
    parser.add_argument("--threads", type=count, metavar="N", help="answer so many requests at once (default: 16)")


# ── submitting ────────────────────────────────────────────────────────────────────────────────────


def run(parser: ArgumentParser) -> None:
    parser.add_argument("file", type=given, metavar="FILE", help="a local file, or one of the master's perm_files/")
    parser.add_argument("capability", nargs="?", metavar="CAPABILITY", help="same as --requirement")
    _job_fields(parser)
    parser.add_argument("--wait", action="store_true", help="show its log, and exit with its exit code")


def deploy(parser: ArgumentParser) -> None:
    told = "the service's file; a pipeline (YAML or DIR) is applied; 'worker' is one more worker"
    parser.add_argument("file", type=given, metavar="FILE|DIR|worker", help=told)
    parser.add_argument("port", nargs="?", type=service_port, metavar="PORT|auto", help="the port it listens on")
    parser.add_argument("capability", nargs="?", metavar="CAPABILITY", help="same as --requirement")
    _job_fields(parser)
    _service_fields(parser).add_argument("--instances", type=count, default=1, metavar="N", help="how many of it")
    _deploy_wait(parser)


def update(parser: ArgumentParser) -> None:
    service(parser)
    told = "its new file, or a pipeline (YAML or DIR) that has a job of its id"
    parser.add_argument("file", type=given, metavar="FILE|DIR", help=told)
    told = "the port it listens on (default: as before)"
    parser.add_argument("port", nargs="?", type=service_port, metavar="PORT|auto", help=told)
    execution_fields(
        parser.add_argument_group("the new definition: what is not said here has its default, not its old value")
    )
    _service_fields(parser)
    _deploy_wait(parser)


def _job_fields(parser: ArgumentParser) -> None:
    fields = parser.add_argument_group("the job")
    fields.add_argument("--name", help="its id, with which the run id begins (default: the file's name)")
    fields.add_argument("--delay", type=seconds, default=0.0, metavar="SECONDS", help="wait so long before it")
    execution_fields(fields)


def execution_fields(fields: argparse._ArgumentGroup) -> None:
    fields.add_argument("--requirement", metavar="CAPABILITY", help="only on workers with it (default: GENERAL)")
    fields.add_argument("--priority", type=int, default=1, help="higher goes first (default: 1)")
    fields.add_argument("--args", default="", metavar="WORDS", help="its arguments, split as a shell would")
    fields.add_argument("--env", type=variable, action="append", default=[], metavar="K=V", help="may be repeated")
    fields.add_argument(
        "--timeout", type=seconds, default=0.0, metavar="SECONDS", help="kill an attempt after so long"
    )
    fields.add_argument("--retries", type=number, default=0, metavar="N", help="try again so often when it fails")
    fields.add_argument(
        "--retry-backoff", type=seconds, default=1.0, metavar="SECONDS", help="before the first retry"
    )
    fields.add_argument("--max-attempts", type=number, default=0, metavar="N", help="1: at most once, come what may")
    fields.add_argument("--stop-grace", type=seconds, default=10.0, metavar="SECONDS", help="from SIGTERM to SIGKILL")


def _service_fields(parser: ArgumentParser) -> argparse._ArgumentGroup:
    fields = parser.add_argument_group("the service")
    told = "when it has ended: always, on-failure or never (default: always)"
    fields.add_argument("--restart", choices=RESTARTS, metavar="WHEN", default="always", help=told)
    fields.add_argument("--health-http", metavar="PATH", help="ready when a GET of this path on its port succeeds")
    fields.add_argument("--health-command", metavar="WORDS", help="ready when this exits with 0")
    told = "so many failed checks in a row restart it (default: 3)"
    fields.add_argument("--unhealthy-after", type=count, default=3, metavar="N", help=told)
    told = "restart it when it is not ready after so long (default: 60)"
    fields.add_argument("--ready-timeout", type=seconds, default=60.0, metavar="SECONDS", help=told)
    fields.add_argument(
        "--min-uptime", type=seconds, default=10.0, metavar="SECONDS", help="a good run (default: 10)"
    )
    fields.add_argument("--max-memory", type=memory, default=0, metavar="BYTES", help="restart it beyond, e.g. 300M")
    return fields


def _deploy_wait(parser: ArgumentParser) -> None:
    parser.add_argument("--wait", action="store_true", help="until it is ready")
    told = "wait no longer (exit code 6)"
    parser.add_argument("--wait-timeout", dest="patience", type=seconds, metavar="SECONDS", help=told)


def apply(parser: ArgumentParser) -> None:
    parser.add_argument("path", type=given, metavar="FILE|DIR|-", help="a pipeline in YAML; '-' reads it from stdin")
    parser.add_argument("--wait", action="store_true", help="show its progress until it is over")
    parser.add_argument("--no-update", action="store_true", help="refuse to change a schedule that exists")


def words(parser: ArgumentParser) -> None:
    parser.add_argument("words", nargs="+", metavar="DEFINITION", help="in the text form; quote it in a shell")


# ── acting ────────────────────────────────────────────────────────────────────────────────────────


def retry(parser: ArgumentParser) -> None:
    parser.add_argument("key", nargs="?", type=given, metavar="KEY", help="a job, or a run: then all such jobs of it")
    parser.add_argument("--all-dead", action="store_true", help="every DEAD job there is")


def drain(parser: ArgumentParser) -> None:
    parser.add_argument("worker", type=given, metavar="WORKER", help="HOST:PORT, or its port alone")
    parser.add_argument("--undo", action="store_true", help="give it jobs again")
    parser.add_argument("--wait", action="store_true", help="until no job runs there any more")
    parser.add_argument("--timeout", type=seconds, metavar="SECONDS", help="wait no longer (exit code 6)")


def service(parser: ArgumentParser) -> None:
    parser.add_argument("key", type=given, metavar="SERVICE", help="the service's key or job id")


def services(parser: ArgumentParser) -> None:
    told = "the services of this run, or the instances of this service"
    parser.add_argument("key", nargs="?", type=given, metavar="RUN|SERVICE", help=told)


def some_services(parser: ArgumentParser) -> None:
    parser.add_argument("key", type=given, metavar="SERVICE|RUN", help="a service, or every service of a run")


def start(parser: ArgumentParser) -> None:
    some_services(parser)
    _ready_wait(parser)


def scale(parser: ArgumentParser) -> None:
    service(parser)
    parser.add_argument("instances", type=count, metavar="N", help="how many instances it is to have")
    _ready_wait(parser)


def _ready_wait(parser: ArgumentParser) -> None:
    parser.add_argument("--wait", action="store_true", help="until it is ready")
    told = "wait no longer (exit code 6)"
    parser.add_argument("--timeout", dest="patience", type=seconds, metavar="SECONDS", help=told)


def shutdown(parser: ArgumentParser) -> None:
    parser.add_argument("host", metavar="HOST[:PORT]", help="the worker's host; with its port, or its port alone")
    parser.add_argument("port", nargs="?", type=port, metavar="PORT", help="the worker's port")
    parser.add_argument("--force", action="store_true", help="also a permanent worker")
    parser.add_argument("--now", action="store_true", help="do not wait for its jobs; they are made again elsewhere")


def upload(parser: ArgumentParser) -> None:
    parser.add_argument("path", type=given, metavar="FILE|DIR", help="a directory is zipped")
    parser.add_argument("name", nargs="?", metavar="NAME", help="its name in perm_files/ (default: its own)")


def fetch(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="as `titan assets` lists it")
    parser.add_argument("target", nargs="?", metavar="TARGET", help="file or directory; '-' is stdout (default: .)")
    parser.add_argument("--force", action="store_true", help="overwrite a file that exists")


# ── the home ──────────────────────────────────────────────────────────────────────────────────────


def backup(parser: ArgumentParser) -> None:
    parser.add_argument("target", type=given, metavar="FILE", help="a tar archive to make; '-' is stdout")
    parser.add_argument("--force", action="store_true", help="overwrite a file that exists")
