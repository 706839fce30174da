"""Where the token is, and where the master is: for the master, its workers and its clients alike.

The token: `--token-file`, then TITAN_TOKEN, then TITAN_TOKEN_FILE, then `.titan/token` in the home
(TITAN_HOME, default: the current directory). The master's address: what was asked for, then
TITAN_MASTER, then `.titan/master.json` of the home (written by a running master), then
localhost:9090.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from titan_core.errors import ConfigError, NotAuthorised
from titan_core.net.dial import split_address

DEFAULT_PORT = 9090
MIN_TOKEN = 16
"""Characters; a shorter token could be guessed from a recorded handshake."""


def home_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """TITAN_HOME, default: the current directory; absolute."""
    return Path(environ.get("TITAN_HOME") or ".").absolute()


def token_path(home: Path) -> Path:
    return home / ".titan" / "token"


def find_token(
    token_file: str | None = None, home: Path | None = None, environ: Mapping[str, str] = os.environ
) -> str:
    """The token, from the first place that has one. Raises NotAuthorised (none has) or ConfigError (it is unfit)."""
    path = token_file or (None if environ.get("TITAN_TOKEN") else environ.get("TITAN_TOKEN_FILE"))
    if path:
        return _read(Path(path))
    if environ.get("TITAN_TOKEN"):
        return _checked(environ["TITAN_TOKEN"], "TITAN_TOKEN")
    default = token_path(home or home_directory(environ))
    if default.exists():
        return _read(default)
    raise NotAuthorised(
        f"no token: {default} does not exist; pass the master's token with --token-file FILE, TITAN_TOKEN, "
        "or TITAN_HOME=the master's home"
    )


def make_token(home: Path) -> str:
    """The token of a master's home: made there (0600, its directory 0700) on first use, read ever after."""
    path = token_path(home)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    if not path.exists():
        _publish(path, secrets.token_hex(32) + "\n")
    return _read(path)


def find_master(
    address: str | None = None, home: Path | None = None, environ: Mapping[str, str] = os.environ
) -> tuple[str, int]:
    """The master's (host, port), from the first place that names one. Raises ConfigError."""
    text = address or environ.get("TITAN_MASTER")
    if text:
        return split_address(text, DEFAULT_PORT)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(((home or home_directory(environ)) / ".titan" / "master.json").read_text())
        return str(known["host"]), int(known["port"])
    return "localhost", DEFAULT_PORT


def _publish(path: Path, text: str) -> None:
    """Make a file that nobody ever sees without its content; if somebody else was first, theirs stays."""
    draft = path.with_name(f"{path.name}-{secrets.token_hex(4)}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):
        path.hardlink_to(draft)
    draft.unlink()


def _read(path: Path) -> str:
    try:
        return _checked(path.read_text().strip(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the token can not be read from {path}: {getattr(error, 'strerror', None) or error}"
        ) from None


def _checked(token: str, source: str) -> str:
    if len(token) < MIN_TOKEN:
        raise ConfigError(f"the token in {source} has {len(token)} characters; it needs at least {MIN_TOKEN}")
    return token
