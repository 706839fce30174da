"""Makes a backup to check: 40 files and manifest.json, which says the SHA-256 of each."""

import hashlib
import json
import os
import random
from pathlib import Path

BACKUP = Path(os.environ.get("TITAN_SHARED", ".")) / "backup"
FILES = 40
SIZE = 256 * 1024


def main() -> None:
    BACKUP.mkdir(exist_ok=True)
    chance = random.Random(5)
    manifest = {}
    for number in range(FILES):
        content = chance.randbytes(SIZE)
        name = f"part-{number:02}.bin"
        (BACKUP / name).write_bytes(content)
        manifest[name] = hashlib.sha256(content).hexdigest()
    (BACKUP / "manifest.json").write_text(json.dumps(manifest, indent=2))
    print(f"{FILES} files, {FILES * SIZE // 1024 // 1024} MiB")


if __name__ == "__main__":
    main()
