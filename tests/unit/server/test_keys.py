"""API keys: what a file of them may say, and whose call it is."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.errors import InputError
from headgate.server.http import HttpError
from headgate.server.keys import Keys


def line(key: str, tenant: str) -> str:
    return f"{hashlib.sha256(key.encode()).hexdigest()}  {tenant}\n"


def refused(headers: dict[bytes, bytes], keys: Keys) -> HttpError:
    with pytest.raises(HttpError) as told:
        keys.tenant_of(headers)
    return told.value


KEYS = Keys.parse(line("red", "search") + line("blue", "docs"), "keys")


@pytest.mark.parametrize("scheme", [b"Bearer ", b"bearer ", b"BEARER  "])
def test_a_key_says_whose_call_it_is(scheme: bytes) -> None:
    """Sent as OpenAI's clients send it; the scheme's case does not matter."""
    assert KEYS.tenant_of({b"authorization": scheme + b"red"}) == "search"
    assert KEYS.tenant_of({b"authorization": scheme + b"blue"}) == "docs"


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (None, "no API key"),
        (b"", "no API key"),
        (b"red", "no API key"),
        (b"Bearer", "no API key"),
        (b"Bearer ", "no API key"),
        (b"Basic red", "no API key"),
        (b"Bearer red blue", "no API key"),
        (b"Bearer Red", "not known"),
        (b"Bearer \xff", "not known"),
        (b"Bearer " + line("red", "").split()[0].encode(), "not known"),  # what the file holds
    ],
)
def test_without_a_key_nobody_is_known(sent: bytes | None, why: str) -> None:
    """401, with the way to send one."""
    error = refused({} if sent is None else {b"authorization": sent}, KEYS)
    assert (error.status, error.code) == (401, "invalid_api_key")
    assert error.headers == ((b"www-authenticate", b"Bearer"),)
    assert why in error.message


def test_the_tenants_header_cannot_name_another() -> None:
    """The key's own may be named; another is refused, and not silently the key's."""
    red = {b"authorization": b"Bearer red"}
    assert KEYS.tenant_of({**red, b"x-headgate-tenant": b"search"}) == "search"
    for other in (b"docs", b"", b"\xff"):
        error = refused({**red, b"x-headgate-tenant": other}, KEYS)
        assert error.status == 401
        assert "X-Headgate-Tenant: this API key is search's" in error.message


def test_a_file_may_say_things_to_its_readers() -> None:
    """Comments, blank lines, any case of the digits, and a tenant's next key beside the last."""
    old, new = line("old", "search"), line("new", "search").upper().replace("SEARCH", "search")
    keys = Keys.parse(f"# since May\n\n  {old}\t\n  # from June\n{new}", "keys")
    assert len(keys) == 2
    for key in (b"old", b"new"):
        assert keys.tenant_of({b"authorization": b"Bearer " + key}) == "search"


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("", "keys", "no key is in it"),
        ("# nothing\n\n", "keys", "no key is in it"),
        ("\n" + line("red", ""), "keys:2", "1 words"),
        (line("red", "the search team"), "keys:1", "4 words"),
        (line("red", "a") + f"{'a' * 63} b", "keys:2", "no SHA-256 digest"),
        (f"{'g' * 64} b", "keys:1", "no SHA-256 digest"),
        (line("red", "./search"), "keys:1", "'./search' is no name"),
        (line("red", "é"), "keys:1", "'é' is no name"),
        (line("red", "a" * 65), "keys:1", "is no name"),
        (line("red", "search") * 2, "keys:2", "this key is search's already"),
        (line("red", "search") + line("red", "docs"), "keys:2", "this key is search's already"),
    ],
)
def test_a_broken_file_is_refused_by_its_line(text: str, where: str, what: str) -> None:
    """What, where, and what to do."""
    with pytest.raises(InputError, match=what) as refused:
        Keys.parse(text, "keys")
    assert refused.value.where == where
    assert refused.value.fix


def test_a_key_that_was_written_instead_of_its_digest_is_not_told_to_the_log() -> None:
    """As `openssl rand -hex 24` makes it, it is no digest; the error quotes nothing of it."""
    key = "5bd0fdbd3e1a4b1f8c7f8d6d1c2a90e77f3c6d5e4b3a2918"
    with pytest.raises(InputError, match="no SHA-256 digest") as refused:
        Keys.parse(f"{key}  search", "keys")
    assert key not in str(refused.value)


@given(st.dictionaries(st.from_regex(r"[!-~]{1,60}", fullmatch=True), st.sampled_from("abc")))
def test_every_key_is_its_tenants_and_no_other_is_anybodys(tenants: dict[str, str]) -> None:
    """Whatever the keys are made of."""
    if not tenants:
        return
    keys = Keys.parse("".join(line(k, t) for k, t in tenants.items()), "keys")
    for key, tenant in tenants.items():
        assert keys.tenant_of({b"authorization": b"Bearer " + key.encode()}) == tenant
        if key + "x" not in tenants:
            refused({b"authorization": b"Bearer " + key.encode() + b"x"}, keys)
