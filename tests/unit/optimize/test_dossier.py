"""What is gathered of one thing: how it was made, of what, and what was decided about it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from headgate.errors import UsageError
from headgate.ledger import Store
from headgate.objects import (
    Action,
    Axis,
    BatchingSpec,
    BatchInvariance,
    Bound,
    Build,
    CacheSpec,
    Contract,
    ContractResult,
    Decision,
    Direction,
    Measurement,
    Release,
    Variant,
    Verdict,
    canonical,
)
from headgate.optimize.dossier import dossier_of
from headgate.optimize.recorder import Call, Output, Recorder, transformation
from headgate.report.export import Composed, Ran
from headgate.runtime.servable import Servable
from headgate.workload import ServiceCurve

from .conftest import NewRecorder


@transformation("test.dossier.quantize")
def quantize(call: Call) -> dict[str, Output]:
    made = call.path("model").read_bytes() + b"8"
    return {"model.onnx": Output(made, "model", "onnx"), "scales": Output(b"[]", "model", "json")}


@transformation("test.dossier.measure")
def measure(call: Call) -> dict[str, Output]:
    return {"samples": Output(b"[1]", "samples", "json")}


@transformation("test.dossier.decide")
def _decide(call: Call) -> dict[str, Output]:
    raise NotImplementedError


DECIDE = replace(_decide, name="gate.decide")


@dataclass(frozen=True)
class Shop:
    """A model from outside, a variant of it in int8, the baseline, and what was decided."""

    recorder: Recorder
    model: str
    quantized: str
    build: str
    variant: str
    baseline: str
    queries: str
    machine: str
    decision: str

    @property
    def store(self) -> Store:
        return self.recorder.store


def keep(recorder: Recorder, name: str, content: bytes, kind: str, **fields: object) -> str:
    version = recorder.store.put_bytes(content)
    recorder.register(name, version, kind=kind, schema="json", **fields)  # type: ignore[arg-type]  # a test's own keywords
    return version


def variant(recorder: Recorder, name: str, model: str) -> tuple[str, str]:
    """(build, variant), put together of ``model``."""
    build = Build(name, "embed", "onnxruntime", "int8", {"model.onnx": model}, None, 256, 1)
    made = keep(recorder, f"build/{name}", build.content, "build", lineage=(model,))
    servable = Servable(
        "docs",
        "embed",
        Variant(name, build.version, 1, BatchingSpec(), CacheSpec()),
        build,
        ServiceCurve(0.001, 0.001, 0.0, 0.0),
        BatchInvariance.EXACT,
        False,
        None,
        None,
    )
    version = keep(recorder, f"variant/{name}", servable.content, "variant", lineage=(made,))
    return made, version


def measurement(shop: Shop, candidate: str) -> str:
    """Its entry."""
    run = shop.recorder.run(measure, u={"build": shop.build, "queries": shop.queries}, c={})
    taken = Measurement(
        "recall@10", "fraction", 0.9, "value", 0.9, 0.88, 0.92, 400, Direction.HIGHER,
        candidate, shop.queries, run.entry, 0, samples=run.outputs["samples"],
        attempted=400, scored=400,
    )  # fmt: skip
    return shop.store.append("measurement", taken).id


def decide(shop: Shop, candidate: str, action: Action, measured: str | None = None) -> str:
    """The entry of a decision by two contracts on one measurement."""
    recorder = shop.recorder
    measured = measured or measurement(shop, candidate)
    contract = Contract(
        "recall@10", Axis.QUALITY, Bound.AT_LEAST, 0.8, "why", Action.ROLLBACK, "command:page",
        "previous",
    )  # fmt: skip
    result = ContractResult(contract, Verdict.PASS, 0.9, 0.88, 0.92, 400, "it is kept", measured)
    both = (result, replace(result, verdict=Verdict.WARN))
    decision = Decision(candidate, shop.baseline, "holdout", both, action, "because")
    case = keep(
        recorder, "case/holdout", canonical({"of": candidate, "action": action}), "samples",
        lineage=(candidate, shop.baseline),
    )  # fmt: skip
    decides = replace(
        DECIDE,
        work=lambda call: {"decision": Output(canonical(decision), "decision", "json Decision")},
    )
    return recorder.run(decides, u={"case": case}, c={"action": action, "on": measured}).entry


@pytest.fixture
def shop(new_recorder: NewRecorder, store: Store) -> Shop:
    machine = store.put_bytes(canonical({"python": "3.11", "libraries": {"onnx": "1.18"}}))
    recorder = new_recorder(environment=machine)
    recorder.register("environment", machine, kind="environment", schema="json profile")
    model = keep(recorder, "model", b"fp32", "model")
    queries = keep(recorder, "holdout", b"{}\n", "dataset")
    quantized = recorder.run(quantize, u={"model": model}, c={"bits": 8}).outputs["model.onnx"]
    build, made = variant(recorder, "int8", quantized)
    _, baseline = variant(recorder, "baseline", model)
    shop = Shop(recorder, model, quantized, build, made, baseline, queries, machine, "")
    return replace(shop, decision=decide(shop, made, Action.ACCEPT))


def test_a_variant_is_told_from_its_model_on(shop: Shop) -> None:
    """Every step once, oldest first: what ran, what was put together, and how it was judged."""
    found = dossier_of(shop.store, shop.variant)
    told = [s.run.transformation if isinstance(s, Ran) else s.artifact.id for s in found.steps]
    assert told[:3] == ["test.dossier.quantize", "docs/build/int8", "docs/variant/int8"]
    assert told[3:] == [
        "docs/build/baseline",
        "docs/variant/baseline",
        "test.dossier.measure",
        "docs/case/holdout",
        "gate.decide",
    ]
    assert (found.endpoint, found.subject, found.task) == ("docs", shop.variant, "embed")


def test_what_ran_has_its_environment_and_what_was_registered_its_lineage(shop: Shop) -> None:
    """The machine and its libraries stand in the store under the digest that the run names."""
    ran, build, *_ = dossier_of(shop.store, shop.variant).steps
    assert isinstance(ran, Ran)
    assert ran.run.u == {"model": shop.model}
    assert ran.run.z["model.onnx"] == shop.quantized
    assert ran.environment == {"python": "3.11", "libraries": {"onnx": "1.18"}}
    assert isinstance(build, Composed)
    assert build.artifact.lineage == (shop.quantized,)
    assert shop.store.get(build.entry).body["version"] == shop.build


def test_everything_that_a_step_names_has_its_name(shop: Shop) -> None:
    """Digests alone tell nobody anything."""
    found = dossier_of(shop.store, shop.variant)
    assert found.names[shop.model] == "docs/model"
    named = {v for s in found.steps if isinstance(s, Ran) for v in (*s.run.u.values(), s.run.e)}
    assert named <= set(found.names)


def test_a_decision_comes_with_its_case_and_its_data(shop: Shop) -> None:
    """By the id of the run, of the decision's own artifact, and of the candidate."""
    artifact = shop.store.get(shop.decision).body["z"]["decision"]
    for id in (shop.decision, artifact, shop.variant):
        judged = dossier_of(shop.store, id).judged
        assert judged is not None
        assert judged.entry == shop.decision
        assert judged.decision.candidate == shop.variant
        assert judged.datasets == (shop.queries,)
        assert judged.case == shop.store.get(shop.decision).body["u"]["case"]


