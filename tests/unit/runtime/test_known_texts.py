"""Texts that come again are not tokenized again, and nothing else changes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from headgate.errors import RequestError, TooLong
from headgate.runtime.known_texts import KnownTexts
from headgate.workload import Encoded, Pair
from tests.serving import WordCodec, deployment


class CountingCodec(WordCodec):
    """Notes what it was asked to encode."""

    def __init__(self) -> None:
        self.asked: list[list[object]] = []

    def encode(self, items: Sequence[object], *, truncate: bool = False) -> list[Encoded]:
        self.asked.append(list(items))
        return super().encode(items, truncate=truncate)


def encoded_by(codec: WordCodec, *calls: tuple[list[object], bool], cache_bytes: int) -> list[int]:
    """The lengths of all items of the calls, through a live plane."""
    deployed = replace(deployment(cache_bytes=cache_bytes), codec=codec)

    async def scenario() -> list[int]:
        await deployed.start()
        try:
            return [
                e.length
                for items, truncate in calls
                for e in await deployed.live.encode(items, truncate=truncate)
            ]
        finally:
            await deployed.close()

    return asyncio.run(scenario())


def test_only_texts_that_are_new_are_tokenized() -> None:
    """A repeated one beside a new one keeps its place."""
    codec = CountingCodec()
    calls = ((["a b", "c"], False), (["c", "d e f", "a b"], False))
    assert encoded_by(codec, *calls, cache_bytes=10_000) == [2, 1, 1, 3, 2]
    assert codec.asked == [["a b", "c"], ["d e f"]]


def test_without_a_cache_nothing_is_remembered() -> None:
    """Where repeats do not pay, memory for them does not either."""
    codec = CountingCodec()
    encoded_by(codec, (["a b"], False), (["a b"], False), cache_bytes=0)
    assert codec.asked == [["a b"], ["a b"]]


def test_a_text_that_was_cut_is_still_too_long_for_who_forbids_it() -> None:
    """Cut and uncut are two questions."""
    long = "a " * 40
    with pytest.raises(TooLong):
        encoded_by(WordCodec(), ([long], True), ([long], False), cache_bytes=10_000)


def test_an_item_at_fault_is_named_by_its_place_among_all() -> None:
    """Not by its place among those that were new."""
    with pytest.raises(RequestError, match="no text") as raised:
        encoded_by(WordCodec(), (["a"], False), (["a", 7], False), cache_bytes=10_000)
    assert raised.value.where == "item 1"


def test_what_is_remembered_is_bounded_in_bytes() -> None:
    """The text that was not asked for the longest is forgotten first."""
    known = KnownTexts(capacity_bytes=1500)
    for text in ("one", "two", "three"):
        known.put(text, Encoded(1, np.array([1])), truncate=False, tenant="")
    assert known.get("one", truncate=False, tenant="") is None
    assert known.get("three", truncate=False, tenant="") is not None


def test_tenants_do_not_learn_what_others_asked() -> None:
    """Not even where a name runs on into the text."""
    known = KnownTexts(capacity_bytes=10_000)
    known.put("b", Encoded(1, np.array([1])), truncate=False, tenant="a")
    assert known.get("b", truncate=False, tenant="a") is not None
    for tenant in ("", "aall ", "ab"):
        assert known.get("b", truncate=False, tenant=tenant) is None


def test_pairs_are_known_by_both_texts_and_how_they_are_cut() -> None:
    """Nothing else is taken for one of them, wherever its parts run on into each other."""
    known = KnownTexts(capacity_bytes=10_000)
    pair = Pair("a", "bc")
    known.put(pair, Encoded(1, np.array([1])), truncate=False, tenant="")
    assert known.get(Pair("a", "bc"), truncate=False, tenant="") is not None
    assert known.get(pair, truncate=True, tenant="") is None
    others = [Pair("ab", "c"), Pair("a", "bc", "left"), Pair("a", "bc", max_text_tokens=2)]
    for other in (*others, "abc", "pair right None 1 abc"):
        assert known.get(other, truncate=False, tenant="") is None


def test_what_is_no_text_is_not_remembered() -> None:
    """Tensors, and texts that have no UTF-8 form."""
    known = KnownTexts(capacity_bytes=10_000)
    for item in (7, "\ud800"):
        known.put(item, Encoded(1, np.array([1])), truncate=False, tenant="")
        assert known.get(item, truncate=False, tenant="") is None
