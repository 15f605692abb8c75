"""Small students of a classifier, and their control without a teacher."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from headgate.config import Item
from headgate.distillation import HEADS, HeadRecipe, as_probabilities, check_classes
from headgate.engines import codec_for
from headgate.engines.signature import model_inputs
from headgate.errors import InputError
from headgate.objects import Build, canonical, parse
from headgate.optimize.making.maker import Maker
from headgate.optimize.making.students import outputs_of
from headgate.optimize.measure import build_inputs
from headgate.optimize.recorder import Call, Output, transformation
from headgate.optimize.served import as_items, as_json
from headgate.runtime.servable import build_from_json

__all__ = ["answers_of", "labels_of", "trained_head", "untaught_head"]

_OUTPUTS, _LABELS = "outputs.npy", "labels"


@transformation("distill.head")
def head(call: Call) -> Mapping[str, Output]:
    """A small student, of the teacher's answers or, as a control, of the labels alone.

    Both take equal steps on equal items. Raises ``InputError`` where there is nothing to tell
    apart.
    """
    from headgate.distillation.heads import train_head
    from headgate.engines.export_head import export_head, token_table

    teacher, recipe = build_from_json(call.c["teacher"]), HeadRecipe(**call.c["recipe"])
    items = as_items(parse(call.store.read(call.u["texts"])))
    answers, already = as_probabilities(np.load(call.path(_OUTPUTS), allow_pickle=False))
    check_classes(answers.argmax(axis=1), "the teacher's answers to data.train")
    targets = _targets(call, answers)
    codec = codec_for(teacher, call.store.path_of)
    table = token_table(call.path("model.onnx")) if teacher.tokenizer is not None else None
    vocabulary = None
    if teacher.tokenizer is not None:
        vocabulary = len(table) if table is not None else _tokens_in(call)
    made = train_head(
        [encoded.content for encoded in codec.encode(items, truncate=True)],
        targets,
        vocabulary=vocabulary,
        table=table,
        recipe=recipe,
        seed=call.seed,
        on_progress=lambda step, steps, loss: call.progress(
            step / steps, f"step {step} of {steps}, loss {loss:.4f}"
        ),
    )
    out = call.work_dir / "model.onnx"
    export_head(made, model_inputs(teacher, call.store.path_of), out, probabilities=already)
    return {
        "model.onnx": Output(out, "model", "onnx, scores as the teacher's"),
        "training": Output(canonical({"losses": made.losses}), "samples", "json {losses}"),
    }


def _targets(call: Call, answers: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is learnt, (items, classes): the teacher's answers; in a control the labels instead."""
    if _LABELS not in call.u:
        return answers
    labels = np.array(parse(call.store.read(call.u[_LABELS])), dtype=np.int64)
    check_classes(labels, "the labels of data.train")
    classes = answers.shape[1]
    if labels.min() < 0 or labels.max() >= classes:
        raise InputError(
            f"labels go from {labels.min()} to {labels.max()}; the model has classes 0 to "
            f"{classes - 1}",
            where="data.train",
            reason="no_such_class",
            fix="write the index of the class in the model's scores",
        )
    targets: NDArray[np.float64] = np.eye(classes)[labels]
    return targets


def _tokens_in(call: Call) -> int:
    """The largest token id that there is, and one."""
    from tokenizers import Tokenizer

    read = Tokenizer.from_str(call.path("tokenizer.json").read_text(encoding="utf-8"))
    return 1 + max(read.get_vocab(with_added_tokens=True).values())


def trained_head(maker: Maker, name: str) -> Build:
    """The student ``name`` of a classifier's answers, as an fp32 build.

    Raises ``MissingExtra``, ``EngineError`` or ``InputError``.
    """
    return _made(maker, name, labels=None)


def untaught_head(maker: Maker, name: str) -> Build:
    """The control of ``trained_head``: as many steps on the same items, from their labels alone.

    Raises as that does, and ``KeyError`` where ``data.train`` has no labels.
    """
    return _made(maker, name, labels=maker.inputs.labels["train"])


def _made(maker: Maker, name: str, *, labels: Sequence[float] | None) -> Build:
    source, recipe = maker.source.build, HEADS[name]
    chosen = _chosen(maker.inputs.train, recipe.max_items)
    items = [maker.inputs.train[i] for i in chosen]
    texts = maker.json_artifact("train/texts", as_json(items), (maker.inputs.versions["train"],))
    u = build_inputs(
        source, texts=texts, **{_OUTPUTS: outputs_of(maker, source, texts, detail=source.name)}
    )
    detail = name
    if labels is not None:
        u[_LABELS] = labels_of(maker, "train", [labels[i] for i in chosen])
        detail = f"{name}_control"
    done = maker.recorder.run(head, u=u, c={"teacher": source, "recipe": recipe}, detail=detail)
    files = {"model.onnx": done.outputs["model.onnx"]}
    return replace(
        source, name=detail, engine="onnxruntime", precision="fp32", files=files, options={}
    )


def answers_of(maker: Maker, build: Build, role: str) -> str:
    """The artifact version of ``build``'s answers to all of ``data.ROLE``, npy (items, classes)."""
    items = maker.json_artifact(
        f"{role}/all", as_json(getattr(maker.inputs, role)), (maker.inputs.versions[role],)
    )
    return outputs_of(maker, build, items, detail=build.name)


def labels_of(maker: Maker, role: str, labels: Sequence[float]) -> str:
    """``labels``, some of ``data.ROLE``'s, as an artifact."""
    lineage = (maker.inputs.versions[role],)
    return maker.json_artifact(f"{role}/labels", [int(label) for label in labels], lineage)


def _chosen(items: Sequence[Item], most: int) -> list[int]:
    """Places of at most ``most`` of ``items``, chosen by the hash of each, so that the choice is
    stable; in order."""
    hashes = [hashlib.sha256(canonical(as_json([item]))).digest() for item in items]
    return sorted(sorted(range(len(items)), key=lambda i: hashes[i])[:most])
