"""Makes one environment for each line of ``peers.txt``; names what does not install, and why.

Standard library alone: ``python3 -m benchmarks.serving.install [NAME ...]``.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

__all__ = ["ENVIRONMENTS", "python_of", "requirements"]

ROOT = Path(__file__).parents[2]
PEERS = ROOT / "benchmarks" / "peers.txt"
ENVIRONMENTS = ROOT / ".venv-peers"

# Triton's Python stub carries an interpreter of its own, older than 3.11.6, which runs on the
# standard library that it finds: that of the environment.
_TRITON_FITS = (
    "import inspect, sys, multiprocessing.resource_tracker as t;"
    "sys.exit('_recursion_count' in inspect.getsource(t))"
)
_TRITON_NEEDS = "its stub needs the standard library of a Python 3.11.0 to 3.11.5; none is here"


def requirements(text: str) -> dict[str, list[str]]:
    """Peer -> requirements.

    >>> requirements("# a comment\\nlitserve  litserve==1 numpy==2\\n")
    {'litserve': ['litserve==1', 'numpy==2']}
    """
    lines = (line.split("#")[0].split() for line in text.splitlines())
    return {name: wanted for name, *wanted in filter(None, lines)}


def python_of(name: str) -> Path:
    """The interpreter of a peer's environment, there or not."""
    return ENVIRONMENTS / name / "bin" / "python"


def _interpreter(name: str) -> str | None:
    if name != "triton":
        return sys.executable
    for candidate in (sys.executable, "/usr/bin/python3.11", "/usr/local/bin/python3.11"):
        if Path(candidate).exists():
            fits = subprocess.run([candidate, "-c", _TRITON_FITS], capture_output=True)
            if fits.returncode == 0:
                return candidate
    return None


def install(name: str, wanted: list[str]) -> str:
    """Makes the environment, unless this list is in it already; the reason where it cannot."""
    home = ENVIRONMENTS / name
    stamp = home / "installed.txt"
    if stamp.is_file() and stamp.read_text().split() == wanted:
        return ""
    interpreter = _interpreter(name)
    if interpreter is None:
        return _TRITON_NEEDS
    pip = [str(python_of(name)), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    for command in ([interpreter, "-m", "venv", "--clear", str(home)], [*pip, *wanted]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            return errors[0] if errors else f"{shlex.join(command)} failed"
    stamp.write_text(" ".join(wanted))
    return ""


def main() -> int:
    """Installs those that are named, or all; 1 where one did not install."""
    found = requirements(PEERS.read_text())
    reasons = {name: install(name, found[name]) for name in sys.argv[1:] or found}
    for name, reason in reasons.items():
        print(f"{name:10}{reason or 'installed: ' + ' '.join(found[name])}")
    return int(any(reasons.values()))


if __name__ == "__main__":
    sys.exit(main())
