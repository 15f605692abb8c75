"""Own steps around a build: whatever is measured goes through them, as requests will."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from headgate.config import Item
from headgate.errors import InputError
from headgate.ledger import Store
from headgate.objects import BatchInvariance, Build
from headgate.optimize.facts import facts_of
from headgate.optimize.inputs import Inputs
from headgate.optimize.job import _lengths, _value_bytes
from headgate.optimize.measure import Behaviour, measure_curves, measure_invariance
from headgate.optimize.recorder import Recorder
from headgate.optimize.served import (
    FinishedEngine,
    PreparedCodec,
    as_items,
    as_json,
    served_codec,
    served_engine,
)
from headgate.scheduling import InstancePlan
from headgate.workload import Codec, Engine, Pair
from tests.models import tiny_classifier, tiny_embedder, tiny_tokenizer
from tests.serving import WordCodec, WordEngine

OWN = """
def repeat(text):
    return " ".join([text] * 6)

def double(features):
    return features * 2  # on a list this would be twice as long

def halve(outputs):
    return outputs[:, : outputs.shape[1] // 2]

def centre(outputs):
    return outputs - outputs.mean(axis=0)

def fail(item):
    raise RuntimeError("no")
"""


def behaviour(
    *, preprocess: str | None = None, postprocess: str | None = None, task: str = "embed"
) -> Behaviour:
    return Behaviour(task, False, preprocess, postprocess, {})


@pytest.fixture(autouse=True)
def own(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)


@pytest.fixture
def texts(store: Store, tmp_path: Path) -> Build:
    """An embedder of 8 dimensions."""
    model = tiny_embedder(tmp_path / "model.onnx", dim=8)
    tokenizer = store.put_file(tiny_tokenizer(tmp_path / "tokenizer.json"))
    files = {"model.onnx": store.put_file(model)}
    return Build("fp32", "embed", "onnxruntime", "fp32", files, tokenizer, 64, 1)


@pytest.fixture
def features(store: Store, tmp_path: Path) -> Build:
    """A classifier of four numbers."""
    files = {"model.onnx": store.put_file(tiny_classifier(tmp_path / "classifier.onnx"))}
    return Build("fp32", "classify", "onnxruntime", "fp32", files, None, 1, 1)


def test_the_steps_stand_around_codec_and_engine() -> None:
    """``preprocess`` sees an item, ``postprocess`` a batch of outputs."""
    codec: Codec = PreparedCodec(WordCodec(), lambda text: f"{text} more")
    inner = WordEngine()
    engine: Engine = FinishedEngine(inner, lambda outputs: outputs[:, 1:])
    assert engine.run(codec.collate(codec.encode(["a", "b c"]))).tolist() == [[2.0], [3.0]]
    engine.close()
    assert inner.closed


def test_without_own_steps_nothing_stands_around(
    texts: Build, store: Store, tmp_path: Path
) -> None:
    """A request pays for no wrapper that does nothing."""
    codec = served_codec(texts, store.path_of, preprocess=None, root=tmp_path)
    engine = served_engine(texts, store.path_of, postprocess=None, root=tmp_path)
    assert not isinstance(codec, PreparedCodec)
    assert not isinstance(engine, FinishedEngine)
    engine.close()


def test_what_an_own_step_raises_is_named(texts: Build, store: Store, tmp_path: Path) -> None:
    """It is the caller's to mend."""
    codec = served_codec(texts, store.path_of, preprocess="own:fail", root=tmp_path)
    with pytest.raises(InputError, match="RuntimeError: no") as caught:
        codec.encode(["a"])
    assert caught.value.where.startswith("own:fail (own.py:")
    assert caught.value.reason == "function_failed"


def test_items_come_back_from_json_as_own_steps_know_them() -> None:
    """Texts, pairs, and arrays that are no lists."""
    items: list[Item] = ["a text", np.array([1.0, 2.0]), Pair("a query", "a text")]
    again = as_items(json.loads(json.dumps(as_json(items))))
    assert (again[0], again[2]) == ("a text", Pair("a query", "a text"))
    assert isinstance(again[1], np.ndarray)
    assert again[1].tolist() == [1.0, 2.0]


def test_lengths_and_answers_are_those_that_are_served(texts: Build, recorder: Recorder) -> None:
    """Six times the text is longer, and half of the answer is half the bytes to keep."""
    inputs = cast("Inputs", SimpleNamespace(workload=SimpleNamespace(items=("a b c",) * 3)))
    plain, prepared = behaviour(), behaviour(preprocess="own:repeat", postprocess="own:halve")
    assert max(_lengths(texts, plain, inputs, recorder)) == 8
    assert max(_lengths(texts, prepared, inputs, recorder)) >= 18
    assert _value_bytes(texts, plain, inputs, recorder) == 32
    assert _value_bytes(texts, prepared, inputs, recorder) == 16


def test_own_steps_are_measured_with_the_build(features: Build, recorder: Recorder) -> None:
    """The curve is that of arrays through both steps; another step is another measurement."""
    rng = np.random.default_rng(0)
    items = [rng.normal(size=4) for _ in range(12)]

    def measured(own: Behaviour) -> str:
        (curve,) = measure_curves(
            recorder, [(features, 1)], own,
            items=items, sizes=(1, 2, 4, 8), lengths=(1,), budget_s=0.01,
        )  # fmt: skip
        assert curve.plan == InstancePlan(1, 1)
        return curve.run.entry

    both = behaviour(task="classify", preprocess="own:double", postprocess="own:halve")
    assert measured(both) != measured(behaviour(task="classify"))
    assert measured(both) == measured(both)


def test_an_own_step_that_looks_at_the_batch_makes_answers_depend_on_it(
    features: Build, recorder: Recorder
) -> None:
    """The class is that of the served answer, not of the model behind it."""
    rng = np.random.default_rng(0)
    items = [rng.normal(size=4) for _ in range(12)]

    def kind(own: Behaviour) -> BatchInvariance:
        return measure_invariance(recorder, features, own, items=items).invariance

    assert kind(behaviour(task="classify", postprocess="own:centre")) is BatchInvariance.DEPENDENT
    assert kind(behaviour(task="classify")) is not BatchInvariance.DEPENDENT


def test_measuring_on_other_items_makes_nothing_stale(features: Build, recorder: Recorder) -> None:
    """An index is priced on passages, when all else was measured on queries."""
    rng = np.random.default_rng(0)
    items = [rng.normal(size=4) for _ in range(8)]
    own = behaviour(task="classify")
    first, _ = (
        measure_invariance(recorder, features, own, items=some) for some in (items[:4], items[4:])
    )
    run = recorder.store.get(first.run.entry)
    now = datetime.now(UTC)
    assert facts_of(recorder.store, run, None, (), now, promised=None).newer_inputs == ()
