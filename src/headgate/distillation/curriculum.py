"""What the student sees: texts cut to a trainable size, and the order of its batches.

Randomness comes in as a ``numpy`` generator: one generator state, one curriculum.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["batches", "distinct", "learning_rate_share", "pieces", "subset", "two_parts"]

_SENTENCE = re.compile(r"(?<=[.!?;:])\s+")


def distinct(texts: Iterable[str]) -> Iterator[str]:
    """``texts`` without repeats (letter case and spacing aside) and without empty ones, in order.

    >>> list(distinct(["Open a file.", "open  a FILE.", " ", "Close it."]))
    ['Open a file.', 'Close it.']
    """
    seen: set[str] = set()
    for text in texts:
        key = " ".join(text.split()).lower()
        if key and key not in seen:
            seen.add(key)
            yield text


def subset(texts: Iterable[str], count: int) -> list[str]:
    """At most ``count`` of ``texts``, chosen by the hash of each, so that the choice is stable.

    A teacher answers every training text once, which costs about as much as learning from it:
    more texts than the training will get through are not worth their answers. A text added to a
    set displaces at most one other, and of ``count`` texts the ``count - 1`` are a part.

    >>> few, more = subset("abcdefgh", 3), subset("abcdefgh", 4)
    >>> len(few), set(few) < set(more)
    (3, True)
    """
    by_hash = sorted(texts, key=lambda t: hashlib.sha256(t.encode()).digest())
    return by_hash[:count]


def pieces(texts: Iterable[str], *, max_words: int, sentences: bool = True) -> list[str]:
    """``texts`` as training texts of at most ``max_words`` words, each once.

    A long text is cut into consecutive windows, so that nothing of it is lost and attention stays
    cheap; with ``sentences`` the sentences of a text follow as texts of their own, because callers
    ask in sentences. Windows of fewer than three words are dropped.

    >>> pieces(["Open a file. Return a file object."], max_words=4)
    ['Open a file. Return', 'a file object.', 'Open a file.', 'Return a file object.']
    """
    if max_words < 1:
        raise ValueError(f"max_words must be at least 1, got {max_words}")
    found: list[str] = []
    for text in texts:
        words = text.split()
        if len(words) <= max_words:
            found.append(" ".join(words))
        else:
            found.extend(_windows(words, max_words))
        if sentences:
            parts = _SENTENCE.split(text.strip())
            if len(parts) > 1:
                for part in parts:
                    found.extend(_windows(part.split(), max_words))
    return list(distinct(found))


def _windows(words: Sequence[str], size: int) -> list[str]:
    cut = [words[i : i + size] for i in range(0, len(words), size)]
    return [" ".join(w) for w in cut if len(w) >= 3]


def two_parts(
    ids: NDArray[np.int64], rng: np.random.Generator, *, frame: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A text's tokens cut in two at a random place in their middle half, each part framed anew.

    The first ``frame // 2`` and the last ``frame - frame // 2`` tokens stand in both. A text with
    fewer than two tokens between them is its own other part.

    >>> one, other = two_parts(np.arange(6), np.random.default_rng(0), frame=2)
    >>> one.tolist(), other.tolist()
    ([0, 1, 2, 3, 5], [0, 4, 5])
    """
    before = frame // 2
    after = len(ids) - (frame - before)
    inside = after - before
    if inside < 2:
        return ids, ids
    least = max(1, inside // 4)
    at = before + int(rng.integers(least, inside - least, endpoint=True))
    return np.concatenate([ids[:at], ids[after:]]), np.concatenate([ids[:before], ids[at:]])


def batches(
    lengths: Sequence[int],
    *,
    batch_size: int,
    count: int,
    rng: np.random.Generator,
    bucket_batches: int = 32,
) -> list[NDArray[np.intp]]:
    """``count`` batches of indices, epoch after epoch, with little padding.

    Each epoch is a random order; every ``bucket_batches`` batches of it are sorted by length and
    cut into batches, whose order is then shuffled. So a batch holds texts of similar length, yet
    differs from epoch to epoch. Every text is seen once an epoch.

    >>> b = batches([3, 9, 3, 9], batch_size=2, count=2, rng=np.random.default_rng(0))
    >>> sorted(sorted(x.tolist()) for x in b)
    [[0, 2], [1, 3]]
    """
    if batch_size < 1 or count < 0 or bucket_batches < 1 or len(lengths) == 0:
        raise ValueError("batches need texts, a batch_size and a bucket of at least 1")
    of = np.asarray(lengths)
    result: list[NDArray[np.intp]] = []
    while len(result) < count:
        order = rng.permutation(len(of))
        epoch: list[NDArray[np.intp]] = []
        span = batch_size * bucket_batches
        for start in range(0, len(order), span):
            bucket = order[start : start + span]
            bucket = bucket[np.argsort(of[bucket], kind="stable")]
            epoch.extend(bucket[i : i + batch_size] for i in range(0, len(bucket), batch_size))
        result.extend(epoch[i] for i in rng.permutation(len(epoch)))
    return result[:count]


def learning_rate_share(step: int, steps: int, warmup_share: float) -> float:
    """Share of the peak learning rate at ``step`` (from 0) of ``steps``.

    Up in a line, down in a cosine, 0 only after the last step: the one-cycle schedule of Smith and
    Topin, "Super-Convergence" (2018), without its cycle of the momentum.

    >>> [round(learning_rate_share(s, 10, warmup_share=0.2), 2) for s in (0, 1, 5, 9)]
    [0.5, 1.0, 0.5, 0.0]
    """
    done = (step + 1) / steps
    if done <= warmup_share:
        return done / warmup_share
    return 0.5 * (1 + math.cos(math.pi * (done - warmup_share) / (1 - warmup_share)))
