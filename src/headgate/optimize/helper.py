"""What runs in a helper process of ``ahead.py``: executes what it is told, and records nothing.

A line of JSON on stdin asks for one execution, a line on stdout answers it; the outputs are in the
store by then. An execution that fails ends the process: who asked does it again himself.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys
from pathlib import Path

from headgate.ledger import Store
from headgate.optimize.recorder import Recorder, transformation_named

__all__ = ["main"]


def main() -> None:
    """Answers until stdin is closed."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # an endpoint's own function may print
    for line in sys.stdin:
        asked = json.loads(line)
        importlib.import_module(asked["module"])
        place = {k: v for k, v in asked["place"].items() if k not in ("store", "root")}
        with Store.open(Path(asked["place"]["store"])) as store:
            recorder = Recorder(store=store, root=Path(asked["place"]["root"]), **place)
            what = transformation_named(asked["name"])
            assert what is not None, "its module was imported"
            executed = recorder.execute(what, asked["u"], asked["config"])
        print(json.dumps(dataclasses.asdict(executed)), file=answers, flush=True)


if __name__ == "__main__":
    main()
