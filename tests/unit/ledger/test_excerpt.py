"""Entries that leave their ledger take the proof along that they were in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from headgate.errors import Refused, Tampered
from headgate.ledger import Store
from headgate.ledger.excerpt import Excerpt, Proved
from headgate.ledger.signing import SigningKey

KEY = SigningKey.generate()


def noted(store: Store, count: int) -> Excerpt:
    """An excerpt of every third entry, after ``count`` more."""
    for i in range(count):
        store.append("note", {"i": i, "half": i / 2})
    chosen = list(store.entries("note"))[::3]
    return Excerpt.of(store, chosen, store.checkpoint(KEY))


@pytest.mark.parametrize("count", [1, 2, 7, 8, 33])
def test_each_entry_is_shown_to_be_under_the_checkpoint(store: Store, count: int) -> None:
    """Whoever has the key needs no store; what is written is read again."""
    made = noted(store, count)
    made.check([KEY.public], "here")
    read = Excerpt.from_json(made.to_json())
    assert read == made
    read.check([KEY.public], "here")


def test_an_entry_that_was_changed_or_made_up_is_found(store: Store) -> None:
    """In any part that its id covers, or under another number."""
    made = noted(store, 9)
    one = made.proved[1]
    for other in (
        replace(one, entry=replace(one.entry, id="sha256:" + 64 * "0")),
        replace(one, entry=replace(one.entry, seq=one.entry.seq + 1)),
        replace(one, proof=one.proof[1:]),
        replace(one, proof=()),
    ):
        with pytest.raises(Tampered, match="is not in the ledger"):
            replace(made, proved=(other,)).check([KEY.public], "here")
    written = made.to_json()
    written["entries"][1]["body"] = '{"half":9,"i":9}'
    with pytest.raises(Tampered):
        Excerpt.from_json(written).check([KEY.public], "here")


def test_a_checkpoint_of_a_stranger_is_no_proof(store: Store) -> None:
    """Whoever can write a ledger can write another."""
    with pytest.raises(Refused, match="by no key that was given") as caught:
        noted(store, 3).check([SigningKey.generate().public], "here")
    assert caught.value.reason == "signer_unknown"


def test_a_ledger_that_grew_is_shown_to_go_on(store: Store) -> None:
    """From every checkpoint before, in whichever order two excerpts come."""
    first, second, third = noted(store, 3), noted(store, 4), noted(store, 1)
    for old, new in ((first, second), (first, third), (second, third)):
        assert new.goes_on_from(old)
        assert old.goes_on_from(new)
    assert first.goes_on_from(first)
    assert not replace(third, growth={}).goes_on_from(first)
    assert not replace(third, growth={3: third.growth[3][1:]}).goes_on_from(first)


def test_another_ledger_does_not_go_on_from_it(store: Store, tmp_path: Path) -> None:
    """Though the same key signed both."""
    first = noted(store, 3)
    with Store.open(tmp_path / "other", create=True) as other:
        assert not noted(other, 9).goes_on_from(first)


def test_an_entry_is_found_by_its_id_and_kind(store: Store) -> None:
    """And by no other kind."""
    made = noted(store, 3)
    one = made.proved[0].entry
    assert made.entry(one.id, "note") == one
    assert made.entry(one.id, "run") is None
    assert Proved(one, ()) != made.proved[0]