def test_of_a_variant_the_newest_decision_counts(shop: Shop) -> None:
    """An older one may have been made by rules that were left since."""
    newer = decide(shop, shop.variant, Action.ROLLBACK)
    judged = dossier_of(shop.store, shop.variant).judged
    assert judged is not None
    assert judged.entry == newer
    of_older = dossier_of(shop.store, shop.decision).judged
    assert of_older is not None
    assert of_older.entry == shop.decision


def release(shop: Shop, generation: int, version: str, decision: str | None) -> str:
    before = generation - 1 if generation else None
    made = Release("docs", generation, version, decision)
    return shop.store.promote(made, expected_generation=before).id


def test_a_release_comes_with_the_decision_that_let_it_through(shop: Shop) -> None:
    """Not with a later one about the same variant; and the baseline with none."""
    first = release(shop, 0, shop.baseline, None)
    second = release(shop, 1, shop.variant, shop.decision)
    decide(shop, shop.variant, Action.ROLLBACK)
    judged = dossier_of(shop.store, second).judged
    assert judged is not None
    assert judged.entry == shop.decision
    of_first = dossier_of(shop.store, first)
    assert (of_first.subject, of_first.judged) == (shop.baseline, None)


def test_what_a_rollback_brought_back_was_decided_when_it_was_promoted(shop: Shop) -> None:
    """A rollback judges nothing anew."""
    release(shop, 0, shop.baseline, None)
    release(shop, 1, shop.variant, shop.decision)
    release(shop, 2, shop.baseline, None)
    back = release(shop, 3, shop.variant, None)
    judged = dossier_of(shop.store, back).judged
    assert judged is not None
    assert judged.entry == shop.decision


