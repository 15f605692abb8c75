"""Bad input: one message that names the file, the key and what to do, an exit code, and a store
that is byte for byte what it was."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

from headgate.cli.app import run
from headgate.ledger import Store
from headgate.objects import Artifact
from tests.models import tiny_classifier

from .endpoints import change, classifier, content_of, embedder, write_rows

HERE = Path()
YAML = Path("headgate.yaml")
STORE = Path(".headgate")
NUMBERS = [0.5, 0.5, 0.5, 0.5]


@dataclass(frozen=True)
class Case:
    """An endpoint that is spoilt in one way, and what is said about it."""

    spoil: Callable[[], object]
    where: str
    what: str
    fix: str


def truncated() -> None:
    classifier(HERE)
    model = Path("model.onnx")
    model.write_bytes(model.read_bytes()[:-20])


def not_a_number() -> None:
    classifier(HERE)
    model = onnx.load("model.onnx")
    weight = onnx.numpy_helper.to_array(model.graph.initializer[0]).copy()
    weight[0, 0] = np.nan
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, "weight"))
    onnx.save(model, "model.onnx")


def too_long() -> None:
    embedder(HERE)
    rows = [{"id": f"t{k}", "text": "abcdefgh" * (k + 1)} for k in range(3)]
    write_rows(Path("evaluate.jsonl"), rows)


def too_long_to_be_asked() -> None:
    change(embedder(HERE), "{rate_per_s: 50, requests: 60}", "{log: log.jsonl}")
    write_rows(Path("log.jsonl"), ({"at_s": k, "text": "ab" * 4**k} for k in range(3)))


def empty_split() -> None:
    classifier(HERE)
    Path("evaluate.jsonl").write_text("\n\n", encoding="utf-8")


def label_to_nowhere() -> None:
    embedder(HERE)
    rows = [
        {"id": "p1", "passage": "open files"},
        {"id": "q1", "query": "open", "relevant": ["p2"]},
    ]
    write_rows(Path("evaluate.jsonl"), rows)


def overlap() -> None:
    change(embedder(HERE), "evaluate.jsonl}", "evaluate.jsonl, holdout: holdout.jsonl}")
    rows = [{"id": "a", "text": "something else"}, {"id": "b", "text": "  TEXT 3 "}]
    write_rows(Path("holdout.jsonl"), rows)


def other_shape() -> None:
    classifier(HERE)
    write_rows(Path("evaluate.jsonl"), ({"id": f"i{k}", "input": NUMBERS[:3]} for k in range(3)))


def label_of_no_class() -> None:
    classifier(HERE)
    rows = [{"id": f"i{k}", "input": NUMBERS, "label": k} for k in range(5)]
    write_rows(Path("evaluate.jsonl"), rows)


def labels_of_one_class() -> None:
    classifier(HERE)
    rng = np.random.default_rng(0)
    rows = ({"id": f"i{k}", "input": rng.normal(size=4).tolist(), "label": 1} for k in range(9))
    write_rows(Path("evaluate.jsonl"), rows)


def nan_to_calibrate_with() -> None:
    change(classifier(HERE), "evaluate.jsonl}", "evaluate.jsonl, calibrate: calibrate.jsonl}")
    write_rows(Path("calibrate.jsonl"), [{"id": "a", "input": [0.5, float("nan"), 1.0, 2.0]}])


def text_for_numbers() -> None:
    classifier(HERE)
    write_rows(Path("evaluate.jsonl"), [{"id": "i0", "input": "hello"}])


def calibrated_in_another_shape() -> None:
    change(classifier(HERE), "evaluate.jsonl}", "evaluate.jsonl, calibrate: calibrate.jsonl}")
    rows = [{"id": "a", "input": NUMBERS}, {"id": "b", "input": NUMBERS}]
    write_rows(Path("calibrate.jsonl"), rows)
    tiny_classifier(Path("model.onnx"), features=3)
    write_rows(Path("evaluate.jsonl"), ({"id": f"i{k}", "input": NUMBERS[:3]} for k in range(3)))


def no_rate() -> None:
    change(classifier(HERE), "{rate_per_s: 50, requests: 60}", "{log: log.jsonl}")
    write_rows(Path("log.jsonl"), ({"at_s": 5, "input": NUMBERS} for _ in range(3)))


def negative_price() -> None:
    change(classifier(HERE), "{device_second: 0.00002}", "{device_second: -0.1}")


def unknown_operator() -> None:
    classifier(HERE)
    model = onnx.load("model.onnx")
    model.graph.node[0].op_type, model.graph.node[0].domain = "Squash", "their.own"
    model.opset_import.append(onnx.helper.make_opsetid("their.own", 1))
    onnx.save(model, "model.onnx")


def encoder_of_gigabytes() -> None:
    """A header that promises 3.2 GB, and as many bytes that take no place on the disk."""
    yaml = embedder(HERE)
    change(yaml, "{onnx: model.onnx, tokenizer: tokenizer.json, max_tokens: 12}", "{path: enc}")
    Path("enc").mkdir()
    Path("tokenizer.json").rename("enc/tokenizer.json")
    Path("enc/config.json").write_text('{"max_position_embeddings": 64}', encoding="utf-8")
    weights = {"dtype": "F32", "shape": [40_000, 20_000], "data_offsets": [0, 3_200_000_000]}
    header = json.dumps({"embeddings.word_embeddings.weight": weights}).encode()
    with Path("enc/model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 3_200_000_000)


def no_tokenizer() -> None:
    embedder(HERE)
    Path("tokenizer.json").write_text("{}", encoding="utf-8")


def no_limit() -> None:
    change(embedder(HERE), ", max_tokens: 12", "")


def too_few_names() -> None:
    change(classifier(HERE), "{onnx: model.onnx}", "{onnx: model.onnx, labels: [cat, dog]}")


def own(code: str, key: str) -> Callable[[], None]:
    def spoil() -> None:
        yaml = classifier(HERE)
        yaml.write_text(yaml.read_text(encoding="utf-8") + key + "\n", encoding="utf-8")
        Path("own.py").write_text(code, encoding="utf-8")

    return spoil


def estimator_that_fails() -> None:
    change(classifier(HERE), "{onnx: model.onnx}", "{sklearn: own:estimator}")
    Path("own.py").write_text("def estimator():\n    return 1 / 0\n", encoding="utf-8")


def packed_scores() -> None:
    """As skl2onnx exports a classifier where it is not told otherwise."""
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    classifier(HERE)
    rows = np.eye(4, dtype=np.float32)
    model = LogisticRegression().fit(rows, [0, 1, 2, 0])
    Path("model.onnx").write_bytes(to_onnx(model, rows[:1]).SerializeToString())


def not_an_encoder() -> None:
    yaml = embedder(HERE)
    change(yaml, "{onnx: model.onnx, tokenizer: tokenizer.json, max_tokens: 12}", "{path: enc}")
    Path("enc").mkdir()


FAILS = "def f(x):\n    return 1 / 0\n"
CALL = "call it yourself"
CASES = {
    "a truncated model": Case(truncated, "model.onnx", "truncated, or not a valid", "export or"),
    "NaN weights": Case(not_a_number, "model.onnx", "the weight 'weight' holds NaN", "checkpoint"),
    "an operator that the engine has not": Case(
        unknown_operator, "model.onnx", "their.own:Squash(-1) is not a registered", "operators that"
    ),
    "an encoder of 3.2 GB": Case(
        encoder_of_gigabytes, "enc/model.safetensors", "800,000,000 weights take 3.2 GB", "smaller"
    ),
    "scores that are no tensor": Case(
        packed_scores, "model.onnx", "'output_probability' is no tensor", '{"zipmap": False}'
    ),
    "a text that is too long": Case(
        too_long, "evaluate.jsonl: t1", "18 tokens, and the model takes 12", "`truncate: true`"
    ),
    "a request that is too long": Case(
        too_long_to_be_asked, "log.jsonl: request 3", "and the model takes 12", "`truncate: true`"
    ),
    "an empty split": Case(empty_split, "evaluate.jsonl", "holds no rows", "add one"),
    "a label that points nowhere": Case(
        label_to_nowhere, "evaluate.jsonl:2: relevant", "there is no passage 'p2'", "known here: p1"
    ),
    "splits that overlap": Case(
        overlap, "headgate.yaml: data.holdout", "1 items of holdout are also", "remove them"
    ),
    "items of another shape": Case(
        other_shape, "evaluate.jsonl: i0", "expected shape (4,), got (3,)", "in the model's own"
    ),
    "a label of no class": Case(
        label_of_no_class, "evaluate.jsonl:4", "label 3; the model has classes 0 to 2", "correct"
    ),
    "labels of one class": Case(
        labels_of_one_class, "evaluate.jsonl", "all of its 9 labels are 1", "every kind"
    ),
    "NaN to calibrate with": Case(nan_to_calibrate_with, "calibrate.jsonl:1", "NaN", "finite"),
    "a text where numbers go": Case(
        text_for_numbers, "evaluate.jsonl: i0", "expected numbers of shape (4,)", "send numbers"
    ),
    "calibration in another shape": Case(
        calibrated_in_another_shape, "calibrate.jsonl: row 1", "expected shape (3,)", "in the"
    ),
    "requests at one moment": Case(no_rate, "log.jsonl: at_s", "at one moment", "rate_per_s"),
    "a negative price": Case(
        negative_price, "headgate.yaml:6: prices.device_second", "0 or more", "write, for example"
    ),
    "a tokenizer that is none": Case(no_tokenizer, "tokenizer.json", "not a tokenizer", "give the"),
    "a text model without a limit": Case(
        no_limit, "headgate.yaml: model.max_tokens", "how many tokens", "add `max_tokens: 512`"
    ),
    "too few names of classes": Case(
        too_few_names, "model.labels", "names 2 classes; the model has 3", "name each class once"
    ),
    "a metric that is not there": Case(
        own("", "metrics: {mine: other:f}"), "other:f", "there is no file other.py", "beside"
    ),
    "a metric that cannot be imported": Case(
        own("import nothere", "metrics: {mine: own:f}"), "own:f", "No module named", "python -c"
    ),
    "a step that fails": Case(
        own(FAILS, "preprocess: own:f"), "evaluate.jsonl: i0: own:f", "ZeroDivisionError", CALL
    ),
    "a preparation that fails": Case(
        own(FAILS, "prepare: own:f"), "own:f", "it raised ZeroDivisionError", CALL
    ),
    "an estimator that fails": Case(
        estimator_that_fails, "own:estimator", "it raised ZeroDivisionError", CALL
    ),
    "a directory without an encoder": Case(
        not_an_encoder, "headgate.yaml: model", "has no config.json", "save_pretrained"
    ),
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's directory, made current, with a store that already holds something."""
    monkeypatch.chdir(tmp_path)
    with Store.open(STORE, create=True) as store:
        version = store.put_bytes(b"from an earlier day")
        store.register(Artifact("docs/model", version, "model", "bytes", "search", 19))


