"""Trains the small students of ``classifiers`` and ``values``: their layers, and the vectors of
their tokens.

Effectful like ``train.py``: it imports torch, and no ``__init__`` imports it. Some thousand steps
of a small batch take seconds, so there are no checkpoints: who is interrupted begins again. One
thread throughout, so the result is the same to the bit for one seed on any number of cores.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headgate.distillation.classifiers import HeadRecipe, softened
from headgate.distillation.curriculum import batches, learning_rate_share
from headgate.distillation.values import Doubt, Standard, doubt_of

if TYPE_CHECKING:
    import torch

    Layers = Sequence[tuple[torch.Tensor, torch.Tensor]]

__all__ = ["Head", "ValueHead", "train_head", "train_value_head"]

Floats = NDArray[np.float32]
Progress = Callable[[int, int, float], None]
"""Called with (steps done, steps in all, loss of the last one)."""
_TELL_EVERY_STEPS = 50
_DOUBTING = 4
"""One item in so many is left to learn from how far off the student is on the unseen."""


@dataclass(frozen=True, slots=True)
class Head:
    """A trained student: ``logits = L_n(relu(... L_1(x)))``, ``x`` the scaled numbers of an item or
    the mean of its tokens' vectors."""

    layers: tuple[tuple[Floats, Floats], ...]
    """(inputs, outputs) and (outputs,) of each."""
    mean: Floats | None
    """Subtracted from an item's numbers, and ``scale`` divides them; None of texts."""
    scale: Floats | None
    table: Floats | None
    """(vocabulary, dimensions) of texts."""
    losses: tuple[float, ...]
    """Of each step, on its own batch, before its update."""


@dataclass(frozen=True, slots=True)
class ValueHead:
    """A trained student of values: of what its ``head`` says the ``standard`` makes the teacher's
    units, in the teacher's type. float32 would round a value of 1e9 to a multiple of 64."""

    head: Head
    standard: Standard
    doubt: Doubt
    """Of the same features that the head's layers take."""


def train_head(
    items: Sequence[NDArray[np.generic]],
    targets: NDArray[np.float64],
    *,
    vocabulary: int | None,
    table: Floats | None,
    recipe: HeadRecipe,
    seed: int,
    on_progress: Progress = lambda *_: None,
) -> Head:
    """A student of ``targets`` (items, classes), probabilities: a teacher's, or labels as 0 and 1.

    ``items`` are token ids where there is a ``vocabulary``, so large, and else numbers of one
    shape. ``table`` (vocabulary, dimensions) are vectors to begin with, such as the teacher's own;
    None begins with random ones. Soft targets with a temperature (``losses.soft_target``), AdamW,
    a one-cycle rate.
    """
    import torch

    rng = np.random.default_rng(seed)
    with _one_thread():
        model = _features_of(items, vocabulary, table, recipe, rng)
        wanted = torch.from_numpy(softened(targets, recipe.temperature)).float()

        def divergence(logits: torch.Tensor, batch: NDArray[np.intp]) -> torch.Tensor:
            soft = torch.log_softmax(logits / recipe.temperature, dim=1)
            away = torch.nn.functional.kl_div(soft, wanted[batch], reduction="batchmean")
            return recipe.temperature**2 * away

        every = np.arange(len(items))
        layers, losses = _fit(
            model, targets.shape[1], divergence, every, recipe, seed, rng, on_progress
        )
        return _head(model, layers, losses)


