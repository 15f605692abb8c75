"""Loads a transformers encoder from a directory, whole or in part, and what it reads texts with.

Reads config.json and model.safetensors itself, so that a damaged file is named with its tensor, and
nothing is looked up on a network. Of the effectful half of this package: it imports torch and
transformers, and no ``__init__`` imports it.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headgate.distillation.students import validate_layers
from headgate.errors import InputError, MissingExtra

if TYPE_CHECKING:
    import torch

__all__ = [
    "autocast",
    "count_weights",
    "layers_of",
    "load_encoder",
    "max_tokens",
    "padded",
    "pooled",
    "read_tokenizer",
    "read_weights",
    "token_ids",
]

_HEADER_LIMIT_BYTES = 100_000_000


def load_encoder(
    model_dir: Path,
    *,
    layers: Sequence[int] | None = None,
    feed_forward: int | None = None,
    state: Path | None = None,
) -> torch.nn.Module:
    """The encoder of ``model_dir`` in evaluation mode, float32, with plain (eager) attention.

    ``layers`` keeps those of its layers, renumbered from 0. ``state`` is a safetensors file with
    the weights of such a student, whose layers are ``feed_forward`` units wide inside where that
    is given; without a state the weights are the teacher's. Plain attention is what exports to few
    operators and, in bfloat16 on CPU, what trains fastest.

    Raises ``InputError`` naming the file, and the tensor where one is to blame, or
    ``MissingExtra``.
    """
    # The directory is complete or it is an error; a hub has no say in it.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        import torch
        from transformers import AutoConfig, AutoModel
    except ImportError as error:
        raise MissingExtra.of("train", needed_for="reading a transformers model") from error

    weights_path = model_dir / "model.safetensors"
    where = str(model_dir / "config.json")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = AutoConfig.from_pretrained(str(model_dir), local_files_only=True)
    except (OSError, ValueError) as error:
        raise InputError(
            f"not the configuration of a transformers model: {_first_line(error)}",
            where=where,
            fix="give the directory of a transformers encoder: config.json and model.safetensors",
        ) from error
    tensors = read_weights(weights_path)
    if state is None:
        model = _filled(AutoModel, config, tensors, weights_path)
        if layers is not None:
            stack = layers_of(model)
            kept = [stack[i] for i in validate_layers(layers, len(stack))]
            del stack[:]
            stack.extend(kept)
            config.num_hidden_layers = len(kept)
    else:
        if layers is not None:
            config.num_hidden_layers = len(validate_layers(layers, config.num_hidden_layers))
        if feed_forward is not None:
            config.intermediate_size = feed_forward
        model = _filled(AutoModel, config, read_weights(state), state)
    return model.eval().to(torch.float32)


def _filled(
    auto: Any, config: Any, tensors: dict[str, torch.Tensor], source: Path
) -> torch.nn.Module:
    """A model of ``config`` holding ``tensors``; every parameter must be among them."""
    import torch
    from transformers.initialization import no_init_weights

    with no_init_weights():  # drawing them takes longer than all the rest
        model = auto.from_config(config, attn_implementation="eager")
    prefix = f"{model.base_model_prefix}."
    tensors = {name.removeprefix(prefix): t for name, t in tensors.items()}
    wanted = dict(model.named_parameters())
    for name, parameter in wanted.items():
        if name.startswith("pooler.") and name not in tensors:
            torch.nn.init.zeros_(parameter)  # a classification head's, which no embedder uses
            continue
        found = tensors.get(name)
        if found is None or found.shape != parameter.shape:
            raise InputError(
                f"tensor {name} of shape {tuple(parameter.shape)} is "
                + ("missing" if found is None else f"of shape {tuple(found.shape)}"),
                where=str(source),
                fix="give the weights that belong to this config.json",
            )
    model.load_state_dict({n: t for n, t in tensors.items() if n in wanted}, strict=False)
    result: torch.nn.Module = model
    return result


def layers_of(model: torch.nn.Module) -> torch.nn.ModuleList:
    """The stack of layers of a transformers encoder.

    Raises ``InputError`` for an architecture that does not keep its layers in one list.
    """
    import torch

    count = model.config.num_hidden_layers
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return module
    raise InputError(
        f"a {type(model).__name__} has no list of {count} layers to choose from",
        where="config.json: num_hidden_layers",
        fix="distil a BERT-like encoder, or leave distillation out",
    )


def pooled(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Sentence embeddings: the mean over real tokens, scaled to length 1.

    ``hidden`` is (batch, length, d), ``mask`` (batch, length) with 1 for a token and 0 for
    padding; the result is (batch, d).
    """
    import torch

    weight = mask.unsqueeze(-1).to(hidden.dtype)
    mean = (hidden * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1e-9)
    return torch.nn.functional.normalize(mean, dim=-1)


