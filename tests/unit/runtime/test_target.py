"""A rollback target is loaded, checked and probed before anything takes its place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from headgate.config import load_function
from headgate.errors import Refused
from headgate.ledger import Store
from headgate.objects import BatchingSpec, BatchInvariance, Build, CacheSpec, Variant
from headgate.runtime.servable import Servable
from headgate.runtime.target import prove_target
from headgate.workload import ServiceCurve
from tests.models import tiny_classifier


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / ".headgate", create=True) as opened:
        yield opened


def released(store: Store, model: Path) -> tuple[Servable, str]:
    """A classifier in the store, as a variant of two instances."""
    files = {"model.onnx": store.put_file(model)}
    build = Build("fp32", "classify", "onnxruntime", "fp32", files, None, 1, 1)
    variant = Variant("fp32", build.version, 2, BatchingSpec(max_requests=4), CacheSpec())
    curve = ServiceCurve(0.001, 0.001, 0.0, 0.0)
    servable = Servable(
        "digits", "classify", variant, build, curve, BatchInvariance.EXACT, False, None, None
    )
    return servable, store.put_bytes(servable.content)


def entries(store: Store) -> int:
    return len(list(store.entries()))


def test_what_answers_is_proved_and_the_proof_is_on_record(store: Store, tmp_path: Path) -> None:
    """Which files, by digest, on which machine, and what the answers look like."""
    servable, version = released(store, tiny_classifier(tmp_path / "model.onnx"))
    body = store.get(prove_target(store, version, store.root.parent)).body
    assert (body["variant"], body["build"]) == (version, servable.build.version)
    assert body["files"] == servable.build.files
    assert body["e"].startswith("sha256:")
    assert body["answers"]["dtype"] == "float32"


def refused(store: Store, version: str) -> Refused:
    before = entries(store)
    with pytest.raises(Refused) as caught:
        prove_target(store, version, store.root.parent)
    assert entries(store) == before, "no proof of what does not answer"
    return caught.value


def test_a_target_whose_own_function_was_changed_is_no_target(store: Store, tmp_path: Path) -> None:
    """Rolled back to, it would be refused: better before than after."""
    (tmp_path / "own.py").write_text("def after(outputs):\n    return outputs\n")
    function = load_function("own:after", tmp_path)
    servable, _ = released(store, tiny_classifier(tmp_path / "model.onnx"))
    build = replace(servable.build, postprocess=function.version)
    variant = replace(servable.variant, build=build.version)
    own = replace(servable, build=build, variant=variant, postprocess="own:after")
    version = store.put_bytes(own.content)
    prove_target(store, version, tmp_path)
    (tmp_path / "own.py").write_text("def after(outputs):\n    return -outputs\n")
    assert "is not the source" in refused(store, version).what


def test_a_target_whose_file_was_changed_is_no_target(store: Store, tmp_path: Path) -> None:
    """One byte of the model is enough."""
    servable, version = released(store, tiny_classifier(tmp_path / "model.onnx"))
    path = store.path_of(servable.build.files["model.onnx"])
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with Store.open(store.root) as fresh:
        assert refused(fresh, version).reason == "rollback_target_unusable"


def test_a_target_whose_file_is_gone_is_no_target(store: Store, tmp_path: Path) -> None:
    """Nor is one that is not in the store at all."""
    servable, _ = released(store, tiny_classifier(tmp_path / "model.onnx"))
    build = replace(servable.build, files={"model.onnx": "sha256:" + "0" * 64})
    gone = store.put_bytes(replace(servable, build=build).content)
    for version in (gone, "sha256:" + "1" * 64):
        error = refused(store, version)
        assert error.reason == "rollback_target_unusable"
        assert error.fix


def test_a_target_that_cannot_be_loaded_is_no_target(store: Store, tmp_path: Path) -> None:
    """Its bytes are as they were, and no engine takes them."""
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model")
    assert refused(store, released(store, path)[1]).reason == "rollback_target_unusable"


def test_a_target_that_answers_with_no_number_is_no_target(store: Store, tmp_path: Path) -> None:
    """It loads, and breaks the output contract."""
    path = tiny_classifier(tmp_path / "model.onnx")
    model = onnx.load(str(path))
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(np.full_like(values, np.nan), tensor.name))
    onnx.save(model, str(path))
    assert "NaN" in refused(store, released(store, path)[1]).what
