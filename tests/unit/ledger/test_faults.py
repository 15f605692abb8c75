"""What the disk refuses is told with the file and the cure, and leaves the ledger as it was."""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from headgate.errors import Busy, Fault, HeadgateError, InputError, Tampered
from headgate.ledger import Store, sqlite
from headgate.ledger.faults import explained_database_errors, explained_disk_errors

# Appends until the file may not grow any more, then says how far it came and what it was told.
FILL = """
import resource, sys
from pathlib import Path
from headgate.errors import Fault
from headgate.ledger import Store
store = Store.open(Path(sys.argv[1]))
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
last = 0
try:
    while last < 10_000:
        last = store.append_all([("note", {"text": "x" * 500})] * 20)[-1].seq
except Fault as fault:
    print(last, fault, sep="~")
    try:
        store.put_bytes(bytes(limit + 1))
    except Fault as fault:
        print("~", fault)
"""


def test_a_full_disk_stops_the_writer_and_loses_nothing(store: Store, root: Path) -> None:
    """Where the file cannot grow: a Fault names it, what was acknowledged is there, all verifies.

    A limit on file size stands for the full disk; the kernel refuses the write in the same place.
    """
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    limit = (root / "ledger.sqlite").stat().st_size + 100_000
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(root), str(limit)],
        capture_output=True,
        text=True,
        check=True,
    )
    last, ledger_fault, blob_fault = done.stdout.split("~")
    assert str(root / "ledger.sqlite") in ledger_fault
    assert "what to do" in ledger_fault
    assert str(root / "artifacts") in blob_fault
    assert "free space" in blob_fault
    with Store.open(root) as again:
        report = again.verify()
        assert report.ok, report.findings
        assert report.entries == int(last) > 0
        assert again.append("note", {}).seq == int(last) + 1
    assert not list((root / "artifacts").glob(".writing-*"))


def test_a_ledger_that_another_process_is_writing_is_busy(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that does not end in time is Busy; nothing was appended."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.0)
    with Store.open(root, create=True) as store:
        other = sqlite3.connect(root / "ledger.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Busy, match="another process"):
            store.append("note", {})
        other.execute("ROLLBACK")
        other.close()
        assert store.append("note", {}).seq == 1


def test_a_failure_inside_a_transaction_takes_all_of_it_back(store: Store) -> None:
    """Even Ctrl-C in the middle leaves neither half an entry nor an open transaction."""

    class Interrupting(dict[str, int]):
        """A body during whose reading the user gives up."""

        def items(self) -> NoReturn:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.append_all([("note", {"n": 1}), ("note", Interrupting())])
    assert list(store.entries()) == []
    assert store.append("note", {}).seq == 1


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_BUSY, Busy),
        (sqlite3.SQLITE_LOCKED, Busy),
        (sqlite3.SQLITE_CORRUPT, Tampered),
        (sqlite3.SQLITE_NOTADB, Tampered),
        (sqlite3.SQLITE_FULL, Fault),
        (sqlite3.SQLITE_IOERR_FSYNC, Fault),
        (sqlite3.SQLITE_READONLY, Fault),
        (sqlite3.SQLITE_NOMEM, Fault),
    ],
)
def test_sqlites_codes_have_names_here(
    code: int, kind: type[HeadgateError], tmp_path: Path
) -> None:
    """Each kind of failure is its own error, with the file and what to do."""
    error = sqlite3.OperationalError("said sqlite")
    error.sqlite_errorcode = code
    with pytest.raises(kind) as caught, explained_database_errors(tmp_path):
        raise error
    assert type(caught.value) is kind
    assert str(tmp_path) in str(caught.value)
    assert caught.value.fix


def test_a_read_only_store_says_so(tmp_path: Path) -> None:
    """Permission is told apart from a full disk."""
    with pytest.raises(Fault, match="make it writable"), explained_disk_errors(tmp_path, "write"):
        raise PermissionError(13, os.strerror(13))


@pytest.mark.parametrize("create", [True, False])
def test_a_file_where_the_store_would_be_is_said_to_be_one(tmp_path: Path, create: bool) -> None:
    """Whoever makes a store and whoever looks for one learns that it must be moved; it stays."""
    (tmp_path / ".headgate").write_text("mine")
    with pytest.raises(InputError) as caught:
        Store.open(tmp_path / ".headgate", create=create)
    assert caught.value.reason == "store_in_the_way"
    assert str(caught.value) == (
        f"{tmp_path / '.headgate'}: is a file, and a store is a directory\n"
        "  what to do: move the file away, or name another store with --store"
    )
    assert (tmp_path / ".headgate").read_text() == "mine"


def test_a_file_above_the_store_or_in_it_is_not_a_fault_of_the_disk(tmp_path: Path) -> None:
    """Nor does the advice speak of one."""
    (tmp_path / "file").touch()
    (tmp_path / "store").mkdir()
    (tmp_path / "store/artifacts").symlink_to("nowhere")
    for root in ("file/store", "store"):
        with pytest.raises(Fault, match="move away what is there and is no directory") as caught:
            Store.open(tmp_path / root, create=True)
        assert "df" not in str(caught.value)
