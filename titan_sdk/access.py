"""Where the master is, what proves that we may talk to it, and whether we are a job of it ourselves.

Everything is looked up afresh for each new connection, so that a client outlives a master that comes
back on another port or with another token.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from titan_core.errors import ConfigError
from titan_core.net.credentials import DEFAULT_PORT, find_master, find_token
from titan_core.net.dial import split_address


@dataclass(frozen=True, slots=True)
class Access:
    """What the user said; None = look in TITAN_MASTER, TITAN_TOKEN, TITAN_TOKEN_FILE, TITAN_HOME."""

    host: str | None = None
    port: int | None = None
    token: str | None = None
    token_file: str | None = None
    home: Path | None = None

    def address(self) -> tuple[str, int]:
        """The master's (host, port). Raises ConfigError."""
        if self.port is not None:
            return self.host or "localhost", self.port
        if self.host:
            return split_address(self.host, DEFAULT_PORT)
        return find_master(home=self.home)

    def find_token(self) -> str:
        """The token. Raises NotAuthorised (there is none) or ConfigError (it can not be read)."""
        return self.token if self.token is not None else find_token(self.token_file, self.home)


@dataclass(frozen=True, slots=True)
class OwnAttempt:
    """The attempt whose process this is: a job that talks back to its master."""

    run_id: str = ""
    """Empty: this process is not a job."""
    token: bytes = b""

    @classmethod
    def of(cls, environ: Mapping[str, str] = os.environ) -> OwnAttempt:
        """What TITAN_RUN_ID and TITAN_ATTEMPT_TOKEN say. Raises ConfigError for a token that is not hex."""
        token = environ.get("TITAN_ATTEMPT_TOKEN", "")
        try:
            return cls(environ.get("TITAN_RUN_ID", ""), bytes.fromhex(token))
        except ValueError:
            raise ConfigError(
                f"TITAN_ATTEMPT_TOKEN is {token!r}, which is not hex; Titan sets it, leave it"
            ) from None
