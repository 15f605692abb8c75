"""What the benchmark against peers compares, and what it keeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.compression import against_peers
from benchmarks.compression.against_peers import beside_fastest

FP32 = {"fp32_openvino": np.array([4.0, 4.0]), "fp32 again": np.array([4.0, 4.4])}
PEERS = ("slow", "fast")


def test_it_is_the_fastest_of_them_that_counts_and_the_lower_bound() -> None:
    """Equal on average, as two loads of three show: the bound does not say so much."""
    seconds = {
        **FP32,
        "slow": np.array([9.0, 9.0]),
        "fast": np.array([2.0, 2.0]),
        "ours": np.array([1.8, 1.9]),
    }
    found = beside_fastest(seconds, "ours", PEERS)
    assert found is not None
    assert found.value == pytest.approx(2.0 / (1.8 * 1.9) ** 0.5)
    assert found.lower < 1.0 < found.value


def test_without_a_peer_nothing_is_faster() -> None:
    assert beside_fastest({**FP32, "ours": np.array([1.0, 1.0])}, "ours", ()) is None


@pytest.mark.parametrize("changed", ["olive_int8.py", "static.onnx"])
def test_a_peers_file_and_its_script_are_part_of_what_is_kept(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("olive_int8.py", "static.onnx"):
        (tmp_path / name).write_text("one", encoding="utf-8")
    monkeypatch.setattr(against_peers, "_SCRIPTS", tmp_path)
    peers = {"olive_static": tmp_path / "static.onnx"}
    before = against_peers._versions(peers)
    (tmp_path / changed).write_text("two", encoding="utf-8")
    assert against_peers._versions(peers) != before
