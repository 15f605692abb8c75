"""``headgate checkpoint``: a signature over all that is recorded, to be kept elsewhere."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headgate.cli.options import AsJson, FileOption, StoreOption, open_store

if TYPE_CHECKING:
    from headgate.ledger import Store
    from headgate.ledger.signing import SigningKey

__all__ = ["begin", "checkpoint", "refuse_forged", "sign", "signing", "signing_key"]

_log = logging.getLogger("headgate.cli")


def checkpoint(
    file: FileOption = None,
    store: StoreOption = None,
    fork: Annotated[
        str | None,
        typer.Option(
            metavar="WHY",
            help="Sign a copy, a restored backup or another ledger than the one that was signed "
            "here, as a history of its own. WHY goes on record.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Sign the ledger as it is, and print the checkpoint to keep elsewhere."""
    from headgate.cli.output import print_json, say
    from headgate.errors import UsageError

    if fork is not None and not fork.strip():
        raise UsageError(
            "why a history of its own begins was not said",
            where="--fork",
            reason="no_reason",
            fix='say it in a few words, which go on record: --fork "restored from a backup"',
        )
    with open_store(file, store) as opened:
        key = signing_key()
        made = opened.checkpoint(key, fork=fork)
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


def begin(root: Path) -> None:
    """Before long work in the store at ``root``, which may be there or not yet.

    Raises ``Tampered`` as ``refuse_forged`` does. Where the store is gone, who types the command
    begins another in its place: that is said.
    """
    from headgate.cli.output import say
    from headgate.errors import HeadgateError, InputError
    from headgate.ledger import Store
    from headgate.ledger.memory import users_memory

    try:
        with Store.open(root) as opened:
            refuse_forged(opened)
    except InputError as error:
        if error.reason != "store_missing":
            raise
        memory = users_memory()
        with contextlib.suppress(HeadgateError):  # `sign` says it, once there is something to sign
            gone = None if memory is None else memory.signed_in(root)
            if gone is not None:
                say(f"{gone.origin}, which was signed in {root}, is gone; another ledger begins.")
                # At once: whoever puts something else there meanwhile is found.
                with Store.open(root, create=True) as opened:
                    opened.checkpoint(signing_key(), fork="the ledger before it was gone")


def refuse_forged(store: Store, *, copies: bool = True) -> None:
    """Raises ``Tampered`` where the ledger does not go on from what was signed, before anything is
    done on its word, and without ``copies`` ``Refused`` for a copy, before anything is signed on
    it; what else is in the way of signing the ledger is said when it is signed."""
    from headgate.errors import HeadgateError, Tampered
    from headgate.ledger.memory import COPIED, users_memory

    try:
        store.check_signed(users_memory(), copies=copies)
    except Tampered:
        raise
    except HeadgateError as error:
        if error.reason == COPIED:
            raise


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


@contextlib.contextmanager
def signing(store: Store) -> Iterator[Callable[[], object] | None]:
    """What signs the records of a command that runs for long; called once more where it ends well.

    None without a key, which is logged: what a process makes that nobody watches, nobody knows. So
    is a ledger that is not what was signed; callers are served all the same.
    """
    from headgate.errors import HeadgateError, Tampered
    from headgate.ledger.signing import SigningKey, users_key_file

    try:
        refuse_forged(store)
    except Tampered as error:
        _log.error("%s", error)
    try:
        key = SigningKey.read(users_key_file())
    except HeadgateError as error:
        _log.warning("what is recorded here is signed by your next command: %s", error)
        yield None
        return
    yield lambda: store.checkpoint(key)
    try:
        store.checkpoint(key)
    except HeadgateError as error:
        _log.error("the ledger was not signed: %s", error)


def signing_key() -> SigningKey:
    """The user's key; one that was just made is told once, on stderr."""
    from headgate.cli.output import say
    from headgate.ledger.signing import users_key

    key, made = users_key()
    if made is not None:
        say(f"A key that signs your ledgers was made: {made}. Its public half, for verify --key:")
        say(f"  {key.public}")
    return key
