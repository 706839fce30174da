"""The commands for `perm_files/`, the artifact registry: upload, fetch, assets."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from titan_sdk.cli import rows
from titan_sdk.cli.exits import Exit
from titan_sdk.cli.text import size
from titan_sdk.cli.transfer_progress import TransferProgress

if TYPE_CHECKING:
    from titan_sdk.cli.context import Context


def upload(context: Context) -> int:
    """Put a file, or a directory as a project archive, into perm_files/."""
    path, name = Path(context.options.path), context.options.name
    with TransferProgress(context.out, path.name) as progress:
        if path.is_dir():
            info = context.client.upload_project_folder(path, name or path.resolve().name, progress)
        else:
            info = context.client.upload_file(path, name, progress)
    context.out.done(f"{info.name}  {size(info.size)}  sha256 {info.sha256}", [info.name], info)
    return Exit.OK


def fetch(context: Context) -> int:
    """Get a file of perm_files/ into a file, a directory, or stdout."""
    options, out = context.options, context.out
    if options.target == "-":
        out.raw(context.client.fetch_artifact(options.name))
        return Exit.OK
    target = _target(options.name, options.target)
    _check_free(target, options.force)
    with TransferProgress(out, options.name) as progress:
        context.client.fetch_artifact(options.name, target, progress)
    count = target.stat().st_size
    out.done(f"{target}  {size(count)}", [str(target)], {"name": options.name, "target": str(target), "size": count})
    return Exit.OK


def assets(context: Context) -> int:
    found = context.client.assets()
    context.out.listing(found, lambda asset: asset.name, rows.ASSETS, "assets")
    return Exit.OK


def _target(name: str, target: str | None) -> Path:
    own_name = PurePosixPath(name).name
    path = Path(target or ".")
    return path / own_name if path.is_dir() or (target or "").endswith("/") else path


def _check_free(target: Path, force: bool) -> None:
    from titan_sdk.errors import Conflict

    if target.exists() and not force:
        raise Conflict(f"{target} exists already; name another target, or overwrite it with --force")
