"""The ledger: what happened, so that anyone can check it.

A store is one directory (``.headgate/``): ``ledger.sqlite``, append-only entries under a Merkle
tree with signed checkpoints, and ``artifacts/``, content kept under its own SHA-256.
:class:`Store` is the one way in, to read and to write. Knows nothing of engines, endpoints'
configuration, or what an entry means beyond artifacts, runs, releases and checkpoints.
"""

from headgate.ledger.copy import copy_store
from headgate.ledger.entry import Entry, utc_now
from headgate.ledger.gaps import Gap
from headgate.ledger.incidents import WITHDRAW, Incident, incidents
from headgate.ledger.lineage import Edge, graph
from headgate.ledger.standards import hold, hold_release, hold_run
from headgate.ledger.store import Store
from headgate.ledger.verify import Finding, VerifyReport

__all__ = [
    "WITHDRAW",
    "Edge",
    "Entry",
    "Finding",
    "Gap",
    "Incident",
    "Store",
    "VerifyReport",
    "copy_store",
    "graph",
    "hold",
    "hold_release",
    "hold_run",
    "incidents",
    "utc_now",
]
