"""What a command works with: its options, its output, and the master, dialled when first needed."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from titan_sdk.cli.output import Output

if TYPE_CHECKING:
    from titan_sdk.client import TitanClient


class Connection:
    """The client for one master. A prompt keeps one for all its lines; after `close` it dials again when needed."""

    def __init__(self, options: Namespace) -> None:
        self.address = _address(options)
        self.out: Output | None = None
        """Of the command that is being carried out: told when the master is away."""
        self._client: TitanClient | None = None

    @property
    def client(self) -> TitanClient:
        if self._client is None:
            self._client = _connect(*self.address, on_away=self._interject)
        return self._client

    def serves(self, options: Namespace) -> bool:
        """Whether a command with these options means this master."""
        return self.address == _address(options)

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _interject(self, text: str) -> None:
        if self.out is not None:
            self.out.interject(text)


@dataclass(frozen=True)
class Context:
    """One command line being carried out."""

    options: Namespace
    out: Output
    connection: Connection

    @property
    def client(self) -> TitanClient:
        return self.connection.client


def output_for(options: Namespace) -> Output:
    return Output(json=options.json, quiet=options.quiet, color=not options.no_color)


def _address(options: Namespace) -> tuple[str | None, str | None, str | None]:
    return options.master, options.token_file, options.home


def _connect(
    master: str | None, token_file: str | None, home: str | None, on_away: Callable[[str], None]
) -> TitanClient:
    from titan_core.net.credentials import DEFAULT_PORT
    from titan_core.net.dial import split_address
    from titan_sdk.client import TitanClient

    host, port = split_address(master, DEFAULT_PORT) if master else (None, None)
    absolute = Path(home).absolute() if home else None
    return TitanClient(host, port, token_file=token_file, home=absolute, on_away=on_away)
