"""Token ids of texts that were asked before: whoever repeats a question is not tokenized again.

Tokenizing is a quarter to two fifths of what an answer from the cache costs (decision 6): the
tokenizer's own tables are seldom in the processor's caches.
"""

from __future__ import annotations

from headgate.caching import LRU
from headgate.workload import Encoded, Pair

__all__ = ["KnownTexts"]

_ENCODED_OVERHEAD_BYTES = 240
"""What CPython 3.11 spends on an ``Encoded`` and its array beyond the ids."""


class KnownTexts:
    """The least recently used is forgotten first. Used on one thread alone.

    Tenants share nothing: how soon an answer comes would tell one what another has asked.

    Right for a tokenizer, of which equal texts have equal ids for ever; not for a caller's own
    ``preprocess``, which may do as it likes.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self._encoded = LRU(capacity_bytes)

    def get(self, item: object, *, truncate: bool, tenant: str) -> Encoded | None:
        """What ``item`` was encoded as, if it is a text that was put."""
        key = _key(item, truncate, tenant)
        found = self._encoded.get(key, 0.0) if key is not None else None
        assert found is None or isinstance(found, Encoded)
        return found

    def put(self, item: object, encoded: Encoded, *, truncate: bool, tenant: str) -> None:
        """Remembers ``encoded`` if ``item`` is a text or a pair of texts."""
        key = _key(item, truncate, tenant)
        if key is not None:
            size_bytes = encoded.nbytes + _ENCODED_OVERHEAD_BYTES
            self._encoded.put(key, encoded, size_bytes, 0.0)


def _key(item: object, truncate: bool, tenant: str) -> bytes | None:
    """Whose text, whether it may be cut, and the text; None for what is no text, or no valid one.

    The tenant's length comes first, and a query's before the query, so that no two different
    questions have the same key.
    """
    if isinstance(item, Pair):
        how = f"{item.cut} {item.max_text_tokens} {len(item.query)}"
        item = f"pair {how} {item.query}{item.text}"
    elif not isinstance(item, str):
        return None
    else:
        item = f"text {item}"
    try:
        return f"{len(tenant)} {tenant}{'cut' if truncate else 'all'} {item}".encode()
    except UnicodeEncodeError:  # a lone surrogate; the codec says so
        return None
