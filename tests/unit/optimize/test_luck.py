"""How much luck is in a calibration: resamples are made, judged, and held against the margin."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import onnx
import pytest

from headgate.engines.probe import read_profile
from headgate.objects import Action, Axis, Bound, Build, Contract, parse
from headgate.optimize import luck as luck_module
from headgate.optimize.inputs import Inputs
from headgate.optimize.luck import Luck, Spread, calibration_luck, known_luck, warnings
from headgate.optimize.making import Maker
from headgate.optimize.making.quantized import quantized
from headgate.optimize.measure import Behaviour, measure_quality
from headgate.optimize.models import Source
from headgate.optimize.recorder import Recorder
from headgate.planning import BUILDS, Candidate
from headgate.quantization import INT8_STATIC_QDQ
from tests.models import tiny_embedder, tiny_tokenizer

from .conftest import NewRecorder

WORDS = "ant bee cat dog eel fox gnu hen ibis jay kite lark mole newt owl pig quail ram seal toad"
BEHAVIOUR = Behaviour("embed", True, None, None, {})


@pytest.fixture
def maker(recorder: Recorder, tmp_path: Path) -> Maker:
    """The tiny embedder, twenty words to find, and thirty to calibrate on."""
    store = recorder.store
    rows = [{"id": f"p{i}", "passage": f"{w} {w}"} for i, w in enumerate(WORDS.split())]
    asked = [
        {"id": f"q{i}", "query": w, "relevant": [f"p{i}"]} for i, w in enumerate(WORDS.split())
    ]
    data = tmp_path / "evaluate.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in (*rows, *asked)), encoding="utf-8")
    version = store.put_file(data)
    recorder.register("evaluate", version, kind="dataset", schema="jsonl")
    calibrate = tuple(f"{a}{b}" for a in "abcdef" for b in "vwxyz")
    texts = store.put_bytes("\n".join(calibrate).encode())
    recorder.register("calibrate", texts, kind="dataset", schema="text")
    build = Build(
        name="fp32",
        task="embed",
        engine="onnxruntime",
        precision="fp32",
        files={"model.onnx": store.put_file(tiny_embedder(tmp_path / "m.onnx"))},
        tokenizer=store.put_file(tiny_tokenizer(tmp_path / "tokenizer.json")),
        max_tokens=32,
        threads=1,
    )
    inputs = SimpleNamespace(
        calibrate=calibrate, versions={"evaluate": version, "calibrate": texts}
    )
    promised = (
        contract("recall@10", Bound.NOT_BELOW_CURRENT_BY, 0.02),
        contract("agreement@10", Bound.AT_LEAST, 0.6),
        contract("latency_p95", Bound.AT_MOST, 0.1),
    )
    return Maker(
        recorder, Source(build, {}, "made"), cast("Inputs", inputs), read_profile(), promised
    )


def luck(maker: Maker, resamples: int) -> Luck:
    current, _ = measure_quality(
        maker.recorder,
        maker.source.build,
        BEHAVIOUR,
        dataset=maker.inputs.versions["evaluate"],
        split="evaluate",
    )
    return calibration_luck(
        maker, BEHAVIOUR, "int8_static_qdq", current=current, own={}, resamples=resamples
    )


def test_each_resample_is_made_and_judged_of_its_own(maker: Maker) -> None:
    """Three calibrations that draw other items, three judgements of what is promised of quality,
    and their lineage."""
    found = luck(maker, 3)
    assert [s.metric for s in found.spreads] == ["recall@10", "agreement@10"]
    assert all(len(s.means) == 3 and s.sd >= 0 for s in found.spreads)
    assert found.describe().startswith(
        "int8_static_qdq, calibrated 3 times on resamples of 30 items: recall@10 between "
    )
    made = [run for run in maker.recorder.runs if run.name == "quantize"]
    found = [maker.recorder.store.get(run.entry).body["u"]["calibrate"] for run in made]
    assert len(set(found)) == 3
    calibration = maker.inputs.versions["calibrate"]
    artifacts = [maker.recorder.store.latest("artifact", version=v) for v in found]
    assert all(a is not None and calibration in a.body["lineage"] for a in artifacts)


def test_the_same_seed_draws_the_same(maker: Maker) -> None:
    """Asked again nothing is executed, and the answer is the same."""
    first = luck(maker, 2)
    before = len(maker.recorder.runs)
    assert luck(maker, 2) == first, "its entry, too"
    assert all(run.reused for run in maker.recorder.runs[before:])


def test_the_last_answer_about_the_same_model_and_data_is_known(maker: Maker) -> None:
    """For a report; of another candidate, or other calibration data, nothing is."""
    assert known_luck(maker, BEHAVIOUR, "int8_static_qdq") is None
    found = luck(maker, 2)
    assert known_luck(maker, BEHAVIOUR, "int8_static_qdq") == found
    assert known_luck(maker, BEHAVIOUR, "int8_static") is None
    versions = {**maker.inputs.versions, "calibrate": "sha256:other"}
    others = cast("Inputs", SimpleNamespace(calibrate=(), versions=versions))
    assert known_luck(replace(maker, inputs=others), BEHAVIOUR, "int8_static_qdq") is None


def test_an_old_spread_is_not_shown_of_what_is_made_or_judged_otherwise_by_now(
    maker: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another scheme under the same name, another metric's code, other code of ours."""
    found, name = luck(maker, 2), "int8_static_qdq"
    measured = replace(BEHAVIOUR, metrics={"mine": {"source": "sha256:changed"}})
    assert known_luck(maker, measured, name) is None
    with monkeypatch.context() as patch:
        patch.setitem(BUILDS, name, Candidate(None, replace(INT8_STATIC_QDQ, keep=("x",))))
        assert known_luck(maker, BEHAVIOUR, name) is None
    with monkeypatch.context() as patch:
        patch.setattr(luck_module, "code_digest", lambda *_: "sha256:edited")
        assert known_luck(maker, BEHAVIOUR, name) is None
    assert known_luck(maker, BEHAVIOUR, name) == found


