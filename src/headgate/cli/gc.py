"""``headgate gc``: content that nothing refers to goes."""

from __future__ import annotations

from headgate.cli.options import AsJson, FileOption, StoreOption, open_store

__all__ = ["gc"]


def gc(file: FileOption = None, store: StoreOption = None, as_json: AsJson = False) -> None:
    """Remove artifacts that no entry names, such as a killed command leaves.

    Nothing is removed where entries were changed or are gone.
    """
    from headgate.amounts import size
    from headgate.cli.output import print_json, stdout, title
    from headgate.ledger.memory import users_memory

    with open_store(file, store) as opened:
        files, freed_bytes = opened.collect(users_memory())
    if as_json:
        print_json({"files": files, "freed_bytes": freed_bytes})
        return
    what = f"Removed {files:,} artifact{'s' * (files != 1)} that no entry names"
    stdout().print(title(what, size(freed_bytes)))
