"""Puts the strips together as mandelbrot.png."""

import json
import os
import struct
import zlib
from pathlib import Path

SHARED = Path(os.environ.get("TITAN_SHARED", "."))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, gray: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = b"".join(b"\0" + gray[start : start + width] for start in range(0, width * height, width))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def main() -> None:
    plan = json.loads((SHARED / "plan.json").read_text())
    gray = b"".join((SHARED / f"strip-{number}.gray").read_bytes() for number in range(len(plan["rows"])))
    target = SHARED / "mandelbrot.png"
    target.write_bytes(png(plan["width"], plan["height"], gray))
    print(f"{target}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
