"""Who makes workers that this cluster has not, when the core asks for some, and is told when it stops one.

The scaler's decisions are carried out in one of three ways:

    inception   a worker starts another one beside it: an action of the core that is sent to that worker
                like others, with nothing to do here
    webhook     an HTTP POST, signed, to whoever can start machines or containers
    command     a program on the master's machine: `sbatch`, `kubectl`, a script

A provisioner is asked for workers, not for particular ones: that they came is seen when they register.

Knows nothing of the core, the engine and threads. `add` and `remove` block, and are called by the thread
`provisioner`, one at a time; `stop` by any thread.
"""

from __future__ import annotations

import logging
import re
import shlex
import threading
from collections.abc import Mapping, Sequence
from typing import Protocol

from titan_core.config import MasterConfig
from titan_core.errors import ConnectionFailed, ProvisioningFailed, RequestRefused
from titan_core.master.command import Command, Ending
from titan_core.master.webhook import Json, Webhook, one_line, read_secret
from titan_core.protocol.checks import shown

log = logging.getLogger("titan.master")

COMMAND_S = 60.0
"""What a command may take."""
LINES = 3
"""Of what a command has printed, on each stream, that are logged."""

_PLACEHOLDER = re.compile(r"\{(capability|count|worker)\}")
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:+%-]*")
"""What may stand in a command without meaning something else there: no option, and nothing a shell would act on."""


class Provisioner(Protocol):
    def add(self, capability: str, count: int) -> None:
        """Have `count` more workers with this capability made. Raises ProvisioningFailed."""

    def remove(self, worker_id: str, capability: str) -> None:
        """Say that this worker is being stopped. Raises ProvisioningFailed."""

    def stop(self) -> None:
        """End what blocks, and let nothing block any more. Idempotent."""


def make_provisioner(config: MasterConfig, cluster: bytes) -> Provisioner | None:
    """The one that is configured; None where there is nobody to ask. Raises ConfigError."""
    if config.provisioner == "webhook":
        return WebhookProvisioner(config.webhook_url, read_secret(config.webhook_secret_file), cluster)
    if config.provisioner == "command":
        return CommandProvisioner(config.provision_command, config.release_command)
    return None


# ── by HTTP ───────────────────────────────────────────────────────────────────────────────────────


class WebhookProvisioner:
    """Posts to `url` what is wanted; without a secret the calls are not signed."""

    def __init__(self, url: str, secret: bytes, cluster: bytes) -> None:
        self._webhook = Webhook(url, secret)
        self._cluster = cluster.hex()

    def add(self, capability: str, count: int) -> None:
        self._tell(action="add", capability=capability, count=count)

    def remove(self, worker_id: str, capability: str) -> None:
        self._tell(action="remove", worker=worker_id, capability=capability)

    def stop(self) -> None:
        self._webhook.stop()

    def _tell(self, **wanted: Json) -> None:
        try:
            self._webhook.post({**wanted, "cluster": self._cluster})
        except ConnectionFailed as error:
            raise ProvisioningFailed(f"{error}; look at webhook_url, and at what listens there") from None
        except RequestRefused as error:
            raise ProvisioningFailed(error.message) from None


# ── by a program ──────────────────────────────────────────────────────────────────────────────────


class CommandProvisioner:
    """Runs a command for what is wanted; without a `release_command`, nothing for a worker that is stopped.

    Both are split once, as a shell would: a value is filled into words and never makes one.
    """

    def __init__(self, command: str, release_command: str = "") -> None:
        self._words = shlex.split(command)
        self._release_words = shlex.split(release_command)
        self._command: Command | None = None
        self._stopping = threading.Event()

    def add(self, capability: str, count: int) -> None:
        self._run("provision command", self._words, {"capability": capability, "count": str(count)})

    def remove(self, worker_id: str, capability: str) -> None:
        if self._release_words:
            self._run("release command", self._release_words, {"worker": worker_id, "capability": capability})

    def stop(self) -> None:
        self._stopping.set()
        if self._command is not None:
            self._command.cut()

    def _run(self, kind: str, words: Sequence[str], values: Mapping[str, str]) -> None:
        name = f"{kind} `{words[0]}{' …' if words[1:] else ''}`"
        # As with a call: the command is there before the Event is looked at.
        self._command = Command(_filled(name, words, values), COMMAND_S)
        if self._stopping.is_set():
            self._command.cut()
        try:
            ending = self._command.run()
        except FileNotFoundError:
            raise ProvisioningFailed(f"{name} can not be started: there is no such program here") from None
        except OSError as error:
            raise ProvisioningFailed(f"{name} can not be started: {error.strerror}") from None
        _report(name, ending)


def _filled(name: str, words: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """The words with the values in their places. Raises ProvisioningFailed for a value that is not safe there."""
    strange = [value for value in values.values() if not _PLAIN.fullmatch(value)]
    if strange:
        raise ProvisioningFailed(
            f"{name} is not run with {shown(strange[0])}: only letters, digits and ._:+- may be in it"
        )
    return [_PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), word) for word in words]


def _report(name: str, ending: Ending) -> None:
    """Log the last lines; raise ProvisioningFailed for a bad end."""
    said = [*ending.output[-LINES:], *ending.errors[-LINES:]]
    if said:
        log.info("%s said: %s", name, one_line(" | ".join(said)), extra={"action": "scaling.output"})
    why = f": {one_line(ending.errors[-1])}" if ending.errors else ""
    if ending.exit_code is None:
        raise ProvisioningFailed(f"{name} did not end within {COMMAND_S:g} s and was killed{why}")
    if ending.exit_code:
        raise ProvisioningFailed(f"{name} ended with exit code {ending.exit_code}{why}")
