"""Some entries of a ledger, for whoever has no more of it: each with the proof that it is there.

An excerpt stands under one signed checkpoint. Its entries are the bytes that were written, so their
ids are those of the ledger that they come from; a proof of inclusion (RFC 6962) shows that each is
among the entries that were signed. For every earlier checkpoint there is a proof that the ledger
went on from it, so that who holds one sees whether history was written anew since.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headgate.errors import InputError, Refused, Tampered
from headgate.ledger.checkpoint import Checkpoint
from headgate.ledger.entry import Entry, hash_row, leaf_of, parsed
from headgate.ledger.merkle import is_consistent, is_included
from headgate.ledger.signing import PublicKey
from headgate.ledger.store import Store
from headgate.objects import canonical

__all__ = ["Excerpt", "Proved"]


@dataclass(frozen=True, slots=True)
class Proved:
    """An entry, and the hashes beside its way up the tree."""

    entry: Entry
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Entries of one ledger under one checkpoint; ``check`` says whether that is so."""

    checkpoint: Checkpoint
    proved: tuple[Proved, ...]
    """Oldest first."""
    growth: Mapping[int, tuple[bytes, ...]]
    """Size of an earlier checkpoint -> what shows that this one goes on from it."""

    @classmethod
    def of(cls, store: Store, entries: Iterable[Entry], checkpoint: Checkpoint) -> Excerpt:
        """``entries``, each once, which must be under ``checkpoint``."""
        size = checkpoint.size
        chosen = sorted({e.seq: e for e in entries}.values(), key=lambda e: e.seq)
        earlier = (Checkpoint.parse(e.body["note"]).size for e in store.entries("checkpoint"))
        return cls(
            checkpoint,
            tuple(Proved(e, tuple(store.prove(e, size))) for e in chosen),
            {old: tuple(store.prove_growth(old, size)) for old in earlier if old < size},
        )

    def check(self, keys: Sequence[PublicKey], where: str) -> None:
        """Raises ``Refused`` (``signer_unknown``) where none of ``keys`` signed the checkpoint,
        ``Tampered`` where an entry is not among what it signs."""
        if not any(self.checkpoint.signed_by(key) for key in keys):
            signers = ", ".join(s.signer for s in self.checkpoint.signatures)
            raise Refused(
                f"its checkpoint is signed by {signers}, and by no key that was given",
                where=where,
                reason="signer_unknown",
                fix="give the key of whoever exported it; `headgate checkpoint --json` prints it "
                "there",
            )
        size, root = self.checkpoint.size, self.checkpoint.root
        for one in self.proved:
            if not is_included(leaf_of(one.entry.id), one.entry.seq - 1, size, one.proof, root):
                raise Tampered(
                    f"entry {one.entry.seq} is not in the ledger that its checkpoint signs",
                    where=where,
                    fix="export it again, from a ledger that `headgate verify` finds whole",
                )

    def goes_on_from(self, held: Excerpt) -> bool:
        """Whether this and ``held``, in either order, are of one history; both were checked."""
        old, new = sorted((self, held), key=lambda excerpt: excerpt.checkpoint.size)
        before, now = old.checkpoint, new.checkpoint
        proof = new.growth.get(before.size, ())
        return is_consistent(before.size, before.root, now.size, now.root, proof)

    def entry(self, id_: str, kind: str) -> Entry | None:
        """The entry of this id and kind."""
        found = (p.entry for p in self.proved if p.entry.id == id_)
        return next((entry for entry in found if entry.kind == kind), None)

    def registered(self, version: str) -> Entry | None:
        """The newest entry that registers an artifact of this version."""
        entries = (p.entry for p in reversed(self.proved) if p.entry.kind == "artifact")
        return next((entry for entry in entries if entry.body["version"] == version), None)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; ``from_json`` gives an equal value back."""
        return {
            "checkpoint": str(self.checkpoint),
            "entries": [_to_json(one) for one in self.proved],
            "growth": {str(old): _hex(proof) for old, proof in self.growth.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Excerpt:
        """What ``to_json`` wrote. Raises ``ValueError``, ``TypeError`` or ``KeyError`` where it is
        something else."""
        try:
            checkpoint = Checkpoint.parse(value["checkpoint"])
        except InputError as error:
            raise ValueError(error.what) from None
        proved = tuple(_from_json(one) for one in value["entries"])
        growth = {int(old): _bytes(proof) for old, proof in value["growth"].items()}
        return cls(checkpoint, proved, growth)


def _to_json(one: Proved) -> dict[str, Any]:
    entry = one.entry
    return {
        "seq": entry.seq,
        "tree": entry.tree,
        "kind": entry.kind,
        "recorded_at": entry.recorded_at,
        # As it was hashed: a body that is read and written again may be spelt otherwise.
        "body": canonical(entry.body).decode(),
        "proof": _hex(one.proof),
    }


def _from_json(value: Mapping[str, Any]) -> Proved:
    seq, tree, kind, at = (value[name] for name in ("seq", "tree", "kind", "recorded_at"))
    if type(seq) is not int or not all(isinstance(text, str) for text in (tree, kind, at)):
        raise TypeError("an entry has a number and texts")
    body = value["body"].encode()
    id_ = hash_row(seq, tree, kind, at, body)
    read = parsed(body)
    if not isinstance(read, dict):
        raise TypeError(f"the body of entry {seq} is no object")
    return Proved(Entry(seq, id_, tree, kind, at, read), _bytes(value["proof"]))


def _hex(proof: Iterable[bytes]) -> list[str]:
    return [sibling.hex() for sibling in proof]


def _bytes(proof: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(sibling) for sibling in proof)