def train_value_head(
    items: Sequence[NDArray[np.generic]],
    targets: NDArray[np.float64],
    *,
    vocabulary: int | None,
    table: Floats | None,
    recipe: HeadRecipe,
    seed: int,
    on_progress: Progress = lambda *_: None,
) -> ValueHead:
    """A student of ``targets`` (items, values), a predictor's, and of how far off it is.

    As ``train_head``, but for the loss, squared errors of the scaled values. A quarter of the
    items, drawn by ``seed``, teach no values: on them it is seen how far off those are. Raises as
    ``Standard.of``.
    """
    import torch

    standard, rng = Standard.of(targets), np.random.default_rng(seed)
    scaled = standard.scaled(targets)
    order = rng.permutation(len(items))
    unseen, learnt = np.split(order, [max(1, len(items) // _DOUBTING)])
    with _one_thread():
        model = _features_of(items, vocabulary, table, recipe, rng)
        wanted = torch.from_numpy(scaled).float()

        def distance(values: torch.Tensor, batch: NDArray[np.intp]) -> torch.Tensor:
            return torch.nn.functional.mse_loss(values, wanted[batch])

        layers, losses = _fit(
            model, targets.shape[1], distance, learnt, recipe, seed, rng, on_progress
        )
        with torch.no_grad():
            features = model.features(unseen)
            said = _through(layers, features).double().numpy()
        doubt = doubt_of(features.numpy(), said, scaled[unseen])
        return ValueHead(_head(model, layers, losses), standard, doubt)


def _features_of(
    items: Sequence[NDArray[np.generic]],
    vocabulary: int | None,
    table: Floats | None,
    recipe: HeadRecipe,
    rng: np.random.Generator,
) -> _Tokens | _Numbers:
    if vocabulary is None:
        return _Numbers(items)
    return _Tokens(items, vocabulary, table, recipe.dimensions, rng)


def _fit(
    model: _Tokens | _Numbers,
    outputs: int,
    loss_of: Callable[[torch.Tensor, NDArray[np.intp]], torch.Tensor],
    learnt: NDArray[np.intp],
    recipe: HeadRecipe,
    seed: int,
    rng: np.random.Generator,
    on_progress: Progress,
) -> tuple[Layers, list[float]]:
    """The layers that make ``loss_of(outputs, batch)`` small on the items ``learnt``, and the loss
    of each step."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    widths = [model.width, *([recipe.hidden] if recipe.hidden else []), outputs]
    layers = [_layer(before, after, generator) for before, after in itertools.pairwise(widths)]
    weights = [w for w, _ in layers]
    rest = [*(b for _, b in layers), *model.trained]
    optimizer = torch.optim.AdamW(
        [
            {"params": weights, "weight_decay": recipe.weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ],
        lr=recipe.peak_learning_rate,
    )
    lengths = [model.lengths[i] for i in learnt]
    losses: list[float] = []
    for step, places in enumerate(
        batches(lengths, batch_size=recipe.batch_items, count=recipe.steps, rng=rng)
    ):
        batch = learnt[places]
        for group in optimizer.param_groups:
            share = learning_rate_share(step, recipe.steps, recipe.warmup_share)
            group["lr"] = recipe.peak_learning_rate * share
        loss = loss_of(_through(layers, model.features(batch)), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % _TELL_EVERY_STEPS == 0:
            on_progress(step + 1, recipe.steps, losses[-1])
    return layers, losses


def _head(model: _Tokens | _Numbers, layers: Layers, losses: Sequence[float]) -> Head:
    return Head(
        tuple((w.detach().numpy(), b.detach().numpy()) for w, b in layers),
        model.mean,
        model.scale,
        model.table(),
        tuple(losses),
    )


class _Numbers:
    """Items of one shape, each number scaled to mean 0 and deviation 1 over all of them."""

    trained: tuple[torch.Tensor, ...] = ()

    def __init__(self, items: Sequence[NDArray[np.generic]]) -> None:
        import torch

        rows = np.stack([np.asarray(item, dtype=np.float32).ravel() for item in items])
        self.mean: Floats | None = rows.mean(axis=0)
        spread = rows.std(axis=0)
        self.scale: Floats | None = np.where(spread > 0, spread, 1).astype(np.float32)
        self._rows = torch.from_numpy((rows - self.mean) / self.scale)
        self.width, self.lengths = rows.shape[1], [1] * len(rows)

    def features(self, batch: NDArray[np.intp]) -> torch.Tensor:
        return self._rows[batch]

    def table(self) -> Floats | None:
        return None


class _Tokens:
    """Texts as the mean of their tokens' vectors.

    Only vectors of tokens that occur are trained; the others stay as they began, which is better
    than nothing where they are the teacher's.
    """

    mean: Floats | None = None
    scale: Floats | None = None

    def __init__(
        self,
        items: Sequence[NDArray[np.generic]],
        vocabulary: int,
        table: Floats | None,
        dimensions: int,
        rng: np.random.Generator,
    ) -> None:
        import torch

        if table is None:
            table = rng.normal(size=(vocabulary, dimensions)).astype(np.float32)
        tokens = np.concatenate([np.asarray(item, dtype=np.int64) for item in items])
        self._seen, places = np.unique(tokens, return_inverse=True)
        self.lengths = [len(item) for item in items]
        self._texts = np.split(places, np.cumsum(self.lengths)[:-1])
        means = np.stack([table[self._seen[text]].mean(axis=0) for text in self._texts])
        spread = np.maximum(means.std(axis=0), 1e-6)
        self._whole: Floats = ((table - means.mean(axis=0)) / spread).astype(np.float32)
        self._trained = torch.from_numpy(self._whole[self._seen]).requires_grad_()
        self.trained = (self._trained,)
        self.width = table.shape[1]

    def features(self, batch: NDArray[np.intp]) -> torch.Tensor:
        import torch

        texts = [self._texts[i] for i in batch]
        starts = np.cumsum([0, *(len(text) for text in texts[:-1])])
        return torch.nn.functional.embedding_bag(
            torch.from_numpy(np.concatenate(texts)),
            self._trained,
            torch.from_numpy(starts),
            mode="mean",
        )

    def table(self) -> Floats | None:
        self._whole[self._seen] = self._trained.detach().numpy()
        return self._whole


def _layer(
    before: int, after: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (before, after) and a bias, at He's scale (2015)."""
    import torch

    weight = torch.randn(before, after, generator=generator) * (2 / before) ** 0.5
    return weight.requires_grad_(), torch.zeros(after, requires_grad=True)


def _through(layers: Sequence[tuple[torch.Tensor, torch.Tensor]], x: torch.Tensor) -> torch.Tensor:
    for weight, bias in layers[:-1]:
        x = (x @ weight + bias).relu()
    weight, bias = layers[-1]
    return x @ weight + bias


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
