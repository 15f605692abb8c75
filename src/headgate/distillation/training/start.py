"""Where a student with layers starts: the teacher's layers, cut, narrowed and refitted.

Of the effectful half of this package: it imports torch and reads the teacher.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headgate.distillation.encoder import autocast, layers_of, load_encoder, padded
from headgate.distillation.recipe import Recipe
from headgate.distillation.students import feed_forward_of, targets
from headgate.errors import InputError

if TYPE_CHECKING:
    import torch

    Texts = tuple[torch.Tensor, torch.Tensor]
    """Token ids and mask."""

__all__ = ["cut", "inputs_of", "refit", "refit_parts"]

_MOST_AT_ONCE = 64
_LEAST_GROUPS = 4
"""Of few texts: padded to the longest of all they take four times as long."""


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


def refit_parts(recipe: Recipe, layers: int, texts: int) -> int:
    """In how many parts ``refit`` does its work on so many ``texts``: groups of them, once for each
    layer, and once before where units are chosen."""
    texts = min(recipe.bridge_texts, texts)
    return len(_groups(texts)) * (layers + (recipe.feed_forward_kept < 1))


def refit(
    teacher_dir: Path,
    student: torch.nn.Module,
    layers: Sequence[int],
    ids: Sequence[NDArray[np.int64]],
    recipe: Recipe,
    *,
    device: str,
    sums: MutableMapping[str, torch.Tensor],
    done: int,
    on_part: Callable[[int], None],
) -> None:
    """Chooses the units of each layer and refits its end, so that it hands on what its target does.

    A layer ends in ``LayerNorm(a + W g + b)``: ``a`` enters its feed-forward half, ``g`` is the
    activation inside. Kept are the units that add most to the sum in the teacher, by ``mean(g_j^2)
    |w_j|^2``. With ``u`` the sum that the target layer normalises, ridge regression of ``u - a`` on
    ``g`` towards the teacher's own weights then gives ``W`` and ``b``; the LayerNorm is the
    target's. Layers are refitted in order, each on what the refitted ones before it give, so that
    it also makes good some of what they missed. Layers not built like BERT's are left alone.

    ``done`` parts were done before, and ``sums`` is what they left; ``on_part`` is told after each
    how many are.
    """
    import torch

    teacher = load_encoder(teacher_dir).to(device)
    if not _like_bert(layers_of(teacher)):
        return
    fit = _Fit(teacher, student, layers, recipe, device, sums)
    ids = sorted(ids, key=len)
    groups = _groups(len(ids))
    choosing = int(recipe.feed_forward_kept < 1)
    for part in range(done, len(groups) * (choosing + len(layers))):
        turn, group = divmod(part, len(groups))
        some = padded(ids[groups[group]], device)
        last = group + 1 == len(groups)
        with torch.no_grad():
            if turn < choosing:
                fit.add_powers(some)
                if last:
                    fit.choose()
            else:
                fit.add_moments(turn - choosing, some)
                if last:
                    fit.solve(turn - choosing)
        if last:
            sums.clear()
        on_part(part + 1)


def _groups(texts: int) -> Sequence[slice]:
    """So many texts in order of length, in groups that are padded to one length each."""
    size = max(1, min(_MOST_AT_ONCE, -(-texts // _LEAST_GROUPS)))
    return [slice(begin, begin + size) for begin in range(0, texts, size)]


@dataclass(frozen=True)
class _Fit:
    """The sums that choose units, and those of the regression."""

    teacher: torch.nn.Module
    student: torch.nn.Module
    layers: Sequence[int]
    recipe: Recipe
    device: str
    sums: MutableMapping[str, torch.Tensor]

    def add_powers(self, texts: Texts) -> None:
        full = layers_of(self.teacher)
        inside = [full[of].output.dense for of in self.layers]
        for i, g in enumerate(self._inputs_of(self.teacher, inside, texts)):
            self._add(f"power.{i}", (g**2).sum(dim=0))

    def choose(self) -> None:
        import torch

        full = layers_of(self.teacher)
        for i, (layer, of) in enumerate(zip(layers_of(self.student), self.layers, strict=True)):
            worth = self.sums[f"power.{i}"] * (full[of].output.dense.weight ** 2).sum(dim=0)
            units = torch.topk(worth, layer.output.dense.in_features).indices.sort().values
            _keep_units(layer, full[of], units)

    def add_moments(self, i: int, texts: Texts) -> None:
        """Of ``x``, which is ``g`` and 1: ``x'x`` and ``x'(u - a)``."""
        import torch

        layer = layers_of(self.student)[i]
        (u,) = self._inputs_of(self.teacher, [self._wanted(i).LayerNorm], texts)
        g, a = self._inputs_of(self.student, [layer.output.dense, layer.intermediate], texts)
        x = torch.cat([g, torch.ones(len(g), 1, device=self.device)], dim=1)
        self._add("gram", (x.T @ x).double())
        self._add("moment", (x.T @ (u - a)).double())

    def solve(self, i: int) -> None:
        import torch

        end = layers_of(self.student)[i].output
        own = torch.cat([end.dense.weight.T, end.dense.bias[None]]).double()
        gram, moment = self.sums["gram"], self.sums["moment"]
        penalty = self.recipe.bridge_ridge * gram.diagonal()[:-1].mean()
        ridge = penalty * torch.eye(len(own), dtype=torch.float64, device=self.device)
        change = torch.linalg.solve(gram + ridge, moment - gram @ own)
        end.dense.weight.copy_((own + change)[:-1].T)
        end.dense.bias.copy_((own + change)[-1])
        end.LayerNorm.load_state_dict(self._wanted(i).LayerNorm.state_dict())

    def _wanted(self, i: int) -> Any:
        """The end of the layer that layer ``i`` of the student stands for."""
        full = layers_of(self.teacher)
        return full[targets(self.layers, len(full))[i]].output

    def _inputs_of(
        self, model: torch.nn.Module, modules: Sequence[torch.nn.Module], texts: Texts
    ) -> list[torch.Tensor]:
        with autocast(self.device, bf16=self.recipe.bf16):
            return inputs_of(model, modules, *texts)

    def _add(self, name: str, value: torch.Tensor) -> None:
        self.sums[name] = self.sums[name] + value if name in self.sums else value


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
    """What enters each of ``modules`` as ``model`` runs: float32, a row per real token.

    It runs only as far as the last of them.
    """
    seen: dict[int, torch.Tensor] = {}

    def watch(place: int) -> Callable[[torch.nn.Module, tuple[torch.Tensor, ...]], None]:
        def look(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            seen[place] = inputs[0]
            if len(seen) == len(modules):
                raise _AllSeen

        return look

    hooks = [m.register_forward_pre_hook(watch(i)) for i, m in enumerate(modules)]
    try:
        with contextlib.suppress(_AllSeen):
            model(input_ids=tokens, attention_mask=mask)
    finally:
        for hook in hooks:
            hook.remove()
    return [seen[i][mask.bool()].float() for i in range(len(modules))]


class _AllSeen(Exception):
    """Ends a model's run."""
