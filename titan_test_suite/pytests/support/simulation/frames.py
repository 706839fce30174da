"""What master and worker say to each other in the simulation: a session, as far as the core cares."""

from __future__ import annotations

from typing import NamedTuple

from titan_core.scheduler.events import AttemptReport
from titan_core.scheduler.model import WorkerInfo


class Register(NamedTuple):
    info: WorkerInfo
    running: tuple[bytes, ...]
    finished: tuple[AttemptReport, ...]


class Registered(NamedTuple):
    term: int
    adopted: tuple[bytes, ...]


class Refused(NamedTuple):
    reason: str


class Start(NamedTuple):
    token: bytes
    key: str
    number: int
    service: bool


class Stop(NamedTuple):
    token: bytes


class Acknowledge(NamedTuple):
    token: bytes


class ShutDown(NamedTuple):
    pass


class Result(NamedTuple):
    report: AttemptReport


class Started(NamedTuple):
    token: bytes


class Goodbye(NamedTuple):
    pass


class Trouble(NamedTuple):
    text: str


class Beat(NamedTuple):
    """Of the worker: what it runs. Of the master: what of that it is to end."""

    tokens: tuple[bytes, ...]


Frame = (
    Register
    | Registered
    | Refused
    | Start
    | Stop
    | Acknowledge
    | ShutDown
    | Result
    | Started
    | Goodbye
    | Trouble
    | Beat
)
