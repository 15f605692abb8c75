"""API keys: who a caller is, by what it sends. Pure: text in, tenants out.

A file of keys holds their SHA-256 digests, so that nobody who reads it can call. Its lines are what
``sha256sum`` prints of files that are named after their tenants::

    # made with: openssl rand -hex 24 | tr -d '\\n' > search && sha256sum search
    2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b  search
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import NoReturn

from headgate.errors import InputError
from headgate.server.http import HttpError

__all__ = ["Keys"]

_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_BEARER = re.compile(rb"bearer +(\S+)", re.IGNORECASE)  # the scheme's case is free: RFC 9110, 11.1
_FIX = "write DIGEST TENANT; `sha256sum TENANT` prints that of a file TENANT that holds the key"


class Keys:
    """The keys of all tenants; a tenant may have several, so that one can follow another.

    >>> keys = Keys.parse(hashlib.sha256(b"secret").hexdigest() + "  search", "keys")
    >>> keys.tenant_of({b"authorization": b"Bearer secret"})
    'search'
    """

    def __init__(self, tenants: Mapping[bytes, str]) -> None:
        """``tenants``: SHA-256 digest of a key -> whose it is, not empty."""
        self._tenants = dict(tenants)

    def __len__(self) -> int:
        return len(self._tenants)

    @classmethod
    def parse(cls, text: str, where: str) -> Keys:
        """A file's ``text``; lines that are blank or begin with # say nothing.

        Raises ``InputError`` naming the line of the file ``where``. It quotes no digest: whoever
        wrote the key itself there would find it in the log.
        """
        tenants: dict[bytes, str] = {}
        for number, line in enumerate(text.splitlines(), 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            at = f"{where}:{number}"
            if len(words) != 2:
                _fail(f"{len(words)} words instead of a digest and a tenant", at, _FIX)
            digest, tenant = words
            if not _DIGEST.fullmatch(digest):
                _fail("the first word is no SHA-256 digest, 64 hexadecimal digits", at, _FIX)
            if not _TENANT.fullmatch(tenant):
                fix = "use 1 to 64 letters, digits and . _ -, a letter or digit first"
                _fail(f"{tenant!r} is no name of a tenant", at, fix)
            key = bytes.fromhex(digest)
            if key in tenants:
                _fail(
                    f"this key is {tenants[key]}'s already",
                    at,
                    "remove a line, or make another key",
                )
            tenants[key] = tenant
        if not tenants:
            _fail("no key is in it, so nobody could call", where, _FIX)
        return cls(tenants)

    def tenant_of(self, headers: Mapping[bytes, bytes]) -> str:
        """Whose key the caller sent, by its ``headers`` (names in lower case).

        Raises ``HttpError`` 401: no key, no key that is known, or another tenant's name beside it.

        The lookup's time tells nothing about keys. It depends on the digest of what was sent, and
        nobody can choose that to begin like the digest of a key that they do not have.
        """
        sent = _BEARER.fullmatch(headers.get(b"authorization", b""))
        if sent is None:
            raise _unauthorized("Authorization: no API key; send Authorization: Bearer KEY")
        tenant = self._tenants.get(hashlib.sha256(sent[1]).digest())
        if tenant is None:
            raise _unauthorized("Authorization: this API key is not known; ask for a new one")
        named = headers.get(b"x-headgate-tenant")
        if named is not None and named != tenant.encode():
            raise _unauthorized(f"X-Headgate-Tenant: this API key is {tenant}'s; leave it out")
        return tenant


def _fail(what: str, where: str, fix: str) -> NoReturn:
    raise InputError(what, where=where, reason="api_keys", fix=fix)


def _unauthorized(message: str) -> HttpError:
    return HttpError(
        401, message, code="invalid_api_key", headers=((b"www-authenticate", b"Bearer"),)
    )
