"""Where a static student starts: a vector for each token of the teacher's vocabulary.

Such a student answers with the weighted mean of its tokens' vectors and computes nothing else
(Tulkens and van Dongen, "Model2Vec", 2024). Of the effectful half of this package: it imports torch
and reads the teacher.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headgate.distillation.encoder import autocast, load_encoder, padded, pooled
from headgate.distillation.recipe import Recipe

if TYPE_CHECKING:
    import torch

__all__ = ["answer", "start_table", "table_parts"]

_SMOOTHING = 1e-3
"""``a`` of ``a / (a + p)``: Arora, Liang and Ma, "A Simple but Tough-to-Beat Baseline for Sentence
Embeddings" (2017)."""
_TOKENS_AT_ONCE = 512


def answer(
    table: torch.Tensor, basis: torch.Tensor, tokens: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Embeddings of length 1, (batch, d), of token ids and mask, (batch, length) each.

    ``table`` is (vocabulary, k), as long a row as its token weighs; ``basis`` is (k, d).
    """
    import torch

    rows = torch.nn.functional.embedding(tokens, table)
    total = torch.bmm(mask.unsqueeze(1).to(rows.dtype), rows).squeeze(1)
    return torch.nn.functional.normalize(total @ basis, dim=-1)


def table_parts(vocabulary: int) -> int:
    """In how many parts ``start_table`` has so many tokens embedded."""
    return -(-vocabulary // _TOKENS_AT_ONCE)


def start_table(
    teacher_dir: Path,
    tokenizer: Any,
    ids: Sequence[NDArray[np.int64]],
    recipe: Recipe,
    *,
    device: str,
    sums: MutableMapping[str, torch.Tensor],
    done: int,
    on_part: Callable[[int], None],
) -> tuple[torch.Tensor, torch.Tensor]:
    """The table (vocabulary, k) and the basis (k, d) that a static student starts from.

    Each token is embedded by the teacher as a text of its own; of these vectors, centred, the
    ``k`` principal components are kept. A row is as long as its token's weight ``a / (a + p)``,
    with ``p`` its share of all tokens in ``ids``, the training texts: what is in every text tells
    none from another.

    Of its parts (``table_parts``) ``done`` were done before, and ``sums`` is what they left;
    ``on_part`` is told after each but the last how many are.
    """
    import torch

    teacher = load_encoder(teacher_dir).to(device)
    vocabulary: int = teacher.config.vocab_size
    frame = tokenizer.encode("").ids
    before, after = frame[: len(frame) // 2], frame[len(frame) // 2 :]
    if "vectors" not in sums:
        sums["vectors"] = torch.zeros(vocabulary, teacher.config.hidden_size, device=device)
    parts = table_parts(vocabulary)
    with torch.no_grad(), autocast(device, bf16=recipe.bf16):
        for part in range(done, parts):
            start = part * _TOKENS_AT_ONCE
            some = range(start, min(start + _TOKENS_AT_ONCE, vocabulary))
            group = [np.array([*before, token, *after], dtype=np.int64) for token in some]
            tokens, mask = padded(group, device)
            hidden = teacher(input_ids=tokens, attention_mask=mask).last_hidden_state
            sums["vectors"][start : some.stop] = pooled(hidden.float(), mask)
            if part + 1 < parts:
                on_part(part + 1)
    vectors = sums["vectors"].double()
    vectors = vectors - vectors.mean(dim=0)
    size = min(recipe.table_dimensions, vectors.shape[1])
    # Ascending eigenvalues: the last columns are the first components.
    basis = torch.linalg.eigh(vectors.T @ vectors).eigenvectors[:, -size:].flip(1)
    seen = np.bincount(np.concatenate(ids), minlength=vocabulary)
    weight = torch.from_numpy(_SMOOTHING / (_SMOOTHING + seen / seen.sum())).to(device)
    table = (vectors @ basis) * weight[:, None]
    return table.float().contiguous(), basis.T.float().contiguous()
