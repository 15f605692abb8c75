"""Real load on real servers: baseline and winner replay the workload in alternating segments.

``servers`` starts them, ``schedule`` cuts the workload, ``probe`` finds what a server can do and
what its shell costs, ``replay`` runs it all and ``outcome`` is what comes out. Each server runs in
a process of its own, through HTTP, open loop, at a share of what it can take. Only one of the two
is asked at a time, so they share nothing but the machine's mood.
"""

from headgate.optimize.load.outcome import DRAIN_S, Replay, SegmentTimes, Side
from headgate.optimize.load.probe import ShellCost, measure_shell
from headgate.optimize.load.replay import measure_load

__all__ = [
    "DRAIN_S",
    "Replay",
    "SegmentTimes",
    "ShellCost",
    "Side",
    "measure_load",
    "measure_shell",
]
