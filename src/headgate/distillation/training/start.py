"""Where a student with layers starts: the teacher's layers, cut, narrowed and refitted.

Of the effectful half of this package: it imports torch and reads the teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headgate.distillation.encoder import autocast, layers_of, load_encoder, padded
from headgate.distillation.recipe import Recipe
from headgate.distillation.students import feed_forward_of, targets
from headgate.errors import InputError

if TYPE_CHECKING:
    import torch

__all__ = ["cut", "inputs_of", "refit"]

_TEXTS_AT_ONCE = 64


def cut(teacher_dir: Path, layers: Sequence[int], recipe: Recipe) -> torch.nn.Module:
    """The teacher's ``layers``, in the shapes that ``recipe`` gives them.

    Of a narrower feed-forward half the first units stand there, until ``refit`` chooses. Raises
    ``InputError`` where layers are not built like BERT's and cannot be narrowed.
    """
    import torch

    student = load_encoder(teacher_dir, layers=layers)
    if recipe.feed_forward_kept == 1:
        return student
    if not _like_bert(layers_of(student)):
        raise InputError(
            "its layers have no feed-forward half like BERT's, which could be narrowed",
            where=str(teacher_dir / "config.json"),
            fix="take a student with fewer layers",
        )
    for layer in layers_of(student):
        units = torch.arange(feed_forward_of(recipe, layer.output.dense.in_features))
        _keep_units(layer, layer, units)
    student.config.intermediate_size = len(units)
    return student


def refit(
    teacher_dir: Path,
    student: torch.nn.Module,
    layers: Sequence[int],
    ids: Sequence[NDArray[np.int64]],
    recipe: Recipe,
    *,
    device: str,
    done: int,
    on_layer: Callable[[int], None],
) -> None:
    """Chooses the units of each layer and refits its end, so that it hands on what its target does.

    A layer ends in ``LayerNorm(a + W g + b)``: ``a`` enters its feed-forward half, ``g`` is the
    activation inside. Kept are the units that add most to the sum in the teacher, by ``mean(g_j^2)
    |w_j|^2``. With ``u`` the sum that the target layer normalises, ridge regression of ``u - a`` on
    ``g`` towards the teacher's own weights then gives ``W`` and ``b``; the LayerNorm is the
    target's. Layers are refitted in order, each on what the refitted ones before it give, so that
    it also makes good some of what they missed. Layers not built like BERT's are left alone.

    ``done`` layers were refitted before; ``on_layer`` is told after each how many are.
    """
    import torch

    teacher = load_encoder(teacher_dir).to(device)
    stack, full = layers_of(student), layers_of(teacher)
    if not _like_bert(full):
        return
    wanted = [full[t].output for t in targets(layers, len(full))]
    ids = sorted(ids, key=len)
    groups = [
        padded(ids[start : start + _TEXTS_AT_ONCE], device)
        for start in range(0, len(ids), _TEXTS_AT_ONCE)
    ]
    with torch.no_grad():
        powers = [torch.zeros(full[of].output.dense.in_features, device=device) for of in layers]
        sums = []
        for group in groups:
            with autocast(device, bf16=recipe.bf16):
                inside = [full[of].output.dense for of in layers]
                seen = inputs_of(teacher, [*(end.LayerNorm for end in wanted), *inside], *group)
            sums.append(seen[: len(wanted)])
            for power, g in zip(powers, seen[len(wanted) :], strict=True):
                power += (g**2).sum(dim=0)
        for i in range(done, len(stack)):
            layer, source = stack[i], full[layers[i]]
            width = layer.output.dense.in_features
            if width < source.output.dense.in_features:
                worth = powers[i] * (source.output.dense.weight**2).sum(dim=0)
                _keep_units(layer, source, torch.topk(worth, width).indices.sort().values)
            _refit_end(student, layer, groups, [u[i] for u in sums], recipe, device)
            layer.output.LayerNorm.load_state_dict(wanted[i].LayerNorm.state_dict())
            on_layer(i + 1)


def _refit_end(
    student: torch.nn.Module,
    layer: torch.nn.Module,
    groups: Sequence[tuple[torch.Tensor, torch.Tensor]],
    sums: Sequence[torch.Tensor],
    recipe: Recipe,
    device: str,
) -> None:
    """Ridge regression of ``u - a`` on ``g``, with ``u`` in ``sums``, a group of texts each."""
    import torch

    dense = layer.output.dense
    own = torch.cat([dense.weight.T, dense.bias[None]]).double()
    gram = torch.zeros(len(own), len(own), dtype=torch.float64, device=device)
    moment = torch.zeros_like(own)
    for group, u in zip(groups, sums, strict=True):
        with autocast(device, bf16=recipe.bf16):
            g, a = inputs_of(student, (dense, layer.intermediate), *group)
        x = torch.cat([g, torch.ones(len(g), 1, device=device)], dim=1)
        gram += (x.T @ x).double()
        moment += (x.T @ (u - a)).double()
    penalty = recipe.bridge_ridge * gram.diagonal()[:-1].mean()
    ridge = penalty * torch.eye(len(own), dtype=torch.float64, device=device)
    change = torch.linalg.solve(gram + ridge, moment - gram @ own)
    dense.weight.copy_((own + change)[:-1].T)
    dense.bias.copy_((own + change)[-1])


def _like_bert(stack: torch.nn.ModuleList) -> bool:
    return all(hasattr(layer, "intermediate") and hasattr(layer, "output") for layer in stack)


def _keep_units(layer: torch.nn.Module, source: torch.nn.Module, units: torch.Tensor) -> None:
    """Gives ``layer`` the ``units`` inside the feed-forward half of ``source``."""
    import torch

    entry, end = source.intermediate.dense, source.output.dense
    with torch.no_grad():
        narrow = {
            layer.intermediate: (entry.weight[units], entry.bias[units]),
            layer.output: (end.weight[:, units], end.bias),
        }
        for half, (weight, bias) in narrow.items():
            if half.dense.weight.shape != weight.shape:
                half.dense = torch.nn.utils.skip_init(
                    torch.nn.Linear, weight.shape[1], weight.shape[0]
                )
            half.dense.weight.copy_(weight)
            half.dense.bias.copy_(bias)


def inputs_of(
    model: torch.nn.Module,
    modules: Sequence[torch.nn.Module],
    tokens: torch.Tensor,
    mask: torch.Tensor,
) -> list[torch.Tensor]:
    """What enters each of ``modules`` as ``model`` runs: float32, a row per real token."""
    seen: dict[int, torch.Tensor] = {}

    def watch(place: int) -> Callable[[torch.nn.Module, tuple[torch.Tensor, ...]], None]:
        return lambda _, inputs: seen.update({place: inputs[0]})

    hooks = [m.register_forward_pre_hook(watch(i)) for i, m in enumerate(modules)]
    try:
        model(input_ids=tokens, attention_mask=mask)
    finally:
        for hook in hooks:
            hook.remove()
    return [seen[i][mask.bool()].float() for i in range(len(modules))]
