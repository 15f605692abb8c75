"""Trains a student: the loop, its checkpoints, and the closed-form start.

The effectful half of this package (with ``encoder.py``): it imports torch, reads the teacher's
directory and writes the student's; no ``__init__`` imports it. The teacher's outputs come
from whatever engine the caller has. For one seed, one machine and one thread count the
result is the same to the bit, interrupted or not.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headgate.distillation.curriculum import batches, learning_rate_share
from headgate.distillation.encoder import layers_of, load_encoder, max_tokens, pooled
from headgate.distillation.recipe import Recipe
from headgate.distillation.students import layers_for, targets
from headgate.errors import InputError
from headgate.objects import digest, digest_bytes

if TYPE_CHECKING:
    import torch

__all__ = ["STATE_FILE", "TrainingResult", "student_layers", "train_student"]

STATE_FILE = "student.safetensors"
_CHECKPOINT_FILE = "checkpoint.safetensors"

Progress = Callable[[int, int, float], None]
"""Called with (steps done, steps in all, loss of the last one)."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """A trained student, and what it took."""

    state: Path
    """safetensors, layers renumbered from 0: ``state`` of ``load_encoder``."""
    layers: tuple[int, ...]
    """The teacher's layers that the student started from."""
    steps: int
    device_s: float
    """Wall seconds of the closed-form start and of the steps, those before an interruption too."""
    cpu_s: float
    """Processor seconds of the same, over all threads."""
    losses: tuple[float, ...]
    """Of each step, on its own batch, before its update."""


def student_layers(teacher_dir: Path, recipe: Recipe) -> tuple[int, ...]:
    """The layers that ``recipe`` takes from the teacher in ``teacher_dir``."""
    try:
        config = json.loads((teacher_dir / "config.json").read_text(encoding="utf-8"))
        count = int(config["num_hidden_layers"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "num_hidden_layers cannot be read",
            where=str(teacher_dir / "config.json"),
            fix="give the directory of a transformers encoder",
        ) from error
    return layers_for(recipe.layers_kept, count)


def train_student(
    teacher_dir: Path,
    texts: Sequence[str],
    teacher_outputs: NDArray[np.floating],
    out_dir: Path,
    *,
    recipe: Recipe,
    seed: int,
    on_progress: Progress | None = None,
) -> TrainingResult:
    """Trains a student of the encoder in ``teacher_dir`` to answer ``texts`` as it does.

    ``teacher_outputs`` is (n, d) with rows of length 1, in the order of ``texts``. Writes
    ``out_dir``/student.safetensors, and a checkpoint beside it every
    ``recipe.checkpoint_every_steps``; called again with equal arguments it goes on from there, and
    ends as if it had never stopped. A checkpoint of other arguments, or a damaged one, is ignored.

    Raises ``InputError`` or ``MissingExtra``.
    """
    if len(texts) == 0 or len(texts) != len(teacher_outputs):
        raise InputError(
            f"{len(texts)} texts and {len(teacher_outputs)} teacher outputs",
            where="distillation",
            fix="compute one output for each training text",
        )
    broken = np.flatnonzero(~np.isfinite(teacher_outputs).all(axis=1))
    if len(broken):
        raise InputError(
            f"the teacher's output for text {broken[0] + 1} of {len(texts)} is NaN or infinite",
            where="distillation",
            reason="not_finite",
            fix="find what the teacher fails on in that text, or leave it out",
        )
    layers = student_layers(teacher_dir, recipe)
    student = load_encoder(teacher_dir, layers=layers)
    import torch

    out_dir.mkdir(parents=True, exist_ok=True)
    ids = _token_ids(teacher_dir, texts)
    answers = torch.from_numpy(np.ascontiguousarray(teacher_outputs, dtype=np.float32))
    plan = batches(
        [len(i) for i in ids],
        batch_size=recipe.batch_texts,
        count=recipe.steps,
        rng=np.random.default_rng(seed),
    )
    identity = digest(
        {
            "teacher": digest_bytes((teacher_dir / "model.safetensors").read_bytes()),
            "texts": digest(list(texts)),
            "outputs": digest_bytes(answers.numpy().tobytes()),
            "recipe": recipe,
            "seed": seed,
        }
    )
    trained = [p for layer in layers_of(student) for p in layer.parameters()]
    student.requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=recipe.peak_learning_rate,
        betas=(0.9, 0.98),
        fused=True,
    )

    with _deterministic(recipe.threads):
        checkpoint = _Checkpoint(out_dir / _CHECKPOINT_FILE, identity, trained, optimizer)
        losses, wall_before_s, cpu_before_s = checkpoint.restore()
        wall_from, cpu_from = time.perf_counter(), time.process_time()
        if not losses and recipe.bridge_texts:
            sample = np.random.default_rng(seed).permutation(len(ids))[: recipe.bridge_texts]
            _bridge(teacher_dir, student, layers, [ids[i] for i in sample], recipe)
        for step in range(len(losses), recipe.steps):
            share = learning_rate_share(step, recipe.steps, recipe.warmup_share)
            for group in optimizer.param_groups:
                group["lr"] = recipe.peak_learning_rate * share
            chosen = plan[step]
            tokens, mask = _padded([ids[i] for i in chosen])
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
                hidden = student(input_ids=tokens, attention_mask=mask).last_hidden_state
            loss = _loss(pooled(hidden.float(), mask), answers[chosen])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, recipe.gradient_norm_limit)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss.item())
            if (step + 1) % recipe.checkpoint_every_steps == 0 or step + 1 == recipe.steps:
                checkpoint.save(
                    losses,
                    wall_before_s + time.perf_counter() - wall_from,
                    cpu_before_s + time.process_time() - cpu_from,
                )
            if on_progress is not None:
                on_progress(step + 1, recipe.steps, losses[-1])
        wall_s = wall_before_s + time.perf_counter() - wall_from
        cpu_s = cpu_before_s + time.process_time() - cpu_from
    state = out_dir / STATE_FILE
    _write(state, {n: t for n, t in student.state_dict().items() if "pooler." not in n}, {})
    return TrainingResult(state, layers, len(losses), wall_s, cpu_s, tuple(losses))


