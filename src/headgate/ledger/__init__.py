"""The ledger: what happened, so that anyone can check it.

A store is one directory (``.headgate/``): ``ledger.sqlite``, append-only entries chained by hash,
and ``artifacts/``, content kept under its own SHA-256. :class:`Store` is the one way in, to read
and to write. Knows nothing of engines, endpoints' configuration, or what an entry means beyond
artifacts, runs and releases.
"""

from headgate.ledger.copy import copy_store
from headgate.ledger.entry import GENESIS, Entry, utc_now
from headgate.ledger.incidents import Incident, incidents
from headgate.ledger.lineage import Edge, graph
from headgate.ledger.store import Store
from headgate.ledger.verify import Finding, VerifyReport

__all__ = [
    "GENESIS",
    "Edge",
    "Entry",
    "Finding",
    "Incident",
    "Store",
    "VerifyReport",
    "copy_store",
    "graph",
    "incidents",
    "utc_now",
]
