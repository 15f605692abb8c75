"""The canonical key."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headgate.caching import KEY_BYTES, request_key

fields = st.tuples(
    st.text("ab\0", max_size=3),
    st.text("ab\0", max_size=3),
    st.dictionaries(st.text("ab\0", max_size=2), st.text("ab\0", max_size=2), max_size=2),
    st.binary(max_size=3),
)


def key(tenant: str, build: str, parameters: dict[str, str], content: bytes) -> bytes:
    return request_key(tenant=tenant, build=build, parameters=parameters, content=content)


@given(a=fields, b=fields)
def test_keys_are_equal_where_all_fields_are(
    a: tuple[str, str, dict[str, str], bytes], b: tuple[str, str, dict[str, str], bytes]
) -> None:
    """No two different requests share a key, however their fields could be glued together."""
    assert (key(*a) == key(*b)) == (a == b)
    assert len(key(*a)) == KEY_BYTES


def test_every_field_counts() -> None:
    """Changing any one field changes the key."""
    keys = {
        key("t", "b", {"p": "1"}, b"c"),
        key("u", "b", {"p": "1"}, b"c"),
        key("t", "d", {"p": "1"}, b"c"),
        key("t", "b", {"p": "2"}, b"c"),
        key("t", "b", {"q": "1"}, b"c"),
        key("t", "b", {}, b"c"),
        key("t", "b", {"p": "1"}, b"d"),
    }
    assert len(keys) == 7


def test_fields_that_read_alike_when_glued_together_differ() -> None:
    """The boundary between two fields is part of the key."""
    assert key("a", "bc", {}, b"") != key("ab", "c", {}, b"")
    assert key("a", "b", {"c": "de"}, b"") != key("a", "b", {"cd": "e"}, b"")
    assert key("a", "b", {"c": "d"}, b"e") != key("a", "b", {"c": "de"}, b"")
