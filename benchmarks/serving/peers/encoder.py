"""What the peers share: the setting, and texts -> embeddings in one call of ONNX Runtime."""

from __future__ import annotations

import os

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

PORT = int(os.environ["BENCH_PORT"])
THREADS = int(os.environ["BENCH_THREADS"])
WORKERS = int(os.environ["BENCH_WORKERS"])
BATCH = int(os.environ["BENCH_BATCH"])
WAIT_S = float(os.environ["BENCH_WAIT_S"])


class Encoder:
    """Pads a batch to its longest text. Sessions do not spin: the server shares the cores."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"]
        )
        self._names = [i.name for i in self._session.get_inputs()]
        self._tokenizer = Tokenizer.from_file(os.environ["BENCH_TOKENIZER"])
        self._tokenizer.enable_truncation(int(os.environ["BENCH_MAX_TOKENS"]))
        self._tokenizer.enable_padding()

    def tokenize(self, texts: list[str]) -> dict[str, np.ndarray]:
        encodings = self._tokenizer.encode_batch(texts)
        tensors = {
            "input_ids": [e.ids for e in encodings],
            "attention_mask": [e.attention_mask for e in encodings],
            "token_type_ids": [e.type_ids for e in encodings],
        }
        return {name: np.array(tensors[name], dtype=np.int64) for name in self._names}

    def lengths(self, texts: list[str]) -> list[int]:
        return [sum(e.attention_mask) for e in self._tokenizer.encode_batch(texts)]

    def run(self, tensors: dict[str, np.ndarray]) -> np.ndarray:
        return self._session.run(None, tensors)[0]

    def __call__(self, texts: list[str]) -> np.ndarray:
        return self.run(self.tokenize(texts))
