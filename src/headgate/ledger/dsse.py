"""A signed envelope that other tools open: DSSE, the Dead Simple Signing Envelope.

What is signed is not the payload but its *pre-authentication encoding* (PAE), which takes its type
in, so that no bytes can be passed off as something else than they were signed as
(https://github.com/secure-systems-lab/dsse, ``protocol.md`` and ``envelope.md``, version 1.0).

Knows nothing of what the payload says.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass

from headgate.errors import InputError
from headgate.ledger.signing import PublicKey, SigningKey
from headgate.objects import canonical

__all__ = ["Envelope", "pae"]

_STANDARD = str.maketrans("-_", "+/")
"""The URL-safe alphabet of base64 as the standard one: a reader must take both."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload, its type, and who signed both; ``signed_by`` says whether that is so."""

    payload_type: str
    """A media type or a URI: ``application/vnd.in-toto+json``."""
    payload: bytes
    signatures: tuple[tuple[str, bytes], ...]
    """(key id, 64 bytes of RFC 8032). A key id is a hint which key to try, and proves nothing."""

    @classmethod
    def signed(cls, key: SigningKey, payload_type: str, payload: bytes) -> Envelope:
        """A new one, with one signature; its key id is ``headgate+1a2b3c4d``."""
        made = key.sign(pae(payload_type, payload))
        return cls(payload_type, payload, ((key.public.signer, made),))

    @classmethod
    def parse(cls, content: bytes, where: str | None = None) -> Envelope:
        """What ``bytes`` wrote, or another tool. Raises ``InputError`` (``envelope_malformed``)."""
        try:
            read = json.loads(content)
            signatures = tuple(
                (str(s.get("keyid") or ""), _decoded(s["sig"])) for s in read["signatures"]
            )
            type_ = read["payloadType"]
            type_.encode()  # JSON can spell what is no text
            # A key id is shown to people before anybody's signature was checked.
            if not signatures or not all(key_id.isprintable() for key_id, _ in signatures):
                raise ValueError
            return cls(type_, _decoded(read["payload"]), signatures)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise InputError(
                "is no signed envelope (DSSE)",
                where=where,
                reason="envelope_malformed",
                fix="give one envelope, as `headgate export` writes one a line",
            ) from None

    def signed_by(self, key: PublicKey) -> bool:
        """Whether the owner of ``key`` signed this payload as this type, whatever key ids say."""
        message = pae(self.payload_type, self.payload)
        return any(key.verify(message, signature) for _, signature in self.signatures)

    def __bytes__(self) -> bytes:
        """The envelope as JSON, in one line."""
        return canonical(
            {
                "payloadType": self.payload_type,
                "payload": base64.b64encode(self.payload).decode(),
                "signatures": [
                    {"keyid": key_id, "sig": base64.b64encode(signature).decode()}
                    for key_id, signature in self.signatures
                ],
            }
        )


def pae(payload_type: str, payload: bytes) -> bytes:
    """What is signed. The example of the specification:

    >>> pae("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    type_ = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(type_), type_, len(payload), payload)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text.translate(_STANDARD), validate=True)
    except binascii.Error:
        raise ValueError from None
