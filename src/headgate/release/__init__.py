"""The release gate, its power, and the rules of promotion and rollback.

Pure: raw samples and contracts in, verdicts, decisions and next releases out. Knows no files,
clocks or engines; measuring is its callers' work and storing is the ledger's.
"""

from headgate.release.gate import decide, judge
from headgate.release.promotion import next_release, rollback_release, rollback_target
from headgate.release.samples import (
    Blocks,
    ClassLabel,
    PairedItems,
    Samples,
    WorstSlice,
    from_json,
)

__all__ = [
    "Blocks",
    "ClassLabel",
    "PairedItems",
    "Samples",
    "WorstSlice",
    "decide",
    "from_json",
    "judge",
    "next_release",
    "rollback_release",
    "rollback_target",
]
