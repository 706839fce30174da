"""Makes the project's virtual environment when it is needed, then runs a module in it.

    python3 titan_test_suite/bootstrap.py [--extra NAME] MODULE [ARGUMENT …]

The environment is `.venv` in the project's root; one that is there already is used. What was installed
into it is remembered with a digest of what decides that, so that the second time costs nothing. Needs
only the standard library.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
STAMP = ENVIRONMENT / "titan-installed"
PYTHON = ENVIRONMENT / "bin" / "python"
MINIMUM = (3, 11)


def main():
    extra, command = _split(sys.argv[1:])
    if sys.version_info < MINIMUM:
        sys.exit(f"Titan needs Python 3.11 or newer; this is {sys.version.split()[0]}: {sys.executable}")
    if not command:
        sys.exit(__doc__)
    with open(ROOT / ".bootstrap.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _ensure({"core", extra} - {""})
    os.chdir(ROOT)
    # What runs here starts a thousand Pythons; each would compile everything anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.execv(PYTHON, [str(PYTHON), "-m", *command])


def _split(arguments):
    if arguments[:1] == ["--extra"]:
        return arguments[1], arguments[2:]
    return "", arguments


def _ensure(wanted):
    """Have the environment hold at least `wanted`: the core, and extras by name."""
    if not _works():
        print("making the virtual environment .venv …", file=sys.stderr, flush=True)
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
    digest = _digest()
    known, _, installed = STAMP.read_text().partition("\n") if STAMP.exists() else ("", "", "")
    if known != digest or not wanted <= set(installed.split()):
        wanted |= set(installed.split())
        _install(sorted(wanted - {"core"}))
        STAMP.write_text(digest + "\n" + " ".join(sorted(wanted)))


def _works():
    """Whether there is an environment, and its Python still starts."""
    if not PYTHON.exists():
        return False
    return subprocess.run([str(PYTHON), "-c", "import pip"], capture_output=True, check=False).returncode == 0


def _digest():
    """Of what decides what an installation holds: the settings, the Python, and the packages there are."""
    packages = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
    decisive = (ROOT / "setup.cfg").read_bytes() + sys.version.encode() + " ".join(packages).encode()
    return hashlib.sha256(decisive).hexdigest()


def _install(extras):
    print("installing what it needs …", file=sys.stderr, flush=True)
    target = ".[{}]".format(",".join(extras)) if extras else "."
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--editable", target]
    outcome = subprocess.run(pip, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
    if outcome.returncode:
        sys.exit(outcome.stderr + "\nTitan's dependencies could not be installed; see above.")


if __name__ == "__main__":
    main()