def _loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """``losses.embedding_regression``, with gradients."""
    return ((student - teacher) ** 2).sum(dim=1).mean()


# --- the closed-form start --------------------------------------------------------------------


def _bridge(
    teacher_dir: Path,
    student: torch.nn.Module,
    layers: tuple[int, ...],
    ids: Sequence[NDArray[np.int64]],
    recipe: Recipe,
) -> None:
    """Refits the end of each student layer, so that it hands on what its target layer does.

    A layer ends in ``LayerNorm(a + W g + b)``: ``a`` enters its feed-forward half, ``g`` is the
    activation inside. With ``u`` the sum that the target layer normalises, ridge regression of
    ``u - a`` on ``g`` towards the teacher's own weights gives ``W`` and ``b``; the LayerNorm is
    the target's. Layers are refitted in order, each on what the refitted ones before it give, so
    that it also makes good some of what they missed. Layers not built like BERT's are left alone.
    """
    import torch

    teacher = load_encoder(teacher_dir)
    stack, full = layers_of(student), layers_of(teacher)
    if not all(hasattr(layer, "intermediate") and hasattr(layer, "output") for layer in full):
        return
    wanted = [full[t].output.LayerNorm for t in targets(layers, len(full))]
    ids = sorted(ids, key=len)
    groups = [_padded(ids[start : start + 64]) for start in range(0, len(ids), 64)]
    autocast = {"device_type": "cpu", "dtype": torch.bfloat16, "enabled": recipe.bf16}
    with torch.no_grad():
        with torch.autocast(**autocast):
            sums = [_inputs(teacher, wanted, *group) for group in groups]
        for i, layer in enumerate(stack):
            end = layer.output
            own = torch.cat([end.dense.weight.T, end.dense.bias[None]]).double()
            gram = torch.zeros(len(own), len(own), dtype=torch.float64)
            moment = torch.zeros_like(own)
            for group, u in zip(groups, sums, strict=True):
                with torch.autocast(**autocast):
                    g, a = _inputs(student, (end.dense, layer.intermediate), *group)
                x = torch.cat([g, torch.ones(len(g), 1)], dim=1)
                gram += (x.T @ x).double()
                moment += (x.T @ (u[i] - a)).double()
            penalty = recipe.bridge_ridge * gram.diagonal()[:-1].mean()
            change = torch.linalg.solve(
                gram + penalty * torch.eye(len(own), dtype=torch.float64), moment - gram @ own
            )
            end.dense.weight.copy_((own + change)[:-1].T)
            end.dense.bias.copy_((own + change)[-1])
            end.LayerNorm.load_state_dict(wanted[i].state_dict())


def _inputs(
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


# --- tokens, files, determinism -----------------------------------------------------------------


def _token_ids(model_dir: Path, texts: Sequence[str]) -> list[NDArray[np.int64]]:
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
    return [np.array(e.ids, dtype=np.int64) for e in tokenizer.encode_batch_fast(list(texts))]


def _padded(ids: Sequence[NDArray[np.int64]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, int64 (texts, longest); what the padding holds, the mask hides."""
    import torch

    shape = (len(ids), max(len(i) for i in ids))
    tokens, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for row, text in enumerate(ids):
        tokens[row, : len(text)], mask[row, : len(text)] = text, 1
    return torch.from_numpy(tokens), torch.from_numpy(mask)


@contextlib.contextmanager
def _deterministic(threads: int) -> Iterator[None]:
    """Deterministic kernels and a fixed thread count, for as long as the training runs."""
    import torch

    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


class _Checkpoint:
    """Trained parameters, the optimizer's moments and the losses so far, in one file."""

    def __init__(
        self, path: Path, identity: str, trained: Sequence[torch.nn.Parameter], optimizer: Any
    ) -> None:
        self._path, self._identity = path, identity
        self._trained, self._optimizer = trained, optimizer

    def save(self, losses: Sequence[float], wall_s: float, cpu_s: float) -> None:
        tensors: dict[str, torch.Tensor] = {}
        for i, parameter in enumerate(self._trained):
            tensors[f"parameter.{i}"] = parameter.detach()
            for name, moment in self._optimizer.state[parameter].items():
                tensors[f"{name}.{i}"] = moment
        progress = {"losses": list(losses), "wall_s": wall_s, "cpu_s": cpu_s}
        _write(self._path, tensors, {"identity": self._identity, "progress": json.dumps(progress)})

    def restore(self) -> tuple[list[float], float, float]:
        """Losses, wall and processor seconds so far; none of each where there is nothing to use."""
        import torch
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self._path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("identity") != self._identity:
                    return [], 0.0, 0.0
                progress = json.loads(metadata["progress"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, ValueError, KeyError):
            return [], 0.0, 0.0  # absent or cut short: begin again
        with torch.no_grad():
            for i, parameter in enumerate(self._trained):
                parameter.copy_(tensors[f"parameter.{i}"])
                self._optimizer.state[parameter] = {
                    name: tensors[f"{name}.{i}"] for name in ("step", "exp_avg", "exp_avg_sq")
                }
        return list(progress["losses"]), progress["wall_s"], progress["cpu_s"]


def _write(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Writes a safetensors file that is there whole or not at all."""
    from safetensors.torch import save

    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(save({n: t.contiguous() for n, t in tensors.items()}, metadata))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
