"""From a file to the command that runs it, and from a refusal of the system to a sentence.

    .py   the worker's Python, unbuffered        .jar  java -jar
    .sh   /bin/bash                              else  the file itself, which must be a program

Raises InvalidRequest for what can never run here; the sentence says what to do about it.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
from pathlib import Path

from titan_core.errors import InvalidRequest
from titan_core.protocol.checks import is_program, shown

BASH = "/bin/bash"
_ELF = b"\x7fELF"
_ZIP = b"PK\x03\x04"
_HEAD_BYTES = 256


def command_for(script: str, args: tuple[str, ...], environment: dict[str, str]) -> list[str]:
    """The command that runs the file `script` (an absolute path)."""
    if script.endswith(".py"):
        return [sys.executable, "-u", script, *args]
    if script.endswith(".sh"):
        return [BASH, script, *args]
    if script.endswith(".jar"):
        return [_java(environment, script), "-jar", script, *args]
    return [script, *args]


def check_content(name: str, head: bytes) -> None:
    """Whether a file that begins with `head` can be run at all."""
    if not head:
        raise InvalidRequest(f"{shown(name)} is empty: there is nothing to run")
    if is_program(name) and head.startswith(_ZIP):
        raise InvalidRequest(f"{shown(name)} is an archive: name the file in it that is to run, as {name}/main.py")
    if is_program(name) and not head.startswith((b"#!", _ELF)):
        raise InvalidRequest(
            f"{shown(name)} is not a program: give it the ending .py, .sh or .jar, "
            "or a first line that names its interpreter, such as #!/bin/sh"
        )


def check_executable(path: str, name: str) -> None:
    """Whether a program inside an archive may be executed."""
    if is_program(name) and not os.access(path, os.X_OK):
        raise InvalidRequest(f"{shown(name)} has no execute bit: run 'chmod +x {name}' and submit it again")


def explain(error: OSError, command: list[str], name: str) -> InvalidRequest | None:
    """Why the system made no process of the command; None when that is not the job's fault."""
    if error.errno == errno.ENOENT:
        return InvalidRequest(_missing(command, name))
    if error.errno == errno.EACCES:
        return InvalidRequest(f"{shown(name)} can not be executed: the system denies it ({_interpreter(command[0])})")
    if error.errno == errno.ENOEXEC:
        return InvalidRequest(f"{shown(name)} is not a program that this machine can run")
    if error.errno == errno.E2BIG:
        return InvalidRequest(
            f"the arguments and variables of {shown(name)} are too long for the system; pass a file"
        )
    return None


def _missing(command: list[str], name: str) -> str:
    if not Path(command[0]).exists():
        return f"{shown(name)} needs {command[0]}, which is not on this worker"
    interpreter = _interpreter(command[0])
    if interpreter.endswith("\r"):
        return f"the first line of {shown(name)} ends in a carriage return: save the file with Unix line ends"
    return f"{shown(name)} asks for {interpreter} in its first line, which is not on this worker"


def _interpreter(path: str) -> str:
    """What the first line of a script names; the path itself when it is no script."""
    with open(path, "rb") as file:
        line = file.read(_HEAD_BYTES).split(b"\n", 1)[0]
    words = line[2:].split(b" ") if line.startswith(b"#!") else []
    return next((os.fsdecode(word) for word in words if word), path)


def _java(environment: dict[str, str], script: str) -> str:
    home = environment.get("JAVA_HOME")
    java = shutil.which(f"{home}/bin/java") if home else None
    java = java or shutil.which("java", path=environment["PATH"])
    if java is None:
        raise InvalidRequest(
            f"{shown(Path(script).name)} needs java, which is not on this worker: install a JRE there, "
            "or start the worker with JAVA_HOME or a PATH that leads to one"
        )
    return java
