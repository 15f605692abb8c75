"""A BERT of a few thousand weights in a directory, as transformers would save it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.models import TINY_VOCAB, tiny_tokenizer

__all__ = ["tiny_bert"]


def tiny_bert(directory: Path, *, layers: int = 4, seed: int = 0) -> Path:
    """config.json, model.safetensors and tokenizer.json; 16 components, up to 24 tokens."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModel, BertConfig

    config = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "vocab_size": TINY_VOCAB,
        "hidden_size": 16,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 24,
        "initializer_range": 0.3,
    }
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModel.from_config(BertConfig(**config))
    weights = {n: t.contiguous() for n, t in model.state_dict().items() if "pooler" not in n}
    save_file(weights, directory / "model.safetensors")
    tiny_tokenizer(directory / "tokenizer.json")
    return directory
