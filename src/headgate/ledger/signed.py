"""Signing a ledger, but only what goes on from what was signed before.

Two things say what that was: the last checkpoint in the ledger, whoever made it, and what the
signer remembers (``headgate.ledger.memory``). Whoever signs goes by the hashes of subtrees that
stand beside the entries, as whoever appends does; whoever acts on what was signed goes by the ids
of the entries, each of which is held against its entry when that is read.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

from headgate.errors import InputError, Refused, Tampered, UsageError
from headgate.ledger.checkpoint import Checkpoint, origin_of
from headgate.ledger.entry import leaf_of, utc_now
from headgate.ledger.log import Log
from headgate.ledger.memory import COPIED, History, Memory, names_of
from headgate.ledger.merkle import Edge, root_of
from headgate.ledger.signing import SigningKey

__all__ = ["check_signed", "sign"]


def sign(log: Log, store: Path, key: SigningKey, *, fork: str | None = None) -> Checkpoint:
    """See ``Store.checkpoint``; ``store`` is where the ledger is."""
    memory = None if key.path is None else Memory.beside(key.path)
    if fork is not None:
        _fork(log, store, fork, memory)
    with log.transaction():
        history = _history(log, store)
        if not history.size:
            raise UsageError(
                "nothing is recorded here yet",
                where=str(store),
                fix="type `headgate optimize headgate.yaml` first",
                reason="ledger_empty",
            )
        before = _last_checkpoint(log, history)
        is_last = before is not None and before.size == history.size - 1
        if before is not None and is_last and before.signed_by(key.public):
            made = before
        else:
            root = history.root(history.size)
            made = Checkpoint.signed(key, history.origins[-1], history.size, root)
        if memory is not None:  # before it is recorded: what was signed is never forgotten
            memory.remember(made, history, fork=fork is not None)
        if made is not before:
            log.append("checkpoint", {"note": str(made)}, utc_now())
    return made


def check_signed(
    log: Log, store: Path, memory: Memory | None, *, copies: bool = True
) -> Checkpoint | None:
    """See ``Store.check_signed``."""

    def history() -> History:
        return replace(_history(log, store), root=lambda size: _root_of_ids(log, size))

    _last_checkpoint(log, history())
    if memory is None:
        return None
    try:
        known = memory.recall(history)
    except Refused as error:
        if error.reason != COPIED or not copies:
            raise
        return None
    return None if known is None else known.checkpoint


def _fork(log: Log, store: Path, why: str, memory: Memory | None) -> None:
    """Records that another history begins here, and what was signed that it does not follow."""
    with log.transaction():
        history = _history(log, store)
        _last_checkpoint(log, history)
        aside = None if memory is None else memory.set_aside(history)
        body = {"why": why, "set_aside": None if aside is None else str(aside)}
        log.append("fork", body, utc_now())


def _history(log: Log, store: Path) -> History:
    last = next(log.select(newest_first=True), None)
    begun = (*itertools.islice(log.select(), 1), *log.select("fork"))
    return History(
        names_of(store),
        tuple(origin_of(entry.id) for entry in begun),
        0 if last is None else last.seq,
        lambda size: root_of(size, log.subtree),
    )


def _root_of_ids(log: Log, size: int) -> bytes:
    """The root over the first ``size`` entries as they are called, and not as is said beside them:
    an entry that was edited, and given the id that fits, is another leaf."""
    edge = Edge(0, [])
    for row in itertools.islice(log.rows(), size):
        try:
            edge.add(leaf_of(row.id))
        except ValueError:
            break  # what is no id is none that was signed
    return edge.root()


def _last_checkpoint(log: Log, history: History) -> Checkpoint | None:
    """The last one that is recorded; raises ``Tampered`` where it is not of what is before it."""
    entry = next(log.select("checkpoint", newest_first=True), None)
    if entry is None:
        return None
    try:
        found = Checkpoint.parse(str(entry.body.get("note")))
        fits = (
            found.origin in history.origins
            and found.size == entry.seq - 1
            and found.root == history.root(found.size)
        )
        what = f"the first {found.size} entries are not those that were signed"
    except InputError:
        fits, what = False, f"entry {entry.seq} is no checkpoint"
    if not fits:
        raise Tampered(
            what,
            where=history.stores[0],
            fix="restore the ledger from a backup; `headgate verify` lists what is damaged",
        )
    return found
