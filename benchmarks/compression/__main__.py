"""Do smaller models keep their word?

``.venv/bin/python -m benchmarks.compression [PART ...] [--quick]``: one JSON line for each part.
Parts of hours are made of pieces (``pieces``): one that was killed goes on when it is called again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module

from benchmarks.compression.pieces import Pieces
from benchmarks.compression.subjects import BANKING77
from benchmarks.convention import Target, finish, parser

Part = Callable[..., tuple[Mapping[str, Target], dict[str, object]]]
"""Called with ``quick``; targets and details."""

PARTS = (
    "kernels",
    "calibration_memory",
    "identical",
    "calibrations",
    "sensitivity",
    "repair",
    "students",
    "resume",
    "cascade",
    "against_peers",
    "quantization_preview",
    "distillation_preview",
)
"""Each is the function of its name, in the module of its name."""
_OF_BANKING77 = ("sensitivity", "repair", "cascade", "quantization_preview")
"""Parts that have less to measure where these data are not there."""


def main() -> int:
    """Runs the parts that are named, or all; 1 where one misses a target."""
    wanted = parser(__doc__)
    wanted.add_argument("parts", nargs="*", choices=[[], *PARTS], metavar="PART", help="all")
    given = wanted.parse_args()
    missed = 0
    for name in given.parts or PARTS:
        part: Part = getattr(import_module(f"benchmarks.compression.{name}"), name)
        targets, details = part(quick=given.quick)
        missing = ["BANKING77"] if name in _OF_BANKING77 and not BANKING77.exists() else []
        missed |= finish(
            f"compression.{name}", targets, quick=given.quick, missing=missing, **details
        )
        Pieces(name, quick=given.quick).forget()
    return missed


if __name__ == "__main__":
    sys.exit(main())
