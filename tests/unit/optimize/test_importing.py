"""What was judged elsewhere becomes current here, if this machine answers as that one did."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import tests.bundles
from headgate.cli.app import run
from headgate.cli.watching import watch_of
from headgate.engines.probe import read_profile
from headgate.errors import EngineError, HeadgateError, Refused, Undecided
from headgate.ledger import Store
from headgate.ledger.signing import SigningKey
from headgate.objects import BatchInvariance, Release, digest_bytes
from headgate.optimize import golden, importing, requalify
from headgate.optimize.answers import Answerer
from headgate.optimize.audit import Audited, audit_store
from headgate.optimize.bundle import Bundle
from headgate.optimize.exporting import pack
from headgate.optimize.importing import Imported, import_bundle
from headgate.runtime.certified import standing
from headgate.runtime.escalation import NOBODY
from headgate.runtime.servable import Servable
from headgate.workload import Engine, Tensors
from tests.bundles import KEY, OWN, Origin, forged
from tests.e2e.endpoints import content_of

SOON = datetime.now(UTC) + timedelta(hours=1)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Origin:
    return Origin(tmp_path_factory.mktemp("origin"), own=True)


@pytest.fixture(scope="module")
def bundles(origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Of generations 1 and 2."""
    here = tmp_path_factory.mktemp("bundles")
    first = origin.export(origin.release("first", seed=1), here / "first")
    return [first, origin.export(origin.release("second", seed=2), here / "second")]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """An empty directory, as on another machine."""
    path = tmp_path / "elsewhere"
    path.mkdir()
    return path


def taken(bundle: Path, here: Path) -> Imported:
    with Bundle.open(bundle, [KEY.public]) as opened:
        return import_bundle(opened, here / ".headgate", root=here)


@contextmanager
def kept(here: Path) -> Iterator[Store]:
    with Store.open(here / ".headgate") as store:
        yield store


def refusal(bundle: Path, here: Path) -> HeadgateError:
    with pytest.raises(HeadgateError) as caught:
        taken(bundle, here)
    assert caught.value.fix
    return caught.value


def test_an_empty_directory_serves_it(bundles: list[Path], here: Path) -> None:
    """Both generations, with a way back; everything on record verifies and is audited."""
    done = taken(bundles[0], here)
    assert (done.generation, done.name, done.already) == (1, "first", False)
    assert (here / "own.py").read_text(encoding="utf-8") == OWN
    assert sorted(p.name for p in here.iterdir()) == [".headgate", "own.py"]
    with kept(here) as store:
        assert store.verify().ok
        releases = [release for _, release in store.history("docs")]
        assert [r.generation for r in releases] == [0, 1]
        assert store.get(releases[1].extra["target_proof"]).kind == "target_proof"
        builds = [Servable.load(store, r.variant).build.version for r in releases]
        assert [r.extra["index"] for r in releases] == builds
        shown = store.get(releases[1].extra["requalified"]).body
        assert (shown["verdict"], shown["items"], shown["same"]) == ("pass", 12, 12)
        assert store.get(releases[1].extra["import"]).body["signer"] == KEY.public.signer
        assert audit_store(store, now=SOON) == Audited()
        assert store.gaps() == ()
        assert list((store.root / "work").rglob("*.py")) == []


def test_a_cascade_travels_as_any_build_does(tmp_path: Path, here: Path) -> None:
    """Both models are in the file, and both answer the golden set there."""
    origin = Origin(tmp_path, cascade=True)
    done = taken(origin.export(origin.release(), tmp_path / "bundle"), here)
    assert done.generation == 1
    with kept(here) as store:
        assert store.verify().ok
        current = store.current("docs")
        assert current is not None
        servable = Servable.load(store, current.variant)
        assert {part for part, _, _ in (f.partition("/") for f in servable.build.files)} == {
            "student",
            "teacher",
        }
        assert all(store.has(version) for version in servable.build.files.values())
        shown = store.get(current.extra["requalified"]).body
        assert (shown["verdict"], shown["items"], shown["same"]) == ("pass", 12, 12)
        assert store.gaps() == ()


