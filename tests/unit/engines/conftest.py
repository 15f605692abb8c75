"""Builds of the tiny models, with files named by digest as in a store: no extension."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from headgate.objects import Build
from tests.models import tiny_classifier, tiny_embedder, tiny_tokenizer


@pytest.fixture
def path_of(tmp_path: Path) -> Callable[[str], Path]:
    """Artifact version -> file, as the ledger's store gives it."""
    return lambda version: tmp_path / version


@pytest.fixture
def text_build(tmp_path: Path) -> Build:
    tiny_embedder(tmp_path / "aa11")
    tiny_tokenizer(tmp_path / "bb22")
    return Build("tiny", "embed", "onnxruntime", "fp32", {"model.onnx": "aa11"}, "bb22", 16, 1)


@pytest.fixture
def tensor_build(tmp_path: Path) -> Build:
    tiny_classifier(tmp_path / "cc33")
    return Build("tiny", "classify", "onnxruntime", "fp32", {"model.onnx": "cc33"}, None, 1, 1)