def autocast(device: str, *, bf16: bool) -> torch.autocast:
    """Inside it matrix products on ``device`` are taken in bfloat16, where ``bf16`` says so."""
    import torch

    return torch.autocast(torch.device(device).type, torch.bfloat16, bf16)


def max_tokens(model_dir: Path) -> int:
    """The longest input in tokens, special ones included.

    ``max_seq_length`` of sentence_bert_config.json where there is one, the positions of
    config.json otherwise. Raises ``InputError``.
    """
    for name, key in (
        ("sentence_bert_config.json", "max_seq_length"),
        ("config.json", "max_position_embeddings"),
    ):
        path = model_dir / name
        if not path.exists():
            continue
        try:
            value = json.loads(path.read_text(encoding="utf-8")).get(key)
        except (OSError, ValueError, AttributeError) as error:
            raise InputError(
                f"not a JSON object: {_first_line(error)}",
                where=str(path),
                fix="copy the model again",
            ) from error
        if isinstance(value, int) and value > 0:
            return value
    raise InputError(
        "the longest input is not stated",
        where=f"{model_dir / 'config.json'}: max_position_embeddings",
        fix="add it, or max_seq_length in sentence_bert_config.json",
    )


def read_tokenizer(model_dir: Path) -> Any:
    """The tokenizer of ``model_dir``; it pads nothing and cuts at ``max_tokens``.

    Raises ``InputError``.
    """
    from tokenizers import Tokenizer

    path = model_dir / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises bare Exception
        raise InputError(
            f"not a tokenizer: {error}",
            where=str(path),
            fix="give the directory of a model with a fast tokenizer",
        ) from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens(model_dir))
    return tokenizer


def token_ids(tokenizer: Any, texts: Sequence[str]) -> list[NDArray[np.int64]]:
    """The tokens of each text, those that frame it included."""
    return [np.array(e.ids, dtype=np.int64) for e in tokenizer.encode_batch_fast(list(texts))]


def padded(
    ids: Sequence[NDArray[np.int64]], device: str = "cpu"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, int64 (texts, longest); what the padding holds, the mask hides."""
    import torch

    shape = (len(ids), max(len(i) for i in ids))
    tokens, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for row, text in enumerate(ids):
        tokens[row, : len(text)], mask[row, : len(text)] = text, 1
    return torch.from_numpy(tokens).to(device), torch.from_numpy(mask).to(device)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, all finite.

    Raises ``InputError`` naming the file, and the tensor that is cut off or holds NaN or infinity.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except FileNotFoundError as error:
        raise InputError(
            "there is no such file",
            where=str(path),
            fix="give a model with safetensors weights; pickled ones (.bin, .pt) are not read",
        ) from error
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise InputError(
                f"tensor {name} holds NaN or infinity",
                where=str(path),
                fix="export the model again from a training that did not diverge",
            )
    return tensors


def count_weights(path: Path) -> int:
    """The numbers in a safetensors file, by its header alone.

    Raises ``InputError`` as ``read_weights`` where it is cut off, or none.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error
    return sum(map(math.prod, shapes))


def _unreadable(path: Path, error: Exception) -> InputError:
    cut = _first_cut_tensor(path)
    return InputError(
        f"truncated: tensor {cut} is not whole"
        if cut
        else f"not a safetensors file: {_first_line(error)}",
        where=str(path),
        fix="copy the file again",
    )


def _first_cut_tensor(path: Path) -> str | None:
    """The first tensor whose bytes the header promises and the file lacks; None if unreadable.

    Layout: 8 bytes little-endian header size, a JSON header of names to offsets, then the data.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
            if not 0 < header_bytes <= min(_HEADER_LIMIT_BYTES, size - 8):
                return None
            header = json.loads(file.read(header_bytes))
        have = size - 8 - header_bytes
        starts = {
            name: (entry["data_offsets"][0], entry["data_offsets"][1])
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None
    cut = min(
        ((start, name) for name, (start, end) in starts.items() if end > have),
        default=(math.inf, None),
    )
    return cut[1]


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
