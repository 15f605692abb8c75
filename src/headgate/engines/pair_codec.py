"""Pairs of a query and a text into tensors, for cross-encoders.

The tokenizer's own pair template joins the two (``[CLS] query [SEP] text [SEP]``, say). What is too
long is cut as Text Embeddings Inference does it, by the tokenizers library's ``longest_first``: the
longer of the two first, until both are even; special tokens stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.engines.codec import TokenCodec, encodings
from headgate.errors import RequestError
from headgate.workload import Encoded, Pair, Segmented, Tensors

__all__ = ["PairCodec", "longest_first"]


class PairCodec(TokenCodec):
    """Pairs -> token ids, with their segments where the model takes ``token_type_ids``."""

    def encode(self, items: Sequence[object], *, truncate: bool = False) -> list[Encoded]:
        """One ``Encoded`` per ``Pair``. Raises ``TooLong`` or ``RequestError``, by index."""
        pairs = []
        for i, item in enumerate(items):
            if not isinstance(item, Pair):
                raise RequestError(
                    f"expected a pair of texts, got {type(item).__name__}",
                    where=f"item {i}",
                    fix="send a query and a text",
                )
            pairs.append(item)
        read = [self._read(pair, i, truncate) for i, pair in enumerate(pairs)]
        made = encodings(self._whole, read)
        return [
            self._encoded(encoding, pair, i, truncate)
            for i, (encoding, pair) in enumerate(zip(made, pairs, strict=True))
        ]

    def _read(self, pair: Pair, index: int, truncate: bool) -> tuple[str, str]:
        """Query and text, and of what may be cut only so much as can stay. Raises ``TooLong``.

        Where both are cut to nearly as many tokens, an odd one that is left may go to the other.
        """
        most, query, text = self._max_characters, pair.query, pair.text
        ends = slice(most) if pair.cut == "right" else slice(-most, None)
        if truncate:
            query = query[ends]
        if truncate or (pair.max_text_tokens or self._max_tokens) < self._max_tokens:
            text = text[ends]
        if not truncate:
            self._check_characters(max(len(query), len(text)), index)
        return query, text

    def _encoded(self, encoding: Any, pair: Pair, index: int, truncate: bool) -> Encoded:
        ids = np.array(encoding.ids, dtype=np.int64)
        kept: NDArray[np.bool_] | slice = slice(None)
        if pair.max_text_tokens is not None or (truncate and len(ids) > self._max_tokens):
            kept = _kept(encoding, pair, self._max_tokens if truncate else None)
        ids = ids[kept]
        self._check_length(len(ids), index)
        if "token_type_ids" not in self._dtypes:
            return Encoded(len(ids), ids)
        return Segmented(len(ids), ids, np.array(encoding.type_ids, dtype=np.uint8)[kept])

    def collate(self, encoded: Sequence[Encoded]) -> Tensors:
        """As of texts, with the segments; padding is of the first."""
        tensors = super().collate(encoded)
        if "token_type_ids" in tensors:
            segments = tensors["token_type_ids"]
            for row, item in enumerate(encoded):
                if isinstance(item, Segmented):
                    segments[row, : item.length] = item.segments
        return tensors


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens of each of two texts stay, of ``room`` for both.

    Only the longer is cut while it is the longer; an odd token is the longer's, or the second's.

    >>> longest_first(3, 9, 20), longest_first(3, 9, 8), longest_first(7, 9, 8)
    ((3, 9), (3, 5), (4, 4))
    """
    shorter, longer = min(first, second), max(first, second)
    if shorter + longer > room:
        shorter = min(shorter, room // 2)
        longer = room - shorter
    return (longer, shorter) if first > second else (shorter, longer)


def _kept(encoding: Any, pair: Pair, max_tokens: int | None) -> NDArray[np.bool_]:
    """Which tokens of ``encoding`` stay, shape (tokens,); ``max_tokens`` None cuts the text only
    to what the pair itself says."""
    # Whose a token is: 0 the query's, 1 the text's, None the template's.
    owner = np.array([-1 if o is None else o for o in encoding.sequence_ids])
    query, text = int((owner == 0).sum()), int((owner == 1).sum())
    specials = len(owner) - query - text
    if pair.max_text_tokens is not None:
        text = min(text, pair.max_text_tokens)
    if max_tokens is not None:
        query, text = longest_first(query, text, max(max_tokens - specials, 0))
    kept: NDArray[np.bool_] = owner == -1
    for whose, number in ((0, query), (1, text)):
        (places,) = np.nonzero(owner == whose)
        kept[places[:number] if pair.cut == "right" else places[len(places) - number :]] = True
    return kept
