"""Stands for an hour's work on a GPU: turns the words that came in during the hour into vectors."""

import argparse
import hashlib
import math


def vector(word: str) -> list[float]:
    """Four numbers of length 1 that are the same for the same word."""
    raw = [byte - 127.5 for byte in hashlib.sha256(word.encode()).digest()[:4]]
    length = math.hypot(*raw)
    return [number / length for number in raw]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hour", required=True, help="ISO 8601; the words are those of the hour before")
    options = parser.parse_args()
    for word in ("night", options.hour[:13]):
        print(word, " ".join(f"{number:+.3f}" for number in vector(word)))
    print(f"the hour before {options.hour} is embedded")


if __name__ == "__main__":
    main()
