"""The table of kinds is whole, and what of it is stored are codes that stay."""

from __future__ import annotations

from dataclasses import fields

import pytest

from headgate.objects import (
    KINDS,
    STANDARDS,
    CheckItem,
    FailureNote,
    Response,
    Signal,
    findings,
    parse,
    planted,
)


def test_every_kind_of_object_has_a_standard() -> None:
    """``Kind`` is what an artifact can be, and mypy lets nothing else be registered; runs and
    releases are objects too."""
    assert set(STANDARDS) == {*KINDS, "run", "release"}
    assert all(standard.kind == kind for kind, standard in STANDARDS.items())


def test_codes_that_are_stored_never_change() -> None:
    """Whoever renames one makes every store that holds it unreadable; a new one goes to the end of
    its list."""
    assert list(Signal) == [
        "old", "superseded", "absent", "changed", "late", "unlinked", "large", "slow_to_make",
        "latency_broken", "cost_broken", "unfit", "promise_broken", "untested",
    ]  # fmt: skip
    assert list(Response) == ["warn", "backfill", "block", "reject", "investigate", "downscale"]
    assert list(CheckItem) == ["stated", "named", "measured", "linked", "owned", "tested"]


@pytest.mark.parametrize("codes", [Signal, CheckItem])
def test_every_code_has_a_sentence_of_its_own(codes: type[Signal] | type[CheckItem]) -> None:
    """For people."""
    said = [code.says for code in codes]
    assert len(set(said)) == len(said)
    assert all(" " in sentence for sentence in said)


@pytest.mark.parametrize("kind", STANDARDS)
def test_what_is_registered_of_a_failure_note_are_codes(kind: str) -> None:
    """A signal and a response for each of its six lines."""
    note = parse(STANDARDS[kind].content)["failure_note"]
    assert list(note) == sorted(line.name for line in fields(FailureNote))
    for seen in note.values():
        assert seen["signal"] in list(Signal)
        assert seen["response"] in list(Response)


def test_a_sentence_may_be_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on record stays as it is, and what was registered before still fires."""
    dataset = STANDARDS["dataset"]
    before = dataset.content
    said = dict.fromkeys(Signal, "in other words")
    monkeypatch.setattr("headgate.objects.standards._SAYS", said)
    assert Signal.ABSENT.says == "in other words"
    assert dataset.content == before
    (found,) = findings(dataset, planted(dataset, "missing"))
    assert (found.signal, found.because) == ("absent", "in other words")
