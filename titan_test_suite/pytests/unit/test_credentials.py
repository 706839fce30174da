"""The token of a home is made once, by whoever is first, and is never there in part."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from titan_core.net.credentials import make_token, token_path


def test_all_who_make_the_token_at_once_get_the_same_one(tmp_path: Path) -> None:
    together = threading.Barrier(8)

    def make(number: int) -> str:
        together.wait()
        return make_token(tmp_path)

    with ThreadPoolExecutor(8) as pool:
        (token,) = set(pool.map(make, range(8)))
    assert token_path(tmp_path).read_text() == token + "\n"
    assert token_path(tmp_path).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in token_path(tmp_path).parent.iterdir()] == ["token"]


def test_a_token_that_is_there_is_whole(tmp_path: Path) -> None:
    """Who sees the file while it is made may read it: a master killed in that moment leaves none that is empty."""
    seen: list[str] = []
    path = token_path(tmp_path)
    path.parent.mkdir()

    def watch() -> None:
        while not path.exists():
            pass
        seen.append(path.read_text())

    watcher = threading.Thread(target=watch)
    watcher.start()
    token = make_token(tmp_path)
    watcher.join()
    assert seen == [token + "\n"]
