"""What the fork server is started as. All it does is in `warm_server`."""

import os
import sys

if __name__ == "__main__":
    at_start = frozenset(sys.modules)
    sys.path[0] = os.path.abspath(f"{__file__}/../../..")
    import titan_core.worker  # noqa: F401  # nothing is in it but the way to the next one

    del sys.path[0]  # before it is asked for modules that are to be Python's own
    from titan_core.worker import warm_preload

    warm_preload.preload()
    from titan_core.worker import warm_server

    sys.excepthook = warm_server.main(int(sys.argv[1]), at_start)
    raise GeneratorExit  # so that no frame is left
