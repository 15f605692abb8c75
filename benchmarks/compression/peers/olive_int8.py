"""Olive's int8 of an ONNX model, by its defaults: run in the peer's environment.

``python olive_int8.py MODEL.onnx CALIBRATE.npz OUT_DIR`` writes OUT_DIR/dynamic.onnx and
OUT_DIR/static.onnx. CALIBRATE.npz holds ``input_ids`` (items, length), padded with zeros.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ["OLIVE_DISABLE_TELEMETRY"] = "1"

import numpy as np
import olive
from olive.data.registry import Registry


class _Items:
    """One item a batch, unpadded, as Olive's loader gives them: (inputs, label)."""

    def __init__(self, path: str) -> None:
        self._ids = np.load(path)["input_ids"]

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[tuple[dict[str, np.ndarray], int]]:
        for row in self._ids:
            ids = row[row > 0][None].astype(np.int64)
            yield {"input_ids": ids, "attention_mask": np.ones_like(ids)}, 0


@Registry.register_dataset()
def items(path: str, **_: object) -> _Items:
    return _Items(path)


@Registry.register_dataloader()
def as_they_are(dataset: _Items, **_: object) -> _Items:
    return dataset


def _quantize(model: str, quantizer: dict[str, object], out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        olive.run(
            {
                "input_model": {"type": "ONNXModel", "model_path": model},
                "data_configs": [
                    {
                        "name": "calibration",
                        "type": "DataContainer",
                        "load_dataset_config": {
                            "type": "items",
                            "params": {"path": str(Path(sys.argv[2]).absolute())},
                        },
                        "pre_process_data_config": {"type": "skip_pre_process"},
                        "post_process_data_config": {"type": "skip_post_process"},
                        "dataloader_config": {"type": "as_they_are"},
                    }
                ],
                "passes": {"int8": quantizer},
                "output_dir": f"{folder}/out",
                "cache_dir": f"{folder}/cache",
                "log_severity_level": 3,
            }
        )
        (made,) = Path(folder, "out").rglob("*.onnx")
        shutil.copy(made, out)


def main() -> None:
    model, _, out = sys.argv[1:]
    _quantize(model, {"type": "OnnxDynamicQuantization"}, Path(out, "dynamic.onnx"))
    static = {"type": "OnnxStaticQuantization", "data_config": "calibration"}
    _quantize(model, static, Path(out, "static.onnx"))


if __name__ == "__main__":
    main()
