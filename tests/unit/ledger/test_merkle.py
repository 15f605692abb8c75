"""The tree is RFC 6962's: the roots are those of the definition, and only truth is proved."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest

from headgate.ledger.merkle import (
    EMPTY_ROOT,
    Edge,
    Subtree,
    consistency_proof,
    inclusion_proof,
    is_consistent,
    is_included,
    leaf_hash,
    root_of,
)

SIZES = [*range(1, 34), 63, 64, 65]
# The leaves and roots with which certificate-transparency's own implementations are tested.
CT_LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657"]
CT_LEAVES += ["606162636465666768696a6b6c6d6e6f"]
CT_ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def by_definition(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    sides = by_definition(leaves[:k]) + by_definition(leaves[k:])
    return hashlib.sha256(b"\x01" + sides).digest()


def named(size: int) -> list[bytes]:
    return [str(n).encode() for n in range(size)]


def grown(leaves: Sequence[bytes]) -> Subtree:
    """The subtrees of a tree, from what each leaf filled when it was added."""
    edge = Edge(0, [])
    filled = [edge.add(leaf_hash(leaf)) for leaf in leaves]

    def subtree(level: int, index: int) -> bytes:
        last = (index + 1 << level) - 1
        if level == 0:
            return leaf_hash(leaves[last])
        return filled[last][32 * (level - 1) : 32 * level]

    return subtree


def test_the_roots_are_those_of_certificate_transparency() -> None:
    """The published vectors, and the root of nothing."""
    leaves = [bytes.fromhex(leaf) for leaf in CT_LEAVES]
    for size, root in CT_ROOTS.items():
        assert root_of(size, grown(leaves)).hex() == root
    assert root_of(0, grown([])) == EMPTY_ROOT == hashlib.sha256(b"").digest()


def test_a_tree_that_grows_has_the_root_of_the_definition_at_every_size() -> None:
    """By its edge as it grows, and later from the subtrees that were kept."""
    leaves, edge = named(70), Edge(0, [])
    subtree = grown(leaves)
    for size in range(70):
        assert edge.root() == root_of(size, subtree) == by_definition(leaves[:size])
        edge.add(leaf_hash(leaves[size]))


@pytest.mark.parametrize("size", SIZES)
def test_a_leaf_is_proved_at_its_place_and_at_no_other(size: int) -> None:
    """Every leaf; a wrong place, leaf, root, or a proof that was cut, padded or changed fails."""
    leaves = named(size)
    subtree, root = grown(leaves), by_definition(leaves)
    for index in range(size):
        proof, leaf = inclusion_proof(index, size, subtree), leaf_hash(leaves[index])
        assert len(proof) <= size.bit_length()
        assert is_included(leaf, index, size, proof, root)
        assert not is_included(leaf_hash(b"other"), index, size, proof, root)
        assert not is_included(leaf, index, size, proof, EMPTY_ROOT)
        assert not is_included(leaf, index, size, [*proof, root], root)
        assert not any(
            is_included(leaf, place, size, proof, root) for place in range(size) if place != index
        )
        for place in range(len(proof)):
            assert not is_included(leaf, index, size, proof[:place] + proof[place + 1 :], root)
    assert not is_included(leaf_hash(leaves[0]), -1, size, [], root)
    assert not is_included(leaf_hash(leaves[0]), size, size, [], root)


@pytest.mark.parametrize("size", SIZES)
def test_a_tree_is_proved_to_begin_with_an_older_one_and_with_no_other(size: int) -> None:
    """Every older size; another old root, new root, size, or a changed proof fails."""
    leaves = named(size)
    subtree, root = grown(leaves), by_definition(leaves)
    for old in range(1, size + 1):
        proof, old_root = consistency_proof(old, size, subtree), by_definition(leaves[:old])
        assert is_consistent(old, old_root, size, root, proof)
        forged = by_definition([*leaves[: old - 1], b"other"])
        assert not is_consistent(old, forged, size, root, proof)
        assert not is_consistent(old, old_root, size, EMPTY_ROOT, proof)
        assert not is_consistent(old, old_root, size, root, [*proof, root])
        for place in range(len(proof)):
            assert not is_consistent(old, old_root, size, root, proof[:place] + proof[place + 1 :])
    assert not is_consistent(0, EMPTY_ROOT, size, root, [])
    assert not is_consistent(size + 1, root, size, root, [])