def test_the_decision_is_calculated_again_and_can_be_replayed(
    bundles: list[Path], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its raw samples, on this machine: nobody's word is taken for it."""
    taken(bundles[0], here)
    monkeypatch.chdir(here)
    with kept(here) as store:
        current = store.current("docs")
        assert current is not None
        assert current.decision is not None
        assert store.get(current.decision).body["transformation"] == "gate.decide"
    assert run(["replay", current.decision]) == 0
    assert run(["rollback"]) == 0
    assert run(["audit"]) == 0


def test_what_is_current_is_not_imported_again(bundles: list[Path], here: Path) -> None:
    """Repeating changes nothing."""
    taken(bundles[0], here)
    before = content_of(here)
    assert taken(bundles[0], here).already
    assert content_of(here) == before


def test_a_function_that_is_gone_is_brought_back(bundles: list[Path], here: Path) -> None:
    """By the bundle that it came with; the store stays as it is."""
    taken(bundles[0], here)
    before = content_of(here)
    (here / "own.py").unlink()
    assert taken(bundles[0], here).already
    assert content_of(here) == before
    (here / "own.py").write_text("mine = True\n", encoding="utf-8")
    assert refusal(bundles[0], here).reason == "function_differs"


def test_the_next_release_follows_the_one_that_it_was_judged_against(
    bundles: list[Path], here: Path
) -> None:
    """Under the newer checkpoint, which goes on from the older one."""
    taken(bundles[0], here)
    assert taken(bundles[1], here).generation == 2
    with kept(here) as store:
        assert store.verify().ok
        assert [r.generation for _, r in store.history("docs")] == [0, 1, 2]


def test_the_machines_and_what_was_not_judged_here_are_named(
    bundles: list[Path], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine is found fit by its answers; latency and cost it does not inherit."""
    other = replace(read_profile(), flags=("sse4_2",), effective_cores=64)
    monkeypatch.setattr(importing, "read_profile", lambda: other)
    done = taken(bundles[0], here)
    assert done.here["flags"] == ["sse4_2"]
    assert done.judged_on == json.loads(json.dumps(read_profile().environment))
    assert done.not_judged_here == (
        "latency_p95 at most 1", "cost_per_1k ratio to current at most 1",
    )  # fmt: skip
    assert done.watched == ("latency_p95",)
    with kept(here) as store:
        shown = store.latest("requalification")
        assert shown is not None
        assert shown.body["e"] != shown.body["judged_in"]
        build = Servable.load(store, shown.body["variant"]).build
        certified = standing(store, build, other)
        assert certified.holds
        assert certified.certificate is not None
        assert certified.certificate.kernels.flags == ("sse4_2",)
        assert certified.certificate.made_with["onnxruntime"] == other.libraries["onnxruntime"]
        assert not standing(store, build, read_profile()).holds
        assert store.verify().ok


@dataclass
class OtherKernels:
    """The engine of another machine: one component of each answer is off."""

    engine: Engine
    by: float

    def run(self, tensors: Tensors) -> NDArray[np.generic]:
        answers = np.array(self.engine.run(tensors))
        answers[:, 0] += self.by
        return answers

    def close(self) -> None:
        self.engine.close()


def disturbed(monkeypatch: pytest.MonkeyPatch, by: float) -> None:
    opens = golden.open_answerer

    def open_answerer(*args: Any, **options: Any) -> Answerer:
        opened = opens(*args, **options)
        opened.engine = OtherKernels(opened.engine, by)
        return opened

    monkeypatch.setattr(golden, "open_answerer", open_answerer)


def test_a_machine_that_answers_otherwise_is_refused(
    bundles: list[Path], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 3; the verdict is on record, nothing is current, and `promote` knows no decision
    that it could go by."""
    disturbed(monkeypatch, 0.3)
    error = refusal(bundles[0], here)
    assert (error.reason, error.exit_code) == ("not_requalified", 3)
    assert "12 of 12 answers are others than were judged" in error.what
    with kept(here) as store:
        shown = store.latest("requalification")
        assert shown is not None
        assert (shown.body["verdict"], shown.body["same"]) == ("fail", 0)
        assert store.current("docs") is None
        assert store.verify().ok
    assert not (here / "own.py").exists()
    monkeypatch.chdir(here)
    assert run(["promote", shown.body["variant"]]) == 2
    monkeypatch.undo()
    assert taken(bundles[0], here.parent / "again").generation == 1


@pytest.mark.parametrize("answers", [np.full((1, 8), np.nan), np.zeros((0, 8))])
def test_a_machine_whose_kernels_are_broken_is_refused(
    bundles: list[Path],
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    answers: NDArray[np.float64],
) -> None:
    """By the output contract, as a server would refuse each answer."""

    def broken(self: OtherKernels, tensors: Tensors) -> NDArray[np.generic]:
        return answers

    monkeypatch.setattr(OtherKernels, "run", broken)
    disturbed(monkeypatch, 0.0)
    assert "it does not run here" in refusal(bundles[0], here).what


def test_a_difference_below_epsilon_is_the_same_answer(
    bundles: list[Path], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule of decision 4."""
    disturbed(monkeypatch, 1e-3)
    assert taken(bundles[0], here).generation == 1
    with kept(here) as store:
        shown = store.latest("requalification")
        assert shown is not None
        assert 0 < shown.body["largest_difference"] < 1e-3


@pytest.mark.parametrize(
    ("raised", "reason", "code"),
    [
        (EngineError("no kernel for Erf", where="model.onnx"), "it does not run here", 3),
        (Undecided("3 of 12 requests were answered in 120 s"), "3 of 12 requests", 4),
    ],
)
def test_a_machine_that_cannot_answer_is_refused(
    bundles: list[Path],
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    raised: HeadgateError,
    reason: str,
    code: int,
) -> None:
    """Not to know is no pass."""

    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr(requalify, "golden_answers", fail)
    error = refusal(bundles[0], here)
    assert (error.reason, error.exit_code) == ("not_requalified", code)
    assert reason in error.what
    with kept(here) as store:
        assert store.current("docs") is None


def test_answers_that_depend_on_their_neighbours_here_are_refused(
    bundles: list[Path], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache and the batcher trust the class that the variant states."""
    measures = requalify.measure_invariance

    def dependent(*args: Any, **options: Any) -> Any:
        return replace(measures(*args, **options), invariance=BatchInvariance.DEPENDENT)

    monkeypatch.setattr(requalify, "measure_invariance", dependent)
    assert "its batch invariance is dependent here" in refusal(bundles[0], here).what


def test_a_slow_machine_is_not_known_to_be_fit(
    bundles: list[Path], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the golden set alone took so long that the rest will not fit, that is said."""
    monkeypatch.setattr(requalify, "LIMIT_S", 0.0)
    error = refusal(bundles[0], here)
    assert (error.exit_code, error.reason) == (4, "not_requalified")
    assert "all must fit 0 s" in error.what


def test_a_decision_that_comes_out_otherwise_is_not_promoted(
    bundles: list[Path], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where another version judges by other rules."""
    from headgate.optimize import gate

    decides = gate.decide

    def otherwise(**case: Any) -> Any:
        return replace(decides(**case), because="for another reason")

    monkeypatch.setattr(gate, "decide", otherwise)
    assert refusal(bundles[0], here).reason == "decision_differs"
    with kept(here) as store:
        assert store.current("docs") is None


def test_a_candidate_that_was_judged_against_another_release_changes_nothing(
    bundles: list[Path], here: Path
) -> None:
    """Generation 2 was judged against 1, and here is something else."""
    with Store.open(here / ".headgate", create=True) as store:
        store.promote(Release("docs", 0, store.put_bytes(b"ours"), None), expected_generation=None)
    before = content_of(here)
    assert refusal(bundles[1], here).reason == "decision_of_other_current"
    assert content_of(here) == before


@pytest.mark.parametrize("kind", ["file", "link", "directory"])
def test_a_file_of_somebody_elses_is_not_written_over(
    bundles: list[Path], here: Path, kind: str
) -> None:
    """Nor one that it links to."""
    own = here / "own.py"
    if kind == "file":
        own.write_text("mine = True\n", encoding="utf-8")
    elif kind == "link":
        own.symlink_to(here.parent / "elsewhere.py")
    else:
        own.mkdir()
    assert refusal(bundles[0], here).reason == "function_differs"
    assert not (here / ".headgate").exists()
    assert not (here.parent / "elsewhere.py").exists()


def test_functions_that_were_not_judged_are_not_run(bundles: list[Path], here: Path) -> None:
    """Even where the owner of the key signed them."""
    other = b"raise SystemExit('it was run')\n"

    def change(listed: dict[str, Any]) -> None:
        listed["functions"]["own.py"] = {"version": digest_bytes(other), "size_bytes": len(other)}

    made = forged(bundles[0], change, replaced={"functions/own.py": other})
    assert refusal(made, here).reason == "function_changed"
    assert list(here.iterdir()) == []


def test_a_file_that_no_function_needs_is_not_written(bundles: list[Path], here: Path) -> None:
    """It would lie beside the store, where whatever is imported there finds it."""
    more = b"print('imported')\n"

    def change(listed: dict[str, Any]) -> None:
        file = {"version": digest_bytes(more), "size_bytes": len(more)}
        listed["functions"]["requests.py"] = file

    error = refusal(forged(bundles[0], change, replaced={"functions/requests.py": more}), here)
    assert error.reason == "function_changed"
    assert "requests.py in it is no source of its release" in error.what
    assert list(here.iterdir()) == []


def test_a_file_beside_it_does_not_become_part_of_a_function(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a name that was a library's where it was judged; it would be refused when it is served."""
    monkeypatch.setattr(tests.bundles, "OWN", f"import numpy\n{OWN}")
    made = Origin(tmp_path, own=True)
    bundle = made.export(made.release(), tmp_path / "made")
    (here / "numpy.py").write_text("raise SystemExit('it was run')\n", encoding="utf-8")
    error = refusal(bundle, here)
    assert error.reason == "function_differs"
    assert "own:upper would import other files here" in error.what
    with kept(here) as store:
        assert store.current("docs") is None


def test_writing_a_function_leads_nowhere_else(bundles: list[Path], here: Path) -> None:
    """Whatever is called as an unfinished file might be."""
    (here.parent / "somebody's").write_text("mine", encoding="utf-8")
    (here / ".own.py").symlink_to(here.parent / "somebody's")
    assert taken(bundles[0], here).generation == 1
    assert (here.parent / "somebody's").read_text(encoding="utf-8") == "mine"
    assert (here / ".own.py").is_symlink()
    assert (here / "own.py").read_text(encoding="utf-8") == OWN


def test_a_function_that_is_changed_after_it_was_checked_is_not_written(
    bundles: list[Path], here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file may be somebody else's to write; what is kept is what was signed."""
    copied = Path(shutil.copy(bundles[0], tmp_path / "copied"))
    audits = importing.refuse_unaudited

    def meanwhile(*args: Any, **options: Any) -> Any:
        content = copied.read_bytes()
        with copied.open("r+b") as file:  # in its place
            file.write(content.replace(OWN.encode(), OWN.encode().replace(b"strip", b"lower")))
        return audits(*args, **options)

    monkeypatch.setattr(importing, "refuse_unaudited", meanwhile)
    assert "was changed since it was checked" in refusal(copied, here).what
    assert not (here / "own.py").exists()
    with kept(here) as store:
        assert store.current("docs") is None


def test_history_that_was_written_anew_is_found(
    bundles: list[Path], here: Path, tmp_path: Path
) -> None:
    """Who imported once remembers what was signed: a ledger that grew is shown to have grown."""
    taken(bundles[0], here)

    def ungrown(listed: dict[str, Any]) -> None:
        listed["evidence"]["growth"] = {}

    before = content_of(here)
    assert refusal(forged(bundles[1], ungrown), here).reason == "other_history"
    assert content_of(here) == before


def test_an_older_bundle_of_the_same_history_is_known_as_such(
    bundles: list[Path], here: Path
) -> None:
    """The newer one shows that it went on from it: refused for what it is, and no forgery."""
    taken(bundles[0], here)
    taken(bundles[1], here)
    assert refusal(bundles[0], here).reason == "decision_of_other_current"


def test_what_is_watched_comes_along_and_runs_nothing(bundles: list[Path], here: Path) -> None:
    """The promises of the file where it was exported; whom to tell only a file here may say."""
    taken(bundles[0], here)
    with kept(here) as store:
        watch = watch_of(store, "docs", None)
    assert watch is not None
    (contract,) = watch.rule.contracts
    assert (contract.describe(), contract.escalation) == ("latency_p95 at most 0.5", NOBODY)


def killed_at(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, call: int) -> None:
    """As SIGKILL would in the middle: what was to happen at that call does not."""
    works, calls = getattr(owner, name), iter(range(call))

    def work(*args: Any, **options: Any) -> Any:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return works(*args, **options)

    monkeypatch.setattr(owner, name, work)


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (Store, "put_chunks", 0),
        (Store, "put_chunks", 7),
        (Store, "append", 0),
        *((importing, "hold", call) for call in (0, 1, 9)),
        *((Store, "record_run", call) for call in (0, 1, 2)),
        (requalify, "keep_measurement", 1),
        (importing, "_show", 0),
        (importing.target, "prove_target", 0),
        (importing, "refuse_unaudited", 0),
        (importing, "_write_functions", 1),
        (Store, "promote", 0),
        (Store, "promote", 1),
    ],
)
def test_what_was_killed_is_finished_by_the_same_command(
    bundles: list[Path],
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    name: str,
    call: int,
) -> None:
    """Wherever it was: the store verifies, the candidate is not current, and nothing that was done
    is done or recorded twice."""
    with monkeypatch.context() as patch:
        killed_at(patch, owner, name, call)
        with pytest.raises(KeyboardInterrupt):
            taken(bundles[0], here)
    with kept(here) as store:
        assert store.verify().ok
        assert [release.generation for _, release in store.history("docs")] in ([], [0])
    assert taken(bundles[0], here).generation == 1
    with kept(here) as store:
        assert store.verify().ok
        assert audit_store(store, now=SOON) == Audited()
        for kind in ("import", "requalification"):
            assert len(list(store.entries(kind))) == 1
        runs = [entry.body["key"] for entry in store.entries("run")]
        assert len(runs) == len(set(runs)) == 3


def test_what_was_imported_can_be_exported_again(
    bundles: list[Path], here: Path, tmp_path: Path
) -> None:
    """On the evidence of the machine that took it in, which names where it took it from."""
    taken(bundles[0], here)
    ours = SigningKey.generate()
    with kept(here) as store:
        current = store.current("docs")
        assert current is not None
        made = pack(
            store, store.get(str(current.decision)), key=ours, root=here, watched=(),
            price_per_s=0.0, now=SOON,
        )  # fmt: skip
        (tmp_path / "again").write_bytes(b"".join(made.chunks))
    with Bundle.open(tmp_path / "again", [ours.public]) as opened:
        kinds = {proved.entry.kind for proved in opened.contents.evidence.proved}
        assert {"import", "measurement", "run"} <= kinds
        done = import_bundle(opened, tmp_path / "third" / ".headgate", root=tmp_path / "third")
    assert (done.generation, done.variant) == (1, current.variant)


def test_a_bundle_of_an_untold_refusal_stays_refused(bundles: list[Path], here: Path) -> None:
    """Nothing of a store is made for a bundle that is none."""
    spoilt = here.parent / "spoilt"
    content = bytearray(bundles[0].read_bytes())
    content[-2000] ^= 1
    spoilt.write_bytes(content)
    with pytest.raises(Refused):
        taken(spoilt, here)
    assert list(here.iterdir()) == []


def test_nothing_is_imported_on_the_word_of_a_ledger_that_was_written_anew(
    bundles: list[Path], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 3 before anything is done; where the store was removed, that is said, and another
    begins."""
    monkeypatch.chdir(here)
    typed = ["import", str(bundles[0]), "--key", str(KEY.public)]
    assert run(typed) == 0
    shutil.rmtree(here / ".headgate")
    with Store.open(here / ".headgate", create=True) as store:
        store.append("note", {"by": "the forger"})
    before = content_of(here)
    assert run(typed) == 3
    assert content_of(here) == before
    shutil.rmtree(here / ".headgate")
    assert run(typed) == 0
    with kept(here) as store:
        kinds = [entry.kind for entry in store.entries()]
        assert (kinds[0], kinds[-1]) == ("fork", "checkpoint")
        assert [release.generation for _, release in store.history("docs")] == [0, 1]


def test_what_was_found_of_an_unfit_machine_is_signed_too(
    bundles: list[Path], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A verdict that can be replaced unseen is none."""
    disturbed(monkeypatch, 0.3)
    monkeypatch.chdir(here)
    assert run(["import", str(bundles[0]), "--key", str(KEY.public)]) == 3
    with kept(here) as store:
        assert [entry.kind for entry in store.entries()][-2:] == ["requalification", "checkpoint"]
