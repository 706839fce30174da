"""Assets: the files of perm_files/, found, downloaded and put there.

Their content passes through temporary files, so that no size matters; it is never shown, only handed over. The
registry is asked of the master each time.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from flask import request, send_file
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import FileStorage

from dashboard.access import takes_up_to
from dashboard.bodies import MAX_UPLOAD
from dashboard.page import Page, act, confirm, render
from dashboard.parts import parts
from dashboard.present import file_name
from titan_sdk.cli.text import size
from titan_sdk.errors import InvalidRequest

page = Page("assets", nav="Assets")

SHOWN = 500
"""Files that are listed at a time."""


@page.get("/assets")
def listing() -> ResponseReturnValue:
    """`q`: only names with this in them, in whatever case."""
    wanted, every = request.args.get("q", ""), parts().client.assets()
    found = [asset for asset in every if wanted.lower() in asset.name.lower()]
    return render("assets.html", assets=found[:SHOWN], found=len(found), total=len(every), q=wanted)


@page.get("/assets/file/<path:name>")
def content(name: str) -> ResponseReturnValue:
    """The file as it is, for the disk: a browser that showed it would run what others have written."""
    file = _fetched(name)
    response = send_file(
        file,
        mimetype="application/octet-stream",
        as_attachment=True,
        download_name=file_name(PurePosixPath(name).name),
        conditional=False,
        etag=False,
    )
    response.content_length = os.fstat(file.fileno()).st_size
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _fetched(name: str) -> BinaryIO:
    """The content, checked, in a file that has no name any more. Raises NotFound, InvalidRequest."""
    with tempfile.TemporaryDirectory(prefix="titan-dashboard-") as directory:
        return open(parts().client.fetch_artifact(name, Path(directory) / "content"), "rb")


# ── actions ───────────────────────────────────────────────────────────────────────────────────────


@page.get("/assets/upload")
def ask_upload() -> ResponseReturnValue:
    sentence = "It is put into perm_files/, where jobs find it; a file of the same name is replaced."
    most = size(MAX_UPLOAD)
    return confirm("Upload a file", sentence, "Upload", "/assets", "asset_upload.html", most=most)


@page.post("/assets/upload")
@takes_up_to(MAX_UPLOAD)
def upload() -> ResponseReturnValue:
    return act(_uploaded, "/assets")


def _uploaded() -> str:
    """Raises InvalidRequest, Conflict, Unavailable."""
    file = request.files.get("file")
    own_name = PurePosixPath((file.filename or "").replace("\\", "/")).name if file else ""
    if file is None or not own_name:
        raise InvalidRequest("there is no file; choose one", field="file")
    info = parts().client.upload_file(_on_disk(file), request.form.get("name", "").strip() or own_name)
    return f"{info.name} is in perm_files/: {size(info.size)}, SHA-256 {info.sha256[:12]}"


def _on_disk(file: FileStorage) -> Path:
    """Where a file that was received can be read for the rest of the request: it has a descriptor, but no name."""
    file.stream.flush()
    return Path(f"/proc/self/fd/{file.stream.fileno()}")
