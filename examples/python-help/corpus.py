"""The data of the endpoint python-help: semantic search over the Python that runs this.

``prepare`` reads the documentation that is installed (``reading``), makes labelled pairs of it
(``pairing``), and writes splits and workloads. The same Python gives the same bytes: order comes
from digests of the text alone, randomness from one seed. ``statement.json`` says what was done.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sysconfig
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pairing import FAMILIES, RULES, HeldOut, Pair, Pairs, fits_query, shorten
from reading import Library, is_prose, normalise, paragraphs, read, sentences

from headgate.errors import InputError
from headgate.workload.arrivals import (
    MarkovModulatedPoisson,
    draw_items,
    index_of_dispersion,
    repeat_share,
    solve_zipf_exponent,
)

__all__ = ["prepare"]

MIN_PAIRS, MAX_PAIRS = 1250, 1300
MIN_FAMILY = 100
CALIBRATION_TEXTS = 400
SHORT_WORDS, MEDIUM_WORDS = 6, 10  # the most that a short and a medium query have

SEED = 20_311
REQUESTS, UNIQUE_REQUESTS = 20_000, 8_000
HIT_RATIO = 0.45
ONE_TIME_SHARE = 0.44
REPEATED_QUERIES = 3_000
TITLE_SHARE = 0.1
DISTINCT_QUERIES = REPEATED_QUERIES + round(ONE_TIME_SHARE * REQUESTS)
ARRIVALS = MarkovModulatedPoisson.of_mean(
    50.0, burst_factor=2.0, calm_dwell_s=4.0, burst_dwell_s=1.0
)

Row = dict[str, object]


def prepare(out_dir: Path) -> None:
    """Writes six ``.jsonl`` files and ``statement.json`` into the directory ``out_dir``.

    Raises ``InputError`` where this Python carries too little documentation to evaluate on.
    """
    library = read(Path(sysconfig.get_paths()["stdlib"]))
    material = Material.of(library)
    evaluate, holdout, left_over = split(material.pairs.kept)
    held_out = HeldOut([*evaluate, *holdout])
    train, calibrate = learnable(material, left_over, held_out)
    queries = askable(material, left_over, held_out)
    families = judged_families(evaluate, holdout)
    log, unique_log, drawn = workloads(queries)
    files = {
        "evaluate.jsonl": pair_rows(evaluate, families),
        "holdout.jsonl": pair_rows(holdout, families),
        "train.jsonl": text_rows("t", train),
        "calibrate.jsonl": text_rows("c", calibrate),
        "workload.jsonl": log,
        "workload_unique.jsonl": unique_log,
    }
    for name, rows in files.items():
        write(out_dir / name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    statement = {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "rules": RULES,
        "pairs_dropped": dict(sorted(material.pairs.dropped.items())),
        "pairs": {"evaluate": len(evaluate), "holdout": len(holdout), "left_over": len(left_over)},
        "slices": {
            "evaluate": slice_sizes(files["evaluate.jsonl"]),
            "holdout": slice_sizes(files["holdout.jsonl"]),
        },
        "texts": {"train": len(train), "calibrate": len(calibrate)},
        "workload": drawn,
    }
    write(out_dir / "statement.json", json.dumps(statement, indent=2) + "\n")


@dataclass(frozen=True, slots=True)
class Material:
    """What the documentation offers: labelled pairs, and text that is in none of them."""

    pairs: Pairs
    passages: list[str]
    """Several sentences, as long as a passage."""
    queries: list[str]
    """Single sentences of docstrings and topics."""
    remarks: list[str]
    """Single sentences of comments."""
    titles: list[str]
    """Names to be looked up."""

    @classmethod
    def of(cls, library: Library) -> Material:
        pairs = Pairs()
        docstrings = [doc.text for doc in library.documented if not pairs.offer(doc)]
        docstrings += library.tests
        said = [sentences(text) for text in docstrings]
        queries = [sentence for parts in said for sentence in parts[:1]]  # prose or not
        said += [sentences(p) for text in library.topics.values() for p in paragraphs(text)]
        queries += [sentence for parts in said for sentence in parts if is_prose(sentence)]
        passages = [shorten(parts) for parts in said if len(parts) > 1]
        titles = [doc.title for doc in library.documented if doc.public]
        return cls(pairs, passages, queries, library.remarks, [*titles, *library.topics])


def digest(text: str, purpose: str) -> bytes:
    """Decides order and splits: depends on the text alone, and differently for each purpose."""
    key = purpose.encode()
    return hashlib.blake2b(normalise(text).encode(), digest_size=8, key=key).digest()


def distinct(texts: Iterable[str], purpose: str) -> list[str]:
    """One text of each normalised form, ordered by digest."""
    first: dict[str, str] = {}
    for text in texts:
        first.setdefault(normalise(text), text)
    first.pop("", None)
    return sorted(first.values(), key=lambda text: digest(text, purpose))


def split(pairs: Iterable[Pair]) -> tuple[list[Pair], list[Pair], list[Pair]]:
    """Evaluate, holdout and what is left over, in the order of the queries' digests."""
    ordered = sorted(pairs, key=lambda pair: digest(pair.query, "split"))
    size = min(MAX_PAIRS, len(ordered) // 2)
    if size < MIN_PAIRS:
        raise too_little(
            f"{size} labelled pairs to evaluate on and as many to hold out, where {MIN_PAIRS} of "
            "each are needed to see a loss of 2 points"
        )
    return ordered[:size], ordered[size : 2 * size], ordered[2 * size :]


def too_little(found: str) -> InputError:
    return InputError(
        f"the documentation of this Python gives {found}",
        where=f"Python {platform.python_version()}: {sysconfig.get_paths()['stdlib']}",
        reason="too_little_documentation",
        fix="use a Python 3.11 with its whole standard library and its docstrings",
    )


def learnable(
    material: Material, left_over: Sequence[Pair], held_out: HeldOut
) -> tuple[list[str], list[str]]:
    """Texts to train and to calibrate on: disjoint, and nothing of a held-out pair."""
    texts = [*material.passages, *(pair.passage for pair in left_over)]
    texts += [shorten([text]) for text in (*material.queries, *material.remarks)]
    texts += [pair.query for pair in left_over]
    ordered = [text for text in distinct(texts, "learn") if text not in held_out]
    return ordered[CALIBRATION_TEXTS:], ordered[:CALIBRATION_TEXTS]


def askable(material: Material, left_over: Sequence[Pair], held_out: HeldOut) -> list[str]:
    """Distinct queries for the workloads: some names, then sentences, comments only if needed."""
    said = [*material.queries, *(pair.query for pair in left_over)]
    sources = (
        distinct(material.titles, "ask")[: round(TITLE_SHARE * DISTINCT_QUERIES)],
        filter(fits_query, distinct(said, "ask")),
        filter(fits_query, distinct(material.remarks, "ask")),
    )
    found: dict[str, str] = {}
    for texts in sources:
        for text in texts:
            if len(found) < DISTINCT_QUERIES and text not in held_out:
                found.setdefault(normalise(text), text)
    if len(found) < DISTINCT_QUERIES:
        raise too_little(f"{len(found)} distinct queries; the workload needs {DISTINCT_QUERIES}")
    return distinct(found.values(), "ask")


def workloads(queries: Sequence[str]) -> tuple[list[Row], list[Row], Row]:
    """The log with repeats, the log without, and how they were drawn."""
    rng = np.random.default_rng(SEED)
    exponent = solve_zipf_exponent(
        REPEATED_QUERIES, REQUESTS, HIT_RATIO, one_time_share=ONE_TIME_SHARE
    )
    items = draw_items(REQUESTS, REPEATED_QUERIES, exponent, rng, one_time_share=ONE_TIME_SHARE)
    arrivals_s = ARRIVALS.arrivals(REQUESTS, rng)
    log = log_rows(arrivals_s.tolist(), [queries[i] for i in items])
    unique_log = log_rows(
        ARRIVALS.arrivals(UNIQUE_REQUESTS, rng).tolist(), queries[:UNIQUE_REQUESTS]
    )
    drawn: Row = {
        "seed": SEED,
        "requests": REQUESTS,
        "unique_requests": UNIQUE_REQUESTS,
        "zipf_exponent": round(exponent, 6),
        "one_time_share": ONE_TIME_SHARE,
        "ideal_hit_ratio": round(repeat_share(items.tolist()), 6),
        "mean_rate_per_s": ARRIVALS.mean_rate_per_s,
        "calm_rate_per_s": ARRIVALS.calm_rate_per_s,
        "burst_rate_per_s": ARRIVALS.burst_rate_per_s,
        "calm_dwell_s": ARRIVALS.calm_dwell_s,
        "burst_dwell_s": ARRIVALS.burst_dwell_s,
        "index_of_dispersion_1s": round(index_of_dispersion(arrivals_s, 1.0), 3),
    }
    return log, unique_log, drawn


def judged_families(*splits: Sequence[Pair]) -> frozenset[str]:
    """Families with enough queries in each split. The rest merge into 'other', which is judged
    by the same rule: where it stays too small, its queries belong to no family."""
    counts = [Counter(pair.family for pair in pairs) for pairs in splits]
    large = {name for name in FAMILIES if all(count[name] >= MIN_FAMILY for count in counts)}
    rest = [sum(n for name, n in count.items() if name not in large) for count in counts]
    return frozenset(large | {"other"} if min(rest) >= MIN_FAMILY else large)


def pair_rows(pairs: Sequence[Pair], families: frozenset[str]) -> list[Row]:
    """A split's passages, which are its whole index, and then its queries."""
    rows: list[Row] = [{"id": f"p/{pair.title}", "passage": pair.passage} for pair in pairs]
    for pair in pairs:
        n = len(pair.query.split())
        length = "short" if n <= SHORT_WORDS else "medium" if n <= MEDIUM_WORDS else "long"
        slices = [f"length:{length}"]
        family = pair.family if pair.family in families else "other"
        if family in families:
            slices.append(f"family:{family}")
        row: Row = {"id": f"q/{pair.title}", "query": pair.query, "relevant": [f"p/{pair.title}"]}
        rows.append({**row, "slices": slices})
    return rows


def slice_sizes(rows: Iterable[Row]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for row in rows:
        slices = row.get("slices")
        counts.update(slices if isinstance(slices, list) else ())
    return dict(sorted(counts.items()))


def text_rows(prefix: str, texts: Sequence[str]) -> list[Row]:
    return [{"id": f"{prefix}{i}", "text": text} for i, text in enumerate(texts)]


def log_rows(arrivals_s: Sequence[float], texts: Sequence[str]) -> list[Row]:
    pairs = zip(arrivals_s, texts, strict=True)
    return [{"at_s": round(at_s, 6), "text": text} for at_s, text in pairs]


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
