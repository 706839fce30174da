"""`python -m …traced FILE MODULE [ARGUMENT …]`: a program of ours that writes down when it comes to each failpoint.

A line of FILE is `<CLOCK_MONOTONIC in ns> <name of the point>`; several programs may write to the same file. What is
passed costs a microsecond or two more than otherwise.
"""

from __future__ import annotations

import os
import runpy
import sys
import time

from titan_core import failpoints


def main() -> None:
    _, path, module, *arguments = sys.argv
    trace = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def reach(name: str) -> None:
        os.write(trace, b"%d %s\n" % (time.monotonic_ns(), name.encode()))

    failpoints.reach = reach  # before the modules are loaded that take it from there
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
