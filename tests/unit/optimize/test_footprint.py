"""What weighs a build has loaded what a server has."""

from __future__ import annotations

import json
import subprocess
import sys

FOOTPRINT = "headgate.optimize.footprint"
SERVER = ("headgate.cli.app", "headgate.cli.serve", "headgate.server", "headgate.runtime.loading")
WHEN_IT_RUNS = ("uvicorn", "uvloop", "httptools", "headgate.engines.peak")
"""What a server loads only then; and how its memory is read."""
OF_THE_JOB = {f"headgate.optimize{name}" for name in ("", ".footprint", ".progress", ".served")}


def loaded_by(*modules: str) -> set[str]:
    """All that a process has loaded that imports ``modules`` and nothing else."""
    code = f"import json, sys, {', '.join(modules)}; print(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_what_weighs_a_build_has_loaded_what_a_server_has() -> None:
    """But for modules of our own, on either side."""
    server, footprint = loaded_by(*SERVER, *WHEN_IT_RUNS), loaded_by(FOOTPRINT)
    assert footprint - server == OF_THE_JOB
    assert {name for name in server - footprint if not name.startswith("headgate.")} == set()
