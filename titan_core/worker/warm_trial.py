"""The first script that each fork server is given: whether one begins, and ends, as it should with this Python."""

import sys

if __name__ == "__main__":
    print(*sys.argv[1:], __file__ == sys.argv[0], flush=True)
    if sys.argv[1] != "0":
        sys.exit(int(sys.argv[1]))
