"""kill -9 in the middle of writing: whatever was acknowledged is there, and the rest is whole."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

from headgate.ledger import Store

KILLS = 20

# Keeps content, registers it, notes it and promotes it, for ever; a line acknowledges each step.
WRITER = """
import itertools, os, sys
from pathlib import Path
from headgate.ledger import Store
from headgate.objects import Artifact, Release

store = Store.open(Path(sys.argv[1]), create=True)
def acknowledge(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())
for n in itertools.count():
    content = os.urandom(64) * 4000
    version = store.put_bytes(content)
    acknowledge("blob", version)
    artifact = Artifact(f"item-{os.getpid()}-{n}", version, "model", "bytes", "search", 256000)
    acknowledge("entry", store.register(artifact).id)
    for entry in store.append_all([("note", {"pid": os.getpid(), "n": n})] * 3):
        acknowledge("entry", entry.id)
    current = store.current("docs-search")
    before = None if current is None else current.generation
    release = Release("docs-search", 0 if before is None else before + 1, version, None)
    acknowledge("entry", store.promote(release, expected_generation=before).id)
"""

# Bids for every generation up to a last one, together with others, and prints those it won.
BIDDER = """
import sys
from pathlib import Path
from headgate.errors import Refused
from headgate.ledger import Store
from headgate.objects import Release

store, variant, last = Store.open(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
while True:
    current = store.current("docs-search")
    before = None if current is None else current.generation
    if before == last:
        break
    following = 0 if before is None else before + 1
    try:
        store.promote(Release("docs-search", following, variant, None), expected_generation=before)
    except Refused as refused:
        assert refused.reason == "generation_moved", refused
    else:
        print(following)
"""


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    """Killed twenty times after a random number of steps, and once before the first.

    After each kill the store opens, the tree and every blob verify, each acknowledged entry and
    blob is there, and no batch is there in part.
    """
    root = tmp_path / ".headgate"
    rng = random.Random(20)
    acknowledged: list[tuple[str, str]] = []
    for kill in range(KILLS):
        with start(WRITER, root) as writer:
            assert writer.stdout is not None
            lines = [writer.stdout.readline() for _ in range(kill and rng.randint(1, 12))]
            # It goes on writing while we count to a random number.
            sum(range(rng.randrange(300_000)))
            writer.kill()
            lines += writer.stdout.readlines()
        acknowledged += [(what, name) for what, name in map(str.split, lines)]
        with Store.open(root, create=True) as store:
            report = store.verify()
            assert report.ok, (kill, report.findings)
            present = {entry.id for entry in store.entries()}
            lost = [
                (what, name)
                for what, name in acknowledged
                if not (name in present if what == "entry" else store.has(name))
            ]
            assert not lost, kill
            notes = Counter((e.body["pid"], e.body["n"]) for e in store.entries("note"))
            assert set(notes.values()) <= {3}
            assert not list((root / "artifacts").glob(".writing-*"))
    assert len(acknowledged) >= KILLS


def test_of_many_processes_one_wins_each_generation(tmp_path: Path) -> None:
    """Four processes race for sixteen generations: one winner each, and a history without gaps."""
    root, last = tmp_path / ".headgate", 15
    with Store.open(root, create=True) as store:
        variant = store.put_bytes(b"variant")
        bidders = [start(BIDDER, root, variant, last) for _ in range(4)]
        for bidder in bidders:
            assert bidder.stdout is not None
            assert bidder.stdout.readline() == "ready\n"
        won: list[int] = []
        # Reading must never see a gap either, while they race.
        for bidder in bidders:
            assert bidder.stdin is not None
            bidder.stdin.write("go\n")
            bidder.stdin.flush()
        while (current := store.current("docs-search")) is None or current.generation < last:
            seen = [release.generation for _, release in store.history("docs-search")]
            assert seen == list(range(len(seen)))
        for bidder in bidders:
            output, _ = bidder.communicate()
            assert bidder.returncode == 0
            won += map(int, output.split())
        assert Counter(won) == Counter(range(last + 1))
        assert [r.generation for _, r in store.history("docs-search")] == list(range(last + 1))
        assert store.verify().ok
