"""Items that the model does not take are named by file and row, before anything is recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headgate.config import LabelledSet, UserFunction, guarded
from headgate.engines.codec import TensorCodec
from headgate.errors import InputError
from headgate.optimize.accept import Acceptance, classes_of
from headgate.quantization import TensorSpec
from tests.serving import WordCodec

FILE = Path("evaluate.jsonl")
LONG = "word " * 17


def acceptance(function: object = None, *, truncate: bool = False) -> Acceptance:
    """Of a model that takes 16 words, after an own step if there is one."""
    own = None if function is None else guarded(UserFunction("own:clean", function, "v"))  # type: ignore[arg-type]
    return Acceptance(WordCodec(), own, truncate)


def refused(accepts: Acceptance, *items: object) -> InputError:
    names = [f"row {k + 1}" for k in range(len(items))]
    with pytest.raises(InputError) as caught:
        accepts.check(FILE, items, names)  # type: ignore[arg-type]
    return caught.value


def test_a_text_that_is_too_long_is_named_and_may_be_cut() -> None:
    """The endpoint says whether; what only teaches or calibrates is always cut."""
    error = refused(acceptance(), "fine", LONG, LONG)
    assert (error.where, error.reason) == ("evaluate.jsonl: row 2", "too_long")
    assert "truncate: true" in str(error.fix)
    acceptance(truncate=True).check(FILE, ["fine", LONG], ["a", "b"])
    acceptance().check(FILE, ["fine", LONG], ["a", "b"], cut=True)


def test_an_item_of_another_kind_is_named() -> None:
    """What the codec says of it, and where it is."""
    error = refused(acceptance(), "fine", 7)
    assert (error.where, error.reason) == ("evaluate.jsonl: row 2", "bad_request")
    assert error.what == "it is no text"


def test_the_own_step_comes_before_the_model() -> None:
    """What it makes of an item is what must fit; what it raises is the caller's, and is named."""
    acceptance(lambda text: text[:20]).check(FILE, [LONG], ["a"])
    error = refused(acceptance(lambda text: {"fine": "x"}[text]), "fine", "else")
    assert error.where.startswith("evaluate.jsonl: row 2: own:clean (test_accept.py:")
    assert error.what == "it raised KeyError: 'else'"
    assert error.reason == "function_failed"


def test_items_are_prepared_one_by_one() -> None:
    """As a server of the model would; without an own step they are as they were."""
    assert acceptance(str.upper).prepared(["a", "b"]) == ("A", "B")
    assert acceptance().prepared(["a", "b"]) == ("a", "b")


def labelled(*labels: float) -> LabelledSet:
    """Rows from line 1, each with its label."""
    n = len(labels)
    ids = tuple(map(str, range(n)))
    return LabelledSet(ids, ids, labels, ((),) * n, ({},) * n, tuple(range(1, n + 1)))


@pytest.mark.parametrize("label", [77.0, 10.0, -1.0, 2.5])
def test_a_label_that_is_no_class_is_named_by_its_line(label: float) -> None:
    """No answer could ever agree with it."""
    accepts = Acceptance(WordCodec(), None, False, 10)
    accepts.check_labels(FILE, labelled(0, 9))
    with pytest.raises(InputError) as caught:
        accepts.check_labels(FILE, labelled(3, label, label))
    assert str(caught.value).startswith(
        f"evaluate.jsonl:2: label {label:g}; the model has classes 0 to 9"
    )
    assert (caught.value.reason, caught.value.exit_code) == ("no_such_class", 2)


@pytest.mark.parametrize("classes", [3, None])
def test_labels_that_are_all_alike_are_refused(classes: int | None) -> None:
    """Of classes or of numbers: whatever always answers that is right. Of one item that is no
    wonder."""
    accepts = Acceptance(WordCodec(), None, False, classes)
    accepts.check_labels(FILE, labelled(2))
    accepts.check_labels(FILE, labelled(2, 2, 1))
    with pytest.raises(InputError, match="all of its 3 labels are 2") as caught:
        accepts.check_labels(FILE, labelled(2, 2, 2))
    assert (caught.value.reason, caught.value.exit_code) == ("labels_alike", 2)


def test_every_label_is_taken_where_the_model_does_not_say_its_classes() -> None:
    """Labels alone, one number an item and rows of any width tell nothing."""
    acceptance().check_labels(FILE, labelled(0, 77))
    label = TensorSpec("label", "int64", (None,))
    scores = TensorSpec("scores", "float32", (None, 10))
    assert classes_of([label, scores]) == classes_of([scores, label]) == 10
    for shape in ((None, None), (None, 1), (10,)):
        assert classes_of([TensorSpec("scores", "float32", shape)]) is None
    assert classes_of([label]) is None


def test_a_text_that_preprocess_leaves_nothing_of_teaches_nothing() -> None:
    """It is named, with its reason code; longer texts are cut: they teach what they begin with."""
    names = ["row 1", "row 2"]
    acceptance().check_learnable(FILE, ["fine", LONG], names)
    blank = acceptance(lambda text: text.replace("fine", " "))
    with pytest.raises(InputError) as caught:
        blank.check_learnable(FILE, ["good", "fine"], names)
    assert (caught.value.where, caught.value.reason) == ("evaluate.jsonl: row 2", "empty_text")


def test_numbers_that_preprocess_makes_of_no_number_are_refused() -> None:
    """NaN, infinity and what is none at all, by the codec of the model."""
    spec = TensorSpec("input", "float32", (None, 2))
    for made in ([float("nan"), 1.0], [float("inf"), 1.0], ["a", "b"], [1.0], None):
        own = guarded(UserFunction("own:scale", lambda item, made=made: made, "v"))  # type: ignore[arg-type]
        accepts = Acceptance(TensorCodec([spec]), own, False)
        with pytest.raises(InputError) as caught:
            accepts.check_learnable(FILE, [np.array([1.0, 2.0])], ["row 1"])
        assert (caught.value.where, caught.value.reason) == ("evaluate.jsonl: row 1", "bad_request")
