"""What is tried, what is skipped and why, before anything is paid for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from headgate.ledger import Store
from headgate.objects import Bound, Build
from headgate.optimize.job import Job
from headgate.optimize.preview import Forecast, preview
from headgate.planning import TRIED_BY_DEFAULT
from tests.models import tiny_embedder, tiny_tokenizer

from .fakes import contract, curve

EVERYTHING = {"openvino": "1", "nncf": "1", "torch": "1", "transformers": "1"}
TEXTS = tuple(f"text {k}" for k in range(50))


@pytest.fixture
def build(store: Store, tmp_path: Path) -> Build:
    """An embedder with just enough weights for quantization to be worth it."""
    model = tiny_embedder(tmp_path / "model.onnx", hidden=400, dim=256)
    tokenizer = store.put_file(tiny_tokenizer(tmp_path / "tokenizer.json"))
    files = {"model.onnx": store.put_file(model)}
    return Build("fp32", "embed", "onnxruntime", "fp32", files, tokenizer, 64, 2)


def look(store: Store, build: Build, **changes: object) -> dict[str, Forecast]:
    """The forecasts where nothing is missing but what ``changes`` take away."""
    has = {
        "libraries": EVERYTHING,
        "flags": ("avx2", "avx512_vnni", "avx512_bf16"),
        "calibrate": TEXTS,
        "train": TEXTS,
        "encoder": {"config.json": "sha256:config"},
        "candidates": TRIED_BY_DEFAULT,
        "task": "embed",
        "postprocess": None,
        "contracts": (),
        **changes,
    }
    job = SimpleNamespace(
        store=store,
        source=SimpleNamespace(build=build, encoder=has["encoder"]),
        config=SimpleNamespace(
            endpoint="docs",
            **{name: has[name] for name in ("candidates", "task", "postprocess")},
        ),
        contracts=has["contracts"],
        profile=SimpleNamespace(libraries=has["libraries"], flags=has["flags"]),
        inputs=SimpleNamespace(calibrate=has["calibrate"], train=has["train"]),
        lengths=(8, 16),
    )
    return {f.name: f for f in preview(cast("Job", job), curve())}


def test_with_everything_there_every_candidate_is_tried(store: Store, build: Build) -> None:
    """In the order of headgate.yaml, each with what is expected of it."""
    found = look(store, build)
    assert tuple(found) == TRIED_BY_DEFAULT
    assert {f.skip for f in found.values()} == {""}
    assert "x the speed" in found["int8_static"].expected
    assert "half the layers; training takes about" in found["student3"].expected
    assert "x the speed" in found["student3_int8_static"].expected
    assert "half the layers" in found["student3_int8_static"].expected


NO_OPENVINO = "OpenVINO is not installed: pip install 'headgate[openvino]'"
NO_TORCH = "torch is not installed: pip install 'headgate[train]'"
NO_ENCODER = "a student takes layers of a transformers encoder (model: {path: DIR})"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            {"libraries": {}},
            {
                "bf16": NO_OPENVINO,
                "int8_static": NO_OPENVINO,
                "student3": NO_TORCH,
                "student3_int8_static": f"{NO_OPENVINO}; {NO_TORCH}",
            },
        ),
        (
            {"calibrate": ()},
            {
                "int8_static": "data: calibrate is not declared",
                "student3_int8_static": "data: calibrate is not declared",
            },
        ),
        (
            {"train": ()},
            {
                "student3": "data: train is not declared",
                "student3_int8_static": "data: train is not declared",
            },
        ),
        (
            {"encoder": {}},
            {
                "student3": NO_ENCODER,
                "student3_int8_static": NO_ENCODER,
            },
        ),
    ],
    ids=["no extras", "nothing to calibrate with", "nothing to train on", "another model"],
)
def test_what_cannot_be_made_is_skipped_with_its_reason(
    store: Store, build: Build, change: dict[str, object], why: dict[str, str]
) -> None:
    """The others are still tried; a skipped one promises nothing."""
    found = look(store, build, **change)
    assert {f.name: f.skip for f in found.values() if f.skip} == why
    assert all(not f.expected for f in found.values() if f.skip)


def test_a_model_with_too_little_to_quantize_is_left_as_it_is(
    store: Store, build: Build, tmp_path: Path
) -> None:
    """The scheme's own reason is given."""
    small = store.put_file(tiny_embedder(tmp_path / "small.onnx"))
    assert build.tokenizer is not None
    tiny = Build(
        "fp32", "embed", "onnxruntime", "fp32", {"model.onnx": small}, build.tokenizer, 64, 2
    )
    found = look(store, tiny)
    assert {n for n, f in found.items() if "weights" in f.skip} >= {"int8_dynamic", "int8_static"}


def test_bf16_needs_a_cpu_that_has_it(store: Store, build: Build) -> None:
    """Emulated it would only be slower."""
    assert look(store, build, flags=("avx2",), candidates=("bf16",))["bf16"].skip


CLASSIFIER = {
    "task": "classify",
    "candidates": ("linear", "linear_cascade"),
    "calibrate": TEXTS * 6,
    "contracts": (contract("accuracy", Bound.NOT_BELOW_CURRENT_BY, 0.02),),
}
NO_STUDENT = "linear is a student of a classifier"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, {}),
        ({"calibrate": ()}, {"linear_cascade": "data: calibrate is not declared"}),
        (
            {"calibrate": TEXTS},
            {
                "linear_cascade": "data.calibrate has 50 items, and a risk of 0.01 can be shown "
                "with 299 at least"
            },
        ),
        ({"task": "embed"}, {"linear": NO_STUDENT, "linear_cascade": NO_STUDENT}),
        (
            {"libraries": {}, "train": ()},
            dict.fromkeys(("linear", "linear_cascade"), f"{NO_TORCH}; data: train is not declared"),
        ),
        (
            {"postprocess": "own:scale"},
            dict.fromkeys(
                ("linear", "linear_cascade"),
                "what postprocess makes of the scores is not what a student learns",
            ),
        ),
    ],
    ids=["nothing", "no split", "too few", "another task", "no extra, no data", "own step"],
)
def test_what_a_classifiers_students_lack_is_said(
    store: Store, build: Build, change: dict[str, object], why: dict[str, str]
) -> None:
    """Before any is trained; a cascade lacks what its student does, and more."""
    found = look(store, build, **{**CLASSIFIER, **change})
    assert {f.name: f.skip for f in found.values() if f.skip} == why
    assert all(bool(f.expected) is not bool(f.skip) for f in found.values())


def test_only_what_the_file_names_is_looked_at(store: Store, build: Build) -> None:
    """An endpoint chooses its candidates."""
    assert tuple(look(store, build, candidates=("int8_dynamic",))) == ("int8_dynamic",)


def test_each_forecast_is_one_entry_however_often_it_is_asked_for(
    store: Store, build: Build
) -> None:
    """It stands in the ledger before the measurement that it will be held against."""
    first, second = look(store, build), look(store, build)
    assert {n: f.entry for n, f in first.items()} == {n: f.entry for n, f in second.items()}
    entries = list(store.entries("forecast"))
    assert [e.body["candidate"] for e in entries] == list(TRIED_BY_DEFAULT)
    assert "speedup" in entries[0].body["quantization"]
    assert entries[TRIED_BY_DEFAULT.index("student3")].body["student"]["break_even_requests"] > 0
    without = look(store, build, libraries={})
    assert without["bf16"].entry != first["bf16"].entry