def test_anything_that_was_made_can_be_told(shop: Shop) -> None:
    """A model that was made has its run; one from outside has no step at all."""
    model = dossier_of(shop.store, shop.quantized)
    assert (model.endpoint, model.task, model.judged) == ("docs", "", None)
    (ran,) = model.steps
    assert isinstance(ran, Ran)
    assert dossier_of(shop.store, shop.model).steps == ()


def test_what_was_made_in_another_ledger_is_not_claimed(shop: Shop) -> None:
    """It was brought here, or who made it is not known: what is made of it is told all the same."""
    store = shop.store
    brought = store.append("import", {"from": "elsewhere"}).id
    for made_by in (brought, "sha256:" + "0" * 64):
        store.append("artifact", {**store.get(shop.quantized).body, "made_by": made_by})
        build, *_ = dossier_of(store, shop.variant).steps
        assert isinstance(build, Composed)
        assert build.artifact.version == shop.build


def test_a_decision_on_measurements_of_another_ledger_is_still_told(shop: Shop) -> None:
    """Its contracts are there; which data they were measured on is not on record here."""
    entry = decide(shop, shop.variant, Action.ACCEPT, measured="sha256:" + "1" * 64)
    judged = dossier_of(shop.store, entry).judged
    assert judged is not None
    assert (judged.decision.action, judged.datasets) == (Action.ACCEPT, ())


def test_traces_are_those_of_the_variant(shop: Shop) -> None:
    """Of all its servers, in order; those of another are not among them."""
    for name, version, lines in (
        ("a", shop.variant, b'{"request_id":"1"}\n{"request_id":"2"}\n'),
        ("b", shop.baseline, b'{"request_id":"3"}\n'),
        ("c", shop.variant, b'{"request_id":"4"}\n'),
    ):
        keep(shop.recorder, f"traces/{name}", lines, "traces", lineage=(version,))
    found = dossier_of(shop.store, shop.variant)
    assert [trace["request_id"] for trace in found.traces] == ["1", "2", "4"]


def test_what_no_format_has_a_word_for_is_refused(shop: Shop) -> None:
    """A run that decided nothing is told by what it made; a note is no thing."""
    measured = next(
        r for r in shop.store.entries("run") if r.body["transformation"] == measure.name
    )
    note = shop.store.append("note", {})
    for entry in (measured, note):
        with pytest.raises(UsageError, match=f"is of kind {entry.kind}") as caught:
            dossier_of(shop.store, entry.id)
        assert caught.value.reason == "not_exportable"


def test_a_candidate_that_is_not_recorded_is_named(shop: Shop) -> None:
    """The decision stands; what it is about does not."""
    stranger = replace(shop, variant="sha256:" + "0" * 64)
    entry = decide(stranger, stranger.variant, Action.ACCEPT)
    with pytest.raises(UsageError, match="the candidate 000000000000 is not recorded here"):
        dossier_of(shop.store, entry)
