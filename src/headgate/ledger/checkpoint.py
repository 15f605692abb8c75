"""A signed checkpoint: who says that the ledger had this root at this size.

A C2SP checkpoint (https://c2sp.org/tlog-checkpoint) in a signed note, which other tools read::

    headgate/5de5bda4ef4357ab            the origin: which ledger
    120                                  its size: how many entries
    CsUYapGGPo4dkMgIAUqom/Xajj7h2f...=   the root of the Merkle tree of those

    — headgate 1a2b3c4dAz3grlgt...=      a signature: key name, base64 of key id and Ed25519

A ledger's origin is its first entry's id, so a checkpoint cannot be held against another ledger.
A key's name is not the origin, as C2SP recommends: one key signs for all ledgers of its owner.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from headgate.errors import InputError
from headgate.ledger.signing import PublicKey, SigningKey

__all__ = ["Checkpoint", "Signature", "origin_of"]

_NOTE = re.compile(
    r"(?P<text>(?P<origin>\S+)\n(?P<size>[1-9]\d{0,15})\n(?P<root>[A-Za-z0-9+/]{43}=)\n)\n"
    r"(?P<signatures>(— [^\s+]+ [A-Za-z0-9+/=]+\n){1,16})"
)


@dataclass(frozen=True, slots=True)
class Signature:
    """One line under the text."""

    name: str
    key_id: str
    """8 hex digits."""
    raw: bytes

    @property
    def signer(self) -> str:
        """The key, for people: ``headgate+1a2b3c4d``."""
        return f"{self.name}+{self.key_id}"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was signed, and by whom; ``signed_by`` says whether that is so."""

    origin: str
    size: int
    """Entries, at least 1."""
    root: bytes
    """32 bytes."""
    signatures: tuple[Signature, ...]

    @classmethod
    def signed(cls, key: SigningKey, origin: str, size: int, root: bytes) -> Checkpoint:
        """A new one, with one signature."""
        unsigned = cls(origin, size, root, ())
        raw = key.sign(unsigned.text.encode())
        signature = Signature(key.public.name, key.public.key_id, raw)
        return cls(origin, size, root, (signature,))

    @classmethod
    def parse(cls, note: str, where: str | None = None) -> Checkpoint:
        """What ``str`` wrote. Raises ``InputError`` (``checkpoint_malformed``)."""
        found = _NOTE.fullmatch(note)
        try:
            if found is None:
                raise ValueError
            lines = found["signatures"].splitlines()
            return cls(
                found["origin"],
                int(found["size"]),
                base64.b64decode(found["root"], validate=True),
                tuple(_signature(line) for line in lines),
            )
        except (ValueError, binascii.Error):
            raise InputError(
                "is no checkpoint",
                where=where,
                reason="checkpoint_malformed",
                fix="give what `headgate checkpoint` printed, to its last line end",
            ) from None

    @property
    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    def signed_by(self, key: PublicKey) -> bool:
        """Whether ``key`` signed it; a line that only claims so makes it False."""
        claimed = [s for s in self.signatures if (s.name, s.key_id) == (key.name, key.key_id)]
        return bool(claimed) and all(key.verify(self.text.encode(), s.raw) for s in claimed)

    def __str__(self) -> str:
        lines = (
            f"— {s.name} {base64.b64encode(bytes.fromhex(s.key_id) + s.raw).decode()}\n"
            for s in self.signatures
        )
        return f"{self.text}\n{''.join(lines)}"


def origin_of(first_entry: str) -> str:
    """The origin of the ledger whose first entry has this id."""
    return f"headgate/{first_entry.removeprefix('sha256:')[:16]}"


def _signature(line: str) -> Signature:
    _, name, encoded = line.split(" ")
    raw = base64.b64decode(encoded, validate=True)
    return Signature(name, raw[:4].hex(), raw[4:])
