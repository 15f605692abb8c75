"""When two requests are the same: the canonical key.

A cache that forgets one field of the question gives one caller's answer to another. So the key
covers all of it: tenant, build, parameters and input bytes. Every field is tagged and
length-prefixed, so that no two different tuples have the same encoding, whatever they contain.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping

__all__ = ["KEY_BYTES", "request_key"]

KEY_BYTES = 32
_DOMAIN = b"headgate.request.v1"
"""Part of every key: a change of the encoding changes the domain, and no old key can match."""


def request_key(*, tenant: str, build: str, parameters: Mapping[str, str], content: bytes) -> bytes:
    """BLAKE2b-256 over the fields; independent of the order of ``parameters``.

    ``build`` is the build's version (a digest of model, tokenizer, preprocessing, precision and
    engine); ``content`` the canonical bytes of the input, with dtype and shape where it is a
    tensor.

    >>> a = request_key(tenant="t", build="b", parameters={"x": "1", "y": "2"}, content=b"hi")
    >>> b = request_key(tenant="t", build="b", parameters={"y": "2", "x": "1"}, content=b"hi")
    >>> c = request_key(tenant="", build="tb", parameters={"x": "1", "y": "2"}, content=b"hi")
    >>> a == b, a == c, len(a)
    (True, False, 32)
    """
    names = tuple(sorted(parameters.items()))
    hashed = _question_hash(tenant, build, names).copy()
    hashed.update(_framed(content))
    return hashed.digest()


@functools.lru_cache(maxsize=1024)
def _question_hash(
    tenant: str, build: str, parameters: tuple[tuple[str, str], ...]
) -> hashlib.blake2b:
    """The hash as far as all requests of a tenant to a build have it in common."""
    fields = [_DOMAIN, tenant.encode(), build.encode(), len(parameters).to_bytes(8, "big")]
    for name, value in parameters:
        fields += (name.encode(), value.encode())
    return hashlib.blake2b(b"".join(map(_framed, fields)), digest_size=KEY_BYTES)


def _framed(field: bytes) -> bytes:
    """Length before bytes: the fields' boundaries are part of what is hashed."""
    return len(field).to_bytes(8, "big") + field
