"""``headgate replay``: a recorded transformation or decision again, and whether it agrees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.cli.options import AsJson, FileOption, IdArgument, StoreOption, open_store

if TYPE_CHECKING:
    from headgate.cli.progress import Progress
    from headgate.ledger import Store
    from headgate.optimize.recorder import Replayed

__all__ = ["replay"]

DIFFERS = 3


def replay(
    id: IdArgument, file: FileOption = None, store: StoreOption = None, as_json: AsJson = False
) -> int:
    """Execute a run or a decision again, and compare."""
    from headgate.cli.output import grid, print_json, stdout, title
    from headgate.cli.progress import Progress
    from headgate.objects import short

    with open_store(file, store) as opened, Progress() as progress:
        done = _replay(opened, id, progress)
    agrees = done.identical or done.measures or done.foreign
    if as_json:
        print_json({"identical": done.identical, "agrees": agrees, "replayed": done})
        return 0 if agrees else DIFFERS
    console = stdout()
    verdict = "came out the same" if done.identical else "came out different"
    console.print(title(f"{done.transformation} {verdict}", f"run {short(done.entry)}"))
    table = grid("output", "bytes")
    for name, same in done.same.items():
        table.add_row(name, "the same" if same else "others")
    console.print(table)
    for note in _notes(done):
        console.print(f"· {note}")
    return 0 if agrees else DIFFERS


def _replay(store: Store, id: str, progress: Progress) -> Replayed:
    from headgate.cli.names import run_that_made
    from headgate.engines.probe import read_profile
    from headgate.errors import UsageError
    from headgate.objects import digest
    from headgate.optimize.recorder import Recorder

    entry = store.get(id)
    run = run_that_made(store, entry)
    if run is None:
        raise UsageError(
            f"no run made it; it is an entry of kind {entry.kind}",
            where=id,
            reason="not_replayable",
            fix="give the id of a run, of a decision, or of something that a run made",
        )
    _know_all_transformations()
    recorder = Recorder(
        store=store,
        endpoint="",
        owner="",
        environment=digest(read_profile().environment),
        seed=int(run.body["seed"]),
        root=store.root.absolute().parent,
        on_progress=progress.update,
    )
    progress.start(f"replaying {run.body['transformation']}")
    return recorder.replay(run)


def _know_all_transformations() -> None:
    """A transformation is known by name once its module is imported."""
    import importlib
    import pkgutil

    import headgate.optimize as package

    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)


def _notes(done: Replayed) -> list[str]:
    return [
        text
        for holds, text in (
            (done.measures, "it measures time, so other numbers are expected"),
            (done.foreign, "it asks a server that is not ours, which may answer otherwise today"),
            (
                done.environment_differs,
                "this machine or its libraries differ from the recorded ones",
            ),
            (done.code_differs, "the code differs from the recorded one"),
        )
        if holds
    ]
