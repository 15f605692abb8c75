"""A tiny teacher, its answers, and a recipe of seconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate.distillation import Recipe
from tests.encoders import tiny_bert


@dataclass(frozen=True)
class Lesson:
    teacher: Path
    texts: list[str]
    outputs: NDArray[np.float32]


RECIPE = Recipe(
    layers_kept=2,
    steps=6,
    batch_texts=4,
    threads=1,
)


@pytest.fixture(scope="session")
def lesson(tmp_path_factory: pytest.TempPathFactory) -> Lesson:
    """Forty texts and the answers of a four-layer teacher."""
    pytest.importorskip("torch")
    import torch

    from headgate.distillation.encoder import (
        load_encoder,
        padded,
        pooled,
        read_tokenizer,
        token_ids,
    )

    teacher = tiny_bert(tmp_path_factory.mktemp("teacher"))
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    texts = [" ".join(rng.choice(letters, n)) for n in rng.integers(2, 15, 40)]
    with torch.inference_mode():
        ids, mask = padded(token_ids(read_tokenizer(teacher), texts))
        hidden = load_encoder(teacher)(input_ids=ids, attention_mask=mask).last_hidden_state
        outputs = pooled(hidden, mask).numpy()
    return Lesson(teacher, texts, outputs)
