"""``headgate verify``: whether the store still is what was written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headgate.cli.options import AsJson, FileOption, StoreOption, open_store, store_root
from headgate.errors import Refused, Tampered

if TYPE_CHECKING:
    from headgate.ledger import VerifyReport
    from headgate.ledger.checkpoint import Checkpoint
    from headgate.ledger.signing import PublicKey

__all__ = ["public_key", "verify"]


def verify(
    file: FileOption = None,
    store: StoreOption = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PUBLIC",
            help="Who may have signed: a public key or a file with it; may be given again.",
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="What `headgate checkpoint` printed, as it was kept elsewhere."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Check every entry, artifact and signature against what was written."""
    from headgate.cli.output import grid, print_json, stdout, title
    from headgate.ledger.memory import users_memory
    from headgate.ledger.verify import unreadable
    from headgate.objects import jsonable, short

    keys = [public_key(text) for text in key or ()]
    kept = None if checkpoint is None else _checkpoint(checkpoint)
    try:
        with open_store(file, store) as opened:
            report = opened.verify(keys=keys, kept=kept, memory=users_memory())
    except Tampered as error:  # whose advice for every other command is to type this one
        report = unreadable(error)
    if as_json:
        print_json({"ok": report.ok, **jsonable(report)})
        return 0 if report.ok else Refused.exit_code
    console = stdout()
    counted = f"{report.entries:,} entries, {report.artifacts:,} artifacts"
    if report.ok:
        console.print(title("Everything is as it was written", counted))
        for line in _covered(report, checked=bool(keys), kept=kept):
            console.print(line, soft_wrap=True)
        return 0
    count = len(report.findings)
    where = store_root(file, store)
    said = counted if report.entries else "nothing could be read"
    console.print(title(f"{count} finding{'s' * (count != 1)} in {where}", said))
    table = grid("=reason", "what", "=entry")
    for finding in report.findings:
        table.add_row(finding.reason, finding.what, short(finding.entry) if finding.entry else "")
    console.print(table)
    if {finding.reason for finding in report.findings} == {"signer_unknown"}:
        console.print("Where you trust whoever signed, give their key as well: --key, once more.")
        return Refused.exit_code
    console.print("Restore the store from a backup; what is damaged proves nothing.")
    if any(finding.reason == "not_what_was_signed" for finding in report.findings):
        console.print(
            "If it is a backup: `headgate checkpoint --fork WHY` signs it as a new ledger."
        )
    return Refused.exit_code


def _covered(report: VerifyReport, *, checked: bool, kept: Checkpoint | None) -> list[str]:
    """What the signatures prove, and what would prove more."""
    from headgate.objects import short

    if not report.signed:
        return ["Nothing is signed: `headgate checkpoint` signs it."]
    rest = f"; {report.unsigned:,} after that are not yet" if report.unsigned else ""
    lines = [f"Signed by {', '.join(report.signers)} up to entry {report.signed:,}{rest}."]
    lines += [
        f"Forked from another ledger: `headgate show {short(id)}` says why." for id in report.forks
    ]
    if not checked:
        lines.append("Whether that is so was not checked: give --key.")
    if report.remembered:
        lines.append(f"You signed the first {report.remembered:,} entries here; they are the same.")
    elif kept is None:
        lines.append("Whether the end was cut off shows a checkpoint kept elsewhere: --checkpoint.")
    if kept is not None:
        lines.append(f"The first {kept.size:,} entries are those of the checkpoint that was kept.")
    return lines


def public_key(text: str) -> PublicKey:
    """The key that was given, as it is or in a file. Raises ``InputError``."""
    from headgate.ledger.signing import PublicKey

    path = Path(text)
    is_path = path.is_file() or not {"+", "\n"} & set(text)
    return PublicKey.parse(_content(path) if is_path else text)


def _checkpoint(path: Path) -> Checkpoint:
    from headgate.ledger.checkpoint import Checkpoint

    return Checkpoint.parse(_content(path), str(path))


def _content(path: Path) -> str:
    from headgate.errors import InputError

    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot be read: {error.strerror if isinstance(error, OSError) else 'is no text'}",
            where=str(path),
            fix="check the path and its permissions",
        ) from error