def message(err: str) -> list[str]:
    """What is said on stderr, progress aside."""
    return [line for line in err.splitlines() if not line.startswith("[")]


def assert_one_message(err: str, where: str, what: str, fix: str) -> None:
    said = message(err)
    assert len(said) == 2, err
    assert said[0].startswith("headgate: ")
    assert where in said[0]
    assert what in said[0]
    assert said[1].startswith("  what to do: ")
    assert fix in said[1]


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_message_and_leaves_the_store_as_it_was(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is wrong is said before anything is recorded."""
    case = CASES[name]
    case.spoil()
    before = content_of(STORE)
    code = run(["optimize", "headgate.yaml"])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert_one_message(err, case.where, case.what, case.fix)
    assert content_of(STORE) == before


def test_for_machines_the_same_is_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    """Reason, place, and what to do; the reason never changes."""
    too_long()
    assert run(["optimize", "headgate.yaml", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["reason"] == "too_long"
    assert error["where"].endswith("evaluate.jsonl: t1")
    assert error["exit_code"] == 2


@pytest.mark.parametrize("spoil", [label_to_nowhere, overlap], ids=lambda spoil: spoil.__name__)
def test_nothing_is_fitted_for_data_that_are_wrong(
    spoil: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """An estimator may take minutes; it would be the first to fail here."""
    spoil()
    onnx_model = "{onnx: model.onnx, tokenizer: tokenizer.json, max_tokens: 12}"
    change(Path("headgate.yaml"), onnx_model, "{sklearn: own:estimator}")
    Path("own.py").write_text("def estimator():\n    return 1 / 0\n", encoding="utf-8")
    assert run(["optimize", "headgate.yaml"]) == 2
    assert "ZeroDivisionError" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("hidden", "model", "extra"),
    [("skl2onnx", "{sklearn: own:estimator}", "sklearn"), ("torch", "{path: encoder}", "train")],
)
def test_a_missing_extra_is_named_with_the_command_that_brings_it(
    hidden: str,
    model: str,
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where the model itself needs it, nothing can be done without."""
    if extra == "train":
        yaml = embedder(HERE)
        change(yaml, "{onnx: model.onnx, tokenizer: tokenizer.json, max_tokens: 12}", model)
        Path("encoder").mkdir()
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            Path("encoder", name).write_text("{}", encoding="utf-8")
    else:
        change(classifier(HERE), "{onnx: model.onnx}", model)
        Path("own.py").write_text("def estimator():\n    raise SystemExit\n", encoding="utf-8")
    monkeypatch.setitem(sys.modules, hidden, None)
    before = content_of(STORE)
    assert run(["optimize", "headgate.yaml"]) == 2
    fix = f"pip install 'headgate[{extra}]'"
    assert_one_message(capsys.readouterr().err, "needs the extra", f"{extra!r}", fix)
    assert content_of(STORE) == before


def test_a_missing_extra_of_one_candidate_costs_that_candidate_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The job goes on; the report says what would bring it."""
    yaml = classifier(HERE)
    change(yaml, "candidates: [int8_dynamic]", "candidates: [int8_static]")
    change(yaml, "evaluate.jsonl}", "evaluate.jsonl, calibrate: calibrate.jsonl}")
    tiny_classifier(Path("model.onnx"), features=400, classes=256)
    rng = np.random.default_rng(0)
    for name in ("evaluate", "calibrate"):
        rows = ({"id": f"i{k}", "input": rng.normal(size=400).tolist()} for k in range(20))
        write_rows(Path(f"{name}.jsonl"), rows)
    for module in ("openvino", "nncf"):
        monkeypatch.setitem(sys.modules, module, None)
    assert run(["optimize", "headgate.yaml"]) == 4
    report = json.loads(Path("report.json").read_text(encoding="utf-8"))
    assert report["because"].startswith("no candidate is left (int8_static: ")
    (candidate,) = [c for c in report["candidates"] if c["name"] == "int8_static"]
    assert candidate["verdict"] == "skipped"
    assert "needs the extra 'openvino'" in candidate["why"]
    decision = report["decision"]
    for command, code in (("show", 0), ("lineage", 0), ("replay", 0), ("promote", 3)):
        assert run([command, decision]) == code, command
    assert run(["verify"]) == 0
    assert "Everything is as it was written" in capsys.readouterr().out


def test_a_model_that_answers_in_words_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    """scikit-learn gives back the labels that it was trained on; only a task that has scores is
    answered with those."""
    change(classifier(HERE), "{onnx: model.onnx}", "{sklearn: own:estimator}")
    change(HERE / "headgate.yaml", "task: classify", "task: predict")
    write_rows(Path("evaluate.jsonl"), ({"id": f"{k}", "input": [0, 0, 0, k]} for k in range(40)))
    Path("own.py").write_text(
        "from sklearn.naive_bayes import GaussianNB\n"
        "def estimator():\n"
        "    return GaussianNB().fit([[0, 0, 0, k] for k in range(6)], list('ababab'))\n",
        encoding="utf-8",
    )
    assert run(["optimize", "headgate.yaml"]) == 2
    err = capsys.readouterr().err
    assert_one_message(err, "model fp32", "which is no number", "train on label indices")


def test_a_report_that_has_nowhere_to_go_is_told_before_the_work(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Not after six minutes of it, and not after a promotion."""
    classifier(HERE)
    before = content_of(STORE)
    assert run(["optimize", "headgate.yaml", "--promote", "--report", "nowhere/at/all"]) == 1
    err = capsys.readouterr().err
    assert_one_message(err, "nowhere/at/all", "the report cannot be written", "--report")
    assert content_of(STORE) == before


@pytest.mark.parametrize("command", ["show", "lineage", "replay", "promote"])
def test_an_unknown_id_is_told(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And where ids come from."""
    before = content_of(STORE)
    assert run([command, "beef1234"]) == 2
    err = capsys.readouterr().err
    assert_one_message(err, ".headgate", "nothing here has an id that begins with beef1234", "take")
    assert content_of(STORE) == before


# Runs a command line where no file may grow beyond a limit, as on a disk that is full.
FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
from headgate.cli.app import run
sys.exit(run(sys.argv[2:]))
"""


def on_a_full_disk(limit_bytes: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", FULL, str(limit_bytes), "optimize", "headgate.yaml"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_disk_that_is_full_is_told_and_changes_nothing() -> None:
    """Exit code 1, the file, and what to do; no half-written file stays."""
    classifier(HERE)
    before = content_of(STORE)
    done = on_a_full_disk(100)
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_message(done.stderr, ".headgate/artifacts", "File too large", "free space")
    assert content_of(STORE) == before


def test_a_disk_that_fills_up_on_the_way_leaves_a_store_that_verifies() -> None:
    """What was acknowledged stays, and nothing is half there."""
    classifier(HERE)
    with Store.open(STORE) as store:
        before = [entry.id for entry in store.entries()]
    done = on_a_full_disk((STORE / "ledger.sqlite").stat().st_size + 9_000)
    assert done.returncode == 1, done.stderr
    assert_one_message(done.stderr, ".headgate", "cannot", "run the command again")
    with Store.open(STORE) as store:
        report = store.verify()
        assert report.ok, report.findings
        entries = [entry.id for entry in store.entries()]
    assert entries[: len(before)] == before
    assert not list(STORE.rglob(".writing-*"))
    assert not list(HERE.glob(".*report*"))
    assert run(["optimize", "headgate.yaml"]) == 4  # there is room now; forty items tell nothing
    with Store.open(STORE) as store:
        assert store.verify().ok
        assert [entry.id for entry in store.entries()][: len(entries)] == entries
