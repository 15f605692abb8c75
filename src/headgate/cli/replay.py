"""``headgate replay``: a recorded transformation or decision again, and whether it agrees."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from headgate.cli.options import AsJson, FileOption, IdArgument, StoreOption, open_store

if TYPE_CHECKING:
    from rich.table import Table

    from headgate.cli.progress import Progress
    from headgate.ledger import Entry, Store
    from headgate.objects import Difference
    from headgate.optimize.recorder import Recorder, Replayed

__all__ = ["replay"]

DIFFERS = 3
UNKNOWN = 4


def replay(
    id: IdArgument, file: FileOption = None, store: StoreOption = None, as_json: AsJson = False
) -> int:
    """Execute a run or a decision again, and compare. A model gets a grade: identical, tolerated,
    different, or unknown."""
    from headgate.cli.output import print_json, stdout, title
    from headgate.cli.progress import Progress
    from headgate.engines.probe import read_profile
    from headgate.objects import short
    from headgate.optimize.grade import Grade, grade
    from headgate.optimize.own import edited_functions

    here = read_profile().environment
    with open_store(file, store) as opened, Progress() as progress:
        run = _run(opened, id)
        root = _directory(file, opened)
        recorder = _recorder(opened, run, here, root, progress)
        done = recorder.replay(run)
        graded = grade(recorder, run, done)
        differs = _differences(opened, run, here)
        edited = edited_functions(run.body["c"], root)
    agrees = done.identical or done.measures or done.foreign
    agrees = agrees or (graded is not None and graded.grade.agrees)
    code = 0 if agrees else DIFFERS
    if graded is not None and graded.grade is Grade.UNKNOWN:
        code = UNKNOWN
    if as_json:
        print_json(
            {
                "identical": done.identical,
                "agrees": agrees,
                "grade": graded,
                "replayed": done,
                "edited": edited,
                "environment": {
                    "recorded": run.body["e"],
                    "differs": done.environment_differs,
                    "differences": differs,
                },
            }
        )
        return code
    console = stdout()
    verdict = "came out the same" if done.identical else "came out different"
    if graded is not None:
        verdict = f"came out {graded.grade}"
    console.print(title(f"{done.transformation} {verdict}", f"run {short(done.entry)}"))
    console.print(_outputs(done))
    if graded is not None:
        console.print(f"· {graded.because}", soft_wrap=True)
        if graded.fix:
            console.print(f"· what to do: {graded.fix}", soft_wrap=True)
    for note in _notes(done):
        console.print(f"· {note}")
    if edited:
        console.print(f"· edited since it was recorded: {', '.join(edited)}")
    if differs is None:
        console.print("· the environment differs; what the recorded one was is not in the store")
    elif differs:
        console.print("· the environment differs from the recorded one:")
        console.print(_parts(differs))
    return code


def _run(store: Store, id: str) -> Entry:
    from headgate.cli.names import run_that_made
    from headgate.errors import UsageError

    entry = store.get(id)
    run = run_that_made(store, entry)
    if run is None:
        raise UsageError(
            f"no run made it; it is an entry of kind {entry.kind}",
            where=id,
            reason="not_replayable",
            fix="give the id of a run, of a decision, or of something that a run made",
        )
    return run


def _directory(file: Path | None, store: Store) -> Path:
    """The endpoint's, where its own functions live."""
    if file is None:
        return store.root.absolute().parent
    return (file if file.is_dir() else file.parent).absolute()


def _recorder(
    store: Store, run: Entry, here: Mapping[str, object], root: Path, progress: Progress
) -> Recorder:
    from headgate.objects import digest
    from headgate.optimize.recorder import Recorder

    _know_all_transformations()
    progress.start(f"replaying {run.body['transformation']}")
    return Recorder(
        store=store,
        endpoint="",
        owner="",
        environment=digest(here),
        seed=int(run.body["seed"]),
        root=root,
        on_progress=progress.update,
    )


def _know_all_transformations() -> None:
    """A transformation is known by name once its module is imported."""
    import importlib
    import pkgutil

    import headgate.optimize as package

    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)


def _differences(
    store: Store, run: Entry, here: Mapping[str, object]
) -> tuple[Difference, ...] | None:
    """Between the environment that the run was recorded in and this one, part by part; None where
    the store does not hold what the recorded one was."""
    from headgate.objects import differences, digest, parse

    recorded = run.body["e"]
    if recorded == digest(here):
        return ()
    return differences(parse(store.read(recorded)), here) if store.has(recorded) else None


def _outputs(done: Replayed) -> Table:
    from headgate.cli.output import grid
    from headgate.objects import short

    table = grid("output", "bytes", "=recorded", "=again")
    for name, output in done.outputs.items():
        digests = ("–" if d is None else short(d) for d in (output.recorded, output.again))
        table.add_row(name, "the same" if output.same else "others", *digests)
    return table


def _notes(done: Replayed) -> list[str]:
    return [
        text
        for holds, text in (
            (done.measures, "it measures time or memory, so other numbers are expected"),
            (done.foreign, "it asks a server that is not ours, which may answer otherwise today"),
            (done.code_differs, "the code differs from the recorded one"),
        )
        if holds
    ]


def _parts(differs: tuple[Difference, ...]) -> Table:
    from headgate.cli.output import grid

    table = grid("part", "recorded", "here")
    for part in differs:
        table.add_row(part.part, part.recorded or "–", part.here or "–")
    return table
