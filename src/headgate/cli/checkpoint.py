"""``headgate checkpoint``: a signature over all that is recorded, to be kept elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.cli.options import AsJson, FileOption, StoreOption, open_store

if TYPE_CHECKING:
    from headgate.ledger import Store
    from headgate.ledger.signing import SigningKey

__all__ = ["checkpoint", "sign", "signing_key"]


def checkpoint(file: FileOption = None, store: StoreOption = None, as_json: AsJson = False) -> None:
    """Sign the ledger as it is, and print the checkpoint to keep elsewhere."""
    from headgate.cli.output import print_json, say

    with open_store(file, store) as opened:
        key = signing_key()
        made = opened.checkpoint(key)
    if as_json:
        print_json(
            {
                "checkpoint": str(made),
                "origin": made.origin,
                "entries": made.size,
                "root": f"sha256:{made.root.hex()}",
                "key": str(key.public),
            }
        )
        return
    print(made, end="")
    say("Kept in a file where nobody can change it with the store, it shows what came after it:")
    say(f"  headgate verify --key {key.public} --checkpoint FILE")


def sign(store: Store) -> None:
    """Sign what a command has just recorded; without a key the record stands, and that is said.

    Raises ``Tampered`` where what is recorded is not what was signed before.
    """
    from headgate.cli.output import say
    from headgate.errors import HeadgateError, Tampered

    try:
        store.checkpoint(signing_key())
    except Tampered:
        raise
    except HeadgateError as error:
        say(f"The ledger was not signed: {error}")


def signing_key() -> SigningKey:
    """The user's key; one that was just made is told once, on stderr."""
    from headgate.cli.output import say
    from headgate.ledger.signing import users_key

    key, made = users_key()
    if made is not None:
        say(f"A key that signs your ledgers was made: {made}. Its public half, for verify --key:")
        say(f"  {key.public}")
    return key
