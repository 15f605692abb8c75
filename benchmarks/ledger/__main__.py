"""Does the ledger keep what it acknowledged, find what was changed, and cost little?

``python -m benchmarks.ledger [--quick]``; some ten minutes. Kills writers with SIGKILL in the
middle of writing, promoting and signing; lets 64 processes promote at the same moment; changes a
signed ledger in 10,000 ways, each judged by ``headgate verify`` and by ``tools/verify_ledger.py``,
which shares no code with it; times appending, batches and verifying. Writes to the disk that TMPDIR
names.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.convention import Target, at_least, at_most, finish, parser
from benchmarks.ledger.kill import kill_writers
from benchmarks.ledger.mutate import Template, mutations
from benchmarks.ledger.race import race
from benchmarks.ledger.speed import appending, fill
from headgate.errors import Tampered
from headgate.ledger import Store
from headgate.ledger.signing import SigningKey
from tools.verify_ledger import verify as verify_standalone

_MEMORY = Path("/dev/shm")
_VERIFIED = 100_000


def main() -> int:
    """Measures all of it, and prints the last line."""
    arguments = parser(__doc__)
    arguments.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    given = arguments.parse_args()
    quick: bool = given.quick
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        killed = kill_writers(folder, 25 if quick else 500, given.seed)
        print(f"{killed.kills} kills, {killed.acknowledged} acknowledged", flush=True)
        rounds = 3 if quick else 100
        winners = Counter(map(len, race(folder / "race", 64, rounds)))
        print(f"{rounds} rounds of 64 writers: {dict(winners)} winners", flush=True)
        speed = appending(folder, 200 if quick else 2000)
        print({key: round(value * 1e6) for key, value in speed.items()}, "µs", flush=True)
        entries = _VERIFIED // 10 if quick else _VERIFIED
        rate_per_s = fill(folder / "large", entries)
        verified_s = _verified_s(folder / "large", entries)
        print(f"{rate_per_s:.0f} records/s, {entries} verified in {verified_s} s", flush=True)
    # Nothing here is about durability: memory, where there is a disk in it.
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as name:
        count = 300 if quick else 10_000
        missed = _missed(Path(name), count, given.seed)
    scale = _VERIFIED / entries
    targets: dict[str, Target] = {
        f"lost or left in part after {killed.kills} kills": at_most(len(killed.wrong), 0),
        f"rounds of {rounds} with exactly one winner of 64": at_least(winners[1], rounds),
        f"mutations of {count} that verify found": at_least(count - len(missed["verify"]), count),
        f"mutations of {count} that the standalone verifier found": at_least(
            count - len(missed["standalone"]), count
        ),
        "seconds to verify 100,000 records": at_most(verified_s["verify"] * scale, 10),
        "seconds of the standalone verifier": at_most(verified_s["standalone"] * scale, 10),
        "an append over a bare durable insert": at_most(
            speed["append_s"] / speed["bare_insert_s"], 1.5
        ),
        "records a second in batches": at_least(rate_per_s, 5_000),
    }
    return finish(
        "ledger",
        targets,
        seed=given.seed,
        acknowledged=killed.acknowledged,
        promotions=killed.generations,
        checkpoints=killed.signed,
        wrong=killed.wrong[:20],
        missed={key: names[:20] for key, names in missed.items()},
        **speed,
    )


def _verified_s(root: Path, entries: int) -> dict[str, float]:
    """Seconds of each verifier over a signed ledger, keys and a kept checkpoint included."""
    key = SigningKey.generate()
    with Store.open(root) as store:
        kept = store.checkpoint(key)
        started = time.perf_counter()
        report = store.verify(keys=[key.public], kept=kept)
        ours_s = time.perf_counter() - started
    assert report.ok, report.findings
    assert report.entries == entries + 1
    started = time.perf_counter()
    assert verify_standalone(root, [str(key.public)], str(kept)) == []
    return {"verify": ours_s, "standalone": time.perf_counter() - started}


def _missed(folder: Path, count: int, seed: int) -> dict[str, list[str]]:
    """What each verifier did not find."""
    template = Template.make(folder / "template")
    key, kept = str(template.key), str(template.kept)
    with Store.open(template.root) as store:
        assert store.verify(keys=[template.key], kept=template.kept).ok
    assert verify_standalone(template.root, [key], kept) == []
    missed: dict[str, list[str]] = {"verify": [], "standalone": []}
    for what, root in mutations(template, folder, count, seed):
        if not verify_standalone(root, [key], kept):
            missed["standalone"].append(what)
        try:
            with Store.open(root) as store:
                if store.verify(keys=[template.key], kept=template.kept).ok:
                    missed["verify"].append(what)
        except Tampered:  # refused already when it was opened
            pass
    return missed


if __name__ == "__main__":
    sys.exit(main())
