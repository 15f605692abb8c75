"""``headgate verify``: whether the store still is what was written."""

from __future__ import annotations

from headgate.cli.options import AsJson, FileOption, StoreOption, open_store

__all__ = ["verify"]

FINDINGS = 3


def verify(file: FileOption = None, store: StoreOption = None, as_json: AsJson = False) -> int:
    """Check every entry and artifact against its digest."""
    from headgate.cli.output import grid, print_json, stdout, title
    from headgate.objects import short

    with open_store(file, store) as opened:
        report = opened.verify()
        root = opened.root
    if as_json:
        print_json({"ok": report.ok, **_fields(report)})
        return 0 if report.ok else FINDINGS
    console = stdout()
    counted = f"{report.entries:,} entries, {report.artifacts:,} artifacts"
    if report.ok:
        console.print(title("Everything is as it was written", counted))
        console.print(f"Keep this elsewhere, to prove it later: {report.head}", soft_wrap=True)
        return 0
    count = len(report.findings)
    console.print(title(f"{count} finding{'s' * (count != 1)} in {root}", counted))
    table = grid("=reason", "what", "=entry")
    for finding in report.findings:
        table.add_row(finding.reason, finding.what, short(finding.entry) if finding.entry else "")
    console.print(table)
    console.print("Restore the store from a backup; what is damaged proves nothing.")
    return FINDINGS


def _fields(report: object) -> dict[str, object]:
    from headgate.objects import jsonable

    body: dict[str, object] = jsonable(report)
    return body
