"""A lock is held by one, names its holder, and is gone with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headgate.errors import Busy
from headgate.ledger import Store

HOLD = """
import sys
from pathlib import Path
from headgate.ledger import Store
with Store.open(Path(sys.argv[1])).lock("optimize docs/search"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_holder_is_refused_at_once_and_told_who_is_first(store: Store) -> None:
    """Busy names the process; after the first is done the lock can be had again."""
    with store.lock("optimize docs-search"):
        with pytest.raises(Busy, match=f"process {os.getpid()}") as caught:
            store.lock("optimize docs-search").__enter__()
        assert caught.value.reason == "locked"
        with store.lock("optimize another"):
            pass
    with store.lock("optimize docs-search"):
        pass


def test_an_exception_inside_frees_the_lock(store: Store) -> None:
    """The lock does not outlive its block, however that ends; the error passes unchanged."""
    with pytest.raises(OSError, match="mine"), store.lock("work"):
        raise OSError("mine")
    with store.lock("work"):
        pass


def test_another_process_holds_the_lock_until_it_is_killed(store: Store, root: Path) -> None:
    """The message names the other process; kill -9 frees the lock."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Busy, match=f"process {holder.pid}"):
            store.lock("optimize docs/search").__enter__()
        holder.kill()
        holder.wait()
    with store.lock("optimize docs/search"):
        pass


def test_a_lock_stays_inside_the_store(store: Store, root: Path) -> None:
    """A name with slashes and dots becomes one file under locks/."""
    with store.lock("../../escape"):
        pass
    assert len(list((root / "locks").iterdir())) == 1
