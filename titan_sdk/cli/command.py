"""What a command is: a row of the command table."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    name: str
    """One word, or two, of which the first is shared: `schedule add`, `schedule ls`, …"""
    group: str
    summary: str
    example: str
    arguments: Callable[[argparse.ArgumentParser], None]
    function: str
    """`module:name` in this package; takes the Context, gives the exit code."""
    program_args: bool = False
    """Words after `--` are arguments of the program it starts."""
    completes: str = ""
    """What the prompt offers for its words: `files`, `commands`, or names of `runs`, `jobs`, `keys` (both), …"""
