"""sentence-transformers' own int8 of an encoder, by its defaults: run in the peer's environment.

``python sbert_int8.py MODEL_DIR OUT.onnx``. Exports the encoder and quantizes it as its guide to
speeding up inference does for a CPU with VNNI (Optimum's dynamic quantization).
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model


def main() -> None:
    encoder, out = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        model = SentenceTransformer(encoder, backend="onnx", device="cpu")
        export_dynamic_quantized_onnx_model(model, "avx512_vnni", folder)
        (made,) = Path(folder).rglob("*.onnx")
        shutil.copy(made, out)


if __name__ == "__main__":
    main()
