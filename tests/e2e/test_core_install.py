"""The core install: without a single extra it imports, optimizes an ONNX model and serves it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from importlib.metadata import Distribution, distribution
from pathlib import Path

import numpy as np
import onnx
import pytest
from packaging.requirements import Requirement

import headgate
from headgate.errors import Refused, Undecided
from tests.models import tiny_classifier

from .endpoints import classifier, write_rows

pytestmark = pytest.mark.slow

EXTRAS = ("grpc", "nncf", "openvino", "sklearn", "skl2onnx", "torch", "transformers")
FEATURES, CLASSES = 400, 256

IMPORT_ALL = """
import importlib, importlib.util, json, pkgutil, headgate
names = [m.name for m in pkgutil.walk_packages(headgate.__path__, "headgate.")]
for name in names:
    importlib.import_module(name)
print(json.dumps({"imported": names, "there": [n for n in %r if importlib.util.find_spec(n)]}))
"""

# No candidate can be that fast, so the baseline stays and becomes generation 0.
CONTRACTS = """\
contracts:
  agreement: {at_least: 0.1, why: a test, on_breach: rollback}
  batch_invariance: {one_of: [exact, within_epsilon, dependent], why: a test, on_breach: rollback}
  latency_p95: {at_most: 1us, why: a test, on_breach: rollback}
  device_s_per_1k: {ratio_to_current_at_most: 1000, why: a test, on_breach: rollback}
"""


def core_distributions() -> dict[str, Distribution]:
    """Headgate's requirements without extras, and theirs."""
    found: dict[str, Distribution] = {}
    waiting = ["headgate"]
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in found:
            continue
        found[name] = distribution(name)
        for text in found[name].requires or ():
            wanted = Requirement(text)
            if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
                waiting.append(wanted.name)
    return found


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment that holds the core's distributions alone.

    They are linked from this environment: an installation without a network.
    """
    root = tmp_path_factory.mktemp("core") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root], check=True)
    (site,) = root.glob("lib/python*/site-packages")
    for found in core_distributions().values():
        tops = {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}
        for top in tops:
            link = site / top
            if top.endswith(".pth") or top.startswith("__editable__") or link.exists():
                continue
            link.symlink_to(found.locate_file(top))  # type: ignore[arg-type]  # a path, always
    (site / "headgate").symlink_to(Path(headgate.__file__).parent)
    return root / "bin" / "python"


def ask(python: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return subprocess.run(
        [python, *arguments],
        cwd=cwd,
        env={**environment, "PYTHONNOUSERSITE": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_every_module_imports_without_extras(python: Path, tmp_path: Path) -> None:
    """Heavy libraries are imported where they are used, and nowhere else."""
    done = ask(python, "-W", "error", "-c", IMPORT_ALL % (EXTRAS,), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["there"] == []
    assert {"headgate.engines.openvino_engine", "headgate.distillation.train"} <= set(
        said["imported"]
    )


def test_doctor_names_what_is_missing_and_how_to_get_it(python: Path, tmp_path: Path) -> None:
    """Each extra with its command."""
    done = ask(python, "-m", "headgate", "doctor", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert "onnxruntime" in facts["profile"]["libraries"]
    assert not {"torch", "openvino"} & set(facts["profile"]["libraries"])
    commands = {part["command"] for part in facts["missing"]}
    assert commands == {
        f"pip install 'headgate[{e}]'" for e in ("grpc", "openvino", "sklearn", "train")
    }


def test_serving_over_grpc_names_what_is_missing(python: Path, tmp_path: Path) -> None:
    """Before anything is opened."""
    done = ask(python, "-m", "headgate", "serve", "--grpc-port", "0", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "headgate: serving over gRPC needs the extra 'grpc', which is not installed\n"
        "  what to do: pip install 'headgate[grpc]'\n"
    )


def test_an_onnx_model_is_optimized_and_served(python: Path, tmp_path: Path) -> None:
    """From a user's own file to an answer over HTTP: what the extras would add is skipped."""
    yaml = classifier(tmp_path)
    text = yaml.read_text(encoding="utf-8").replace("candidates: [int8_dynamic]\n", "")
    yaml.write_text(text + CONTRACTS, encoding="utf-8")
    model = onnx.load(tiny_classifier(tmp_path / "model.onnx", features=FEATURES, classes=CLASSES))
    weight = onnx.numpy_helper.to_array(model.graph.initializer[0])
    inputs = np.random.default_rng(0).normal(size=(120, FEATURES)).round(3)
    rows = ({"id": f"i{k}", "input": x.tolist()} for k, x in enumerate(inputs))
    write_rows(tmp_path / "evaluate.jsonl", rows)

    done = ask(python, "-m", "headgate", "optimize", "--promote", "headgate.yaml", cwd=tmp_path)
    # The blocks of so small a build may not tell on a busy machine: undecided keeps it as well.
    assert done.returncode in (Refused.exit_code, Undecided.exit_code), done.stderr
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["generation"] == 0
    why = {c["name"]: (c["tried"], c["why"]) for c in report["candidates"]}
    assert why["int8_dynamic"][0]
    tried, because = why["bf16"]
    assert not tried
    assert because.startswith("OpenVINO is not installed: pip install 'headgate[openvino]'")
    assert why["linear"][1].startswith("torch is not installed")

    with subprocess.Popen(
        [python, "-m", "headgate", "serve", "--port", "0", "--json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            url = json.loads(server.stdout.readline())["url"]
            x = inputs[0]
            tensor = {"name": "x", "shape": [1, FEATURES], "datatype": "FP32", "data": x.tolist()}
            body = json.dumps({"inputs": [tensor]}).encode()
            with urllib.request.urlopen(f"{url}/v2/models/digits/infer", body, timeout=30) as reply:
                (output,) = json.load(reply)["outputs"]
        finally:
            server.terminate()
    assert server.returncode == 0
    scores = np.exp(x @ weight - (x @ weight).max())
    assert np.allclose(output["data"], scores / scores.sum(), atol=1e-4)
