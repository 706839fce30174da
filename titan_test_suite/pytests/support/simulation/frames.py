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
    port: int
    """The fixed one of a service; 0 = none."""
    args: tuple[str, ...]


class Stop(NamedTuple):
    token: bytes


class Acknowledge(NamedTuple):
    token: bytes


class ShutDown(NamedTuple):
    pass


class Result(NamedTuple):
    report: AttemptReport


class Ready(NamedTuple):
    token: bytes
    port: int


class Spawn(NamedTuple):
    """Another worker, beside this one."""

    port: int
    capabilities: tuple[str, ...]
    ephemeral: bool


class NotSpawned(NamedTuple):
    port: int
    reason: str


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
    | Ready
    | Spawn
    | NotSpawned
    | Goodbye
    | Trouble
    | Beat
)
