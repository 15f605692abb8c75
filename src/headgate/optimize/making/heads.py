"""Small students of a classifier or a predictor, and a classifier's control without a teacher."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.config import Item
from headgate.distillation import HEADS, HeadRecipe, as_probabilities, check_classes
from headgate.engines import codec_for
from headgate.engines.check import check_onnx
from headgate.engines.signature import model_inputs
from headgate.errors import InputError
from headgate.objects import Build, canonical, digest, parse
from headgate.optimize.making.maker import Maker
from headgate.optimize.making.students import is_answered, outputs_of
from headgate.optimize.measure import build_inputs
from headgate.optimize.recorder import Call, Output, Recorded, transformation
from headgate.optimize.served import as_items, as_json
from headgate.runtime.servable import build_from_json

__all__ = ["answers_of", "doubting", "labels_of", "trained_head", "unanswered", "untaught_head"]

_OUTPUTS, _LABELS = "outputs.npy", "labels"
_MODEL, _DOUBTING = "model.onnx", "doubting.onnx"


@transformation("distill.head")
def head(call: Call) -> Mapping[str, Output]:
    """A small student, of the teacher's answers or, as a control, of the labels alone.

    Both take equal steps on equal items. A predictor's comes twice, once with a column that says
    how far off it may be. Raises ``InputError`` where there is nothing to tell apart.
    """
    from headgate.engines.export_head import export_head, export_value_head

    teacher = build_from_json(call.c["teacher"])
    outputs = np.load(call.path(_OUTPUTS), allow_pickle=False)
    model, doubting_model = call.work_dir / _MODEL, call.work_dir / _DOUBTING
    if teacher.task == "predict":
        from headgate.distillation.heads import train_value_head

        dtype = _type_of(call.path(_MODEL))
        values = train_value_head(targets=outputs.astype(np.float64), **_lesson(call, teacher))
        inputs = model_inputs(teacher, call.store.path_of)
        for out, doubts in ((model, False), (doubting_model, True)):
            export_value_head(values, inputs, out, dtype=dtype, doubts=doubts)
        said = "onnx, values, and the logarithm of how far off they may be"
        return {
            _MODEL: Output(model, "model", "onnx, values as the teacher's"),
            _DOUBTING: Output(doubting_model, "model", said),
            "training": _training(values.head.losses),
        }
    from headgate.distillation.heads import train_head

    scores, already = as_probabilities(outputs)
    check_classes(scores.argmax(axis=1), "the teacher's answers to data.train")
    made = train_head(targets=_targets(call, scores), **_lesson(call, teacher))
    export_head(made, model_inputs(teacher, call.store.path_of), model, probabilities=already)
    return {
        _MODEL: Output(model, "model", "onnx, scores as the teacher's"),
        "training": _training(made.losses),
    }


def _lesson(call: Call, teacher: Build) -> dict[str, Any]:
    """What every student is trained with, but for its targets."""
    from headgate.engines.export_head import token_table

    items = as_items(parse(call.store.read(call.u["texts"])))
    codec = codec_for(teacher, call.store.path_of)
    table = token_table(call.path(_MODEL)) if teacher.tokenizer is not None else None
    vocabulary = None
    if teacher.tokenizer is not None:
        vocabulary = len(table) if table is not None else _tokens_in(call)
    return {
        "items": [encoded.content for encoded in codec.encode(items, truncate=True)],
        "vocabulary": vocabulary,
        "table": table,
        "recipe": HeadRecipe(**call.c["recipe"]),
        "seed": call.seed,
        "on_progress": lambda step, steps, loss: call.progress(
            step / steps, f"step {step} of {steps}, loss {loss:.4f}"
        ),
    }


def _type_of(path: Path) -> str:
    """Of a predictor's values. Raises ``InputError`` where they are no floats."""
    answer = check_onnx(path).outputs[0]
    if np.dtype(answer.dtype).kind != "f":
        raise InputError(
            f"its answers are {answer.dtype}, no floats",
            where="the teacher",
            reason="no_values",
            fix="export the model so that its first output is of floats",
        )
    return answer.dtype


def _training(losses: Sequence[float]) -> Output:
    return Output(canonical({"losses": losses}), "samples", "json {losses}")


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
    """The student ``name`` of the model's answers, as an fp32 build.

    Raises ``MissingExtra``, ``EngineError`` or ``InputError``.
    """
    return _made(maker, name, labels=None)


def doubting(maker: Maker, name: str) -> Build:
    """``trained_head`` as it stands before its teacher: its outputs say how sure it is. A
    classifier's do anyway."""
    done = _trained(maker, name, labels=None)
    return _build(maker, name, done.outputs.get(_DOUBTING, done.outputs[_MODEL]))


def untaught_head(maker: Maker, name: str) -> Build:
    """The control of ``trained_head``: as many steps on the same items, from their labels alone.

    Raises as that does, and ``KeyError`` where ``data.train`` has no labels.
    """
    return _made(maker, name, labels=maker.inputs.labels["train"])


def _made(maker: Maker, name: str, *, labels: Sequence[float] | None) -> Build:
    done = _trained(maker, name, labels=labels)
    detail = name if labels is None else f"{name}_control"
    return _build(maker, detail, done.outputs[_MODEL])


def _build(maker: Maker, name: str, model: str) -> Build:
    files = {_MODEL: model}
    source = maker.source.build
    return replace(
        source, name=name, engine="onnxruntime", precision="fp32", files=files, options={}
    )


def _trained(maker: Maker, name: str, *, labels: Sequence[float] | None) -> Recorded:
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
    return maker.recorder.run(head, u=u, c={"teacher": source, "recipe": recipe}, detail=detail)


def answers_of(maker: Maker, build: Build, role: str) -> str:
    """The artifact version of ``build``'s answers to all of ``data.ROLE``, npy (items, outputs)."""
    items = maker.json_artifact(
        f"{role}/all", as_json(getattr(maker.inputs, role)), (maker.inputs.versions[role],)
    )
    return outputs_of(maker, build, items, detail=build.name)


def unanswered(maker: Maker, student: str, *, cascade: bool) -> Mapping[str, int]:
    """Role -> items that the model has yet to answer before ``student`` is made, alone or in a
    ``cascade``; nothing of a role whose answers are on record."""
    train = maker.inputs.train
    asked = {"train": [train[i] for i in _chosen(train, HEADS[student].max_items)]}
    if cascade:
        asked["calibrate"] = list(maker.inputs.calibrate)
    return {
        role: len(items)
        for role, items in asked.items()
        if not is_answered(maker, maker.source.build, digest(as_json(items)))
    }


def labels_of(maker: Maker, role: str, labels: Sequence[float]) -> str:
    """``labels``, some of ``data.ROLE``'s, as an artifact."""
    lineage = (maker.inputs.versions[role],)
    return maker.json_artifact(f"{role}/labels", [int(label) for label in labels], lineage)


def _chosen(items: Sequence[Item], most: int) -> list[int]:
    """Places of at most ``most`` of ``items``, chosen by the hash of each, so that the choice is
    stable; in order."""
    hashes = [hashlib.sha256(canonical(as_json([item]))).digest() for item in items]
    return sorted(sorted(range(len(items)), key=lambda i: hashes[i])[:most])