def test_another_seed_draws_others(maker: Maker, new_recorder: NewRecorder) -> None:
    luck(maker, 2)
    other = replace(maker, recorder=new_recorder(seed=1))
    luck(other, 2)
    drawn = [
        {
            m.recorder.store.get(r.entry).body["u"]["calibrate"]
            for r in m.recorder.runs
            if r.name == "quantize"
        }
        for m in (maker, other)
    ]
    assert not drawn[0] & drawn[1]


def test_one_resample_has_no_spread(maker: Maker) -> None:
    with pytest.raises(ValueError, match="two resamples"):
        luck(maker, 1)


def contract(metric: str, bound: Bound, limit: float) -> Contract:
    return Contract(
        metric, Axis.QUALITY, bound, limit, "it is agreed", Action.ROLLBACK, "team", "previous"
    )


def test_a_spread_above_a_third_of_the_margin_warns() -> None:
    """An SD of 0.01 against a margin of 0.02, not against 0.04, and not against a fixed floor."""
    spreads = [Spread("recall@10", (0.69, 0.70, 0.71))]
    assert spreads[0].sd == pytest.approx(0.01)
    margin = Bound.NOT_BELOW_CURRENT_BY
    (said,) = warnings(spreads, [contract("recall@10", margin, 0.02)])
    assert "recall@10 varies by 0.01" in said
    assert "3 calibrations" in said
    assert not warnings(spreads, [contract("recall@10", margin, 0.04)])
    assert not warnings(spreads, [contract("recall@10", Bound.AT_LEAST, 0.02)])
    assert not warnings(spreads, [contract("mrr@10", margin, 0.02)])


def test_a_calibrated_build_says_what_it_was_calibrated_on(maker: Maker) -> None:
    """Items, method, seed and the CPU's need are in the run; the items lead to the data."""
    quantized(maker, maker.source.build, INT8_STATIC_QDQ, name="int8_static_qdq")
    (run,) = [r for r in maker.recorder.runs if r.name == "quantize"]
    body = maker.recorder.store.get(run.entry).body
    assert body["seed"] == maker.recorder.seed
    assert body["c"]["scheme"]["calibration"]["method"] == "mse"
    assert body["c"]["scheme"]["keep"] == []
    assert set(body["u"]) == {"model.onnx", "calibrate"}
    items = parse(maker.recorder.store.read(body["u"]["calibrate"]))
    assert items == list(maker.inputs.calibrate)
    artifact = maker.recorder.store.artifact(body["u"]["calibrate"])
    assert artifact is not None
    assert artifact.lineage == (maker.inputs.versions["calibrate"],)


def test_another_node_to_keep_is_another_run(maker: Maker) -> None:
    """The name is the same, the scheme is not: nothing is reused that was made otherwise."""
    embedder = onnx.load_model(maker.recorder.store.path_of(maker.source.build.files["model.onnx"]))
    embedder.graph.node[1].name = "product"
    version = maker.recorder.store.put_bytes(embedder.SerializeToString())
    source = replace(maker.source.build, files={"model.onnx": version})
    one, two = (
        quantized(maker, source, replace(INT8_STATIC_QDQ, keep=keep), name="int8")
        for keep in ((), ("product",))
    )
    assert one.files != two.files
