"""A signed envelope binds its payload to its type, and is read as other tools write it."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.errors import InputError
from headgate.ledger.dsse import Envelope, pae
from headgate.ledger.signing import SigningKey

KEY = SigningKey.generate()
TYPE = "application/vnd.in-toto+json"


def test_an_envelope_is_signed_by_its_key_and_by_no_other() -> None:
    """What is written is read again, in one line of JSON."""
    made = Envelope.signed(KEY, TYPE, b'{"_type":"x"}')
    written = bytes(made)
    assert b"\n" not in written
    read = Envelope.parse(written)
    assert read == made
    assert read.signed_by(KEY.public)
    assert not read.signed_by(SigningKey.generate().public)


def test_the_same_payload_as_another_type_is_not_what_was_signed() -> None:
    """The signature covers the type: no statement passes for a manifest."""
    made = Envelope.signed(KEY, TYPE, b"{}")
    assert not Envelope("text/plain", b"{}", made.signatures).signed_by(KEY.public)
    assert not Envelope(TYPE, b"{} ", made.signatures).signed_by(KEY.public)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.binary(), st.text(), st.binary())
def test_no_two_messages_are_signed_as_the_same_bytes(
    type_: str, payload: bytes, other_type: str, other: bytes
) -> None:
    """Lengths stand before both parts, so that nothing moves from one into the other."""
    same = (type_, payload) == (other_type, other)
    assert (pae(type_, payload) == pae(other_type, other)) == same


def test_a_key_id_is_a_hint_and_nothing_else() -> None:
    """Without one, or with a false one, the signature alone says who it was."""
    ((_, signature),) = Envelope.signed(KEY, TYPE, b"{}").signatures
    sig = base64.b64encode(signature).decode()
    for claimed in ({}, {"keyid": "somebody"}, {"keyid": None}):
        written = {"payloadType": TYPE, "payload": "e30=", "signatures": [{"sig": sig, **claimed}]}
        assert Envelope.parse(json.dumps(written).encode()).signed_by(KEY.public)


def test_one_good_signature_among_others_is_enough() -> None:
    """An envelope may be signed by several, in any order."""
    mine, theirs = (Envelope.signed(k, TYPE, b"{}") for k in (KEY, SigningKey.generate()))
    both = Envelope(TYPE, b"{}", theirs.signatures + mine.signatures)
    assert Envelope.parse(bytes(both)).signed_by(KEY.public)


def test_either_alphabet_of_base64_is_read() -> None:
    """The specification allows both to a writer."""
    payload = b"\xfb\xef\xff"
    made = json.loads(bytes(Envelope.signed(KEY, TYPE, payload)))
    assert made["payload"] == "++//"
    made["payload"] = "--__"
    assert Envelope.parse(json.dumps(made).encode()).payload == payload


GOOD = {"payloadType": TYPE, "payload": "e30=", "signatures": [{"keyid": "a", "sig": "AAAA"}]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b'"payload"',
        b"[" * 100_000,
        *(json.dumps({k: v for k, v in GOOD.items() if k != gone}).encode() for gone in GOOD),
        *(
            json.dumps({**GOOD, **bad}).encode()
            for bad in (
                {"signatures": []},
                {"signatures": ["AAAA"]},
                {"signatures": [{"keyid": "a"}]},
                {"signatures": [{"sig": 5}]},
                {"signatures": 5},
                {"payload": "e30"},
                {"payload": "e3 0="},
                {"payload": "é30="},
                {"payload": None},
                {"payloadType": 5},
                {"payloadType": "\ud800"},
            )
        ),
    ],
)
def test_what_is_no_envelope_is_refused_with_the_place(content: bytes) -> None:
    """One error for whatever is wrong, and it names the file."""
    assert Envelope.parse(json.dumps(GOOD).encode()).payload == b"{}"
    with pytest.raises(InputError, match=r"^here: is no signed envelope") as caught:
        Envelope.parse(content, "here")
    assert caught.value.reason == "envelope_malformed"
