"""The release gate, its power, the rules of promotion and rollback, and the watch afterwards.

Pure: raw samples and contracts in, verdicts, decisions and next releases out. Knows no files,
clocks or engines; measuring is its callers' work and storing is the ledger's.
"""

from headgate.release.age import Age
from headgate.release.data import judge_age, judge_drift
from headgate.release.estimate import NoEstimate, estimate_blocks
from headgate.release.gate import decide, judge
from headgate.release.holdout import CERTIFICATE, certificates
from headgate.release.index import INDEX, index_for
from headgate.release.live import LIVE_METRICS, Second, Terms, deciles, means_of
from headgate.release.power import (
    Assumption,
    PowerRow,
    assume,
    contract_power,
    joint_power,
    least_n,
    share_of,
    slices_power,
)
from headgate.release.promotion import (
    next_release,
    restored_generation,
    rollback_release,
    rollback_target,
)
from headgate.release.replay import contract_from_json, decide_again, decision_from_json
from headgate.release.rule import ANSWERS, LATE, LOAD, Change, Rule, WayOut, rule_from_json, way_out
from headgate.release.samples import (
    Blocks,
    ClassLabel,
    PairedItems,
    Samples,
    WorstSlice,
    from_json,
)
from headgate.release.watch import Breach, Recovery, TookOver, Watcher, WatchRule, Withdrawal

__all__ = [
    "ANSWERS",
    "CERTIFICATE",
    "INDEX",
    "LATE",
    "LIVE_METRICS",
    "LOAD",
    "Age",
    "Assumption",
    "Blocks",
    "Breach",
    "Change",
    "ClassLabel",
    "NoEstimate",
    "PairedItems",
    "PowerRow",
    "Recovery",
    "Rule",
    "Samples",
    "Second",
    "Terms",
    "TookOver",
    "WatchRule",
    "Watcher",
    "WayOut",
    "Withdrawal",
    "WorstSlice",
    "assume",
    "certificates",
    "contract_from_json",
    "contract_power",
    "decide",
    "decide_again",
    "deciles",
    "decision_from_json",
    "estimate_blocks",
    "from_json",
    "index_for",
    "joint_power",
    "judge",
    "judge_age",
    "judge_drift",
    "least_n",
    "means_of",
    "next_release",
    "restored_generation",
    "rollback_release",
    "rollback_target",
    "rule_from_json",
    "share_of",
    "slices_power",
    "way_out",
]
