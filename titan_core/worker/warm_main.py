"""What the fork server is started as. All it does is in `warm_server`.

What the interpreter keeps of its main program, as long as that runs, is taken apart in each job before the script
begins, and each page of memory that is written then is copied. So the main program is to be as short as can be.
"""

import os
import sys

if __name__ == "__main__":
    sys.path[0] = os.path.abspath(f"{__file__}/../../..")
    import titan_core.worker  # noqa: F401  # nothing is in it but the way to the next one

    del sys.path[0]  # before it is asked for modules that are to be Python's own
    from titan_core.worker import warm_server

    sys.excepthook = warm_server.main(int(sys.argv[1]))
    raise warm_server.Begin
