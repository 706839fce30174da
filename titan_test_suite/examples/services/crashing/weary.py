"""Works for some seconds, then dies of an error: `weary.py SECONDS`."""

import os
import sys
import time


def main() -> None:
    print(f"attempt {os.environ.get('TITAN_ATTEMPT', '1')} works")
    time.sleep(float(sys.argv[1]))
    raise RuntimeError("out of strength")


if __name__ == "__main__":
    main()
