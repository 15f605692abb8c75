"""Codecs: texts and tensors into batches, one bad item failing alone."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headgate import engines
from headgate.engines.codec import TensorCodec, TextCodec
from headgate.errors import InputError, RequestError, TooLong
from headgate.objects import Build
from headgate.quantization import TensorSpec
from headgate.workload import Codec
from tests.models import tiny_tokenizer

IDS = TensorSpec("input_ids", "int64", (None, None))
MASK = TensorSpec("attention_mask", "int64", (None, None))
TYPES = TensorSpec("token_type_ids", "int64", (None, None))


@pytest.fixture
def codec(text_build: Build, path_of: Callable[[str], Path]) -> Codec:
    return engines.codec_for(text_build, path_of)


@pytest.fixture
def tensors(tensor_build: Build, path_of: Callable[[str], Path]) -> Codec:
    return engines.codec_for(tensor_build, path_of)


def test_packaged_padding_and_truncation_are_off(codec: Codec) -> None:
    """A tokenizer packaged to pad and truncate to 128 does neither."""
    assert [e.length for e in codec.encode(["ab", "abcdef"])] == [4, 8]


def test_a_long_text_is_an_error_that_names_its_index(codec: Codec) -> None:
    """15 characters and two special tokens are 17, and the model takes 16."""
    codec.encode(["a" * 14])
    with pytest.raises(TooLong) as error:
        codec.encode(["a", "a" * 15])
    assert error.value.where == "item 1"
    assert "17 tokens, and the model takes 16" in str(error.value)


def test_a_text_that_is_far_too_long_is_refused_before_it_is_tokenized(tmp_path: Path) -> None:
    """64 characters for each of 16 tokens are read, whatever they are: spaces too."""
    codec = TextCodec(tiny_tokenizer(tmp_path / "t"), [IDS, MASK], max_tokens=16)
    codec.encode(["a" + " " * 1023])
    codec._whole = None  # nobody is asked
    with pytest.raises(TooLong) as error:
        codec.encode(["a", "a" + " " * 1024])
    assert error.value.where == "item 1"
    assert "1025 characters; at most 1024 are read" in str(error.value)


def test_a_text_that_is_cut_is_read_as_far_as_the_limit(tmp_path: Path) -> None:
    """The last letter that counts is the 1024th."""
    codec = TextCodec(tiny_tokenizer(tmp_path / "t"), [IDS, MASK], max_tokens=16)
    near, far = codec.encode(["a" + " " * n + "b" for n in (1022, 1023)], truncate=True)
    assert (near.length, far.length) == (4, 3)


def test_many_texts_are_tokenized_a_slice_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each as if it were alone, and the one that is wrong is named among all of them."""
    monkeypatch.setattr("headgate.engines.codec._CHARACTERS_AT_ONCE", 10)
    codec = TextCodec(tiny_tokenizer(tmp_path / "t"), [IDS, MASK], max_tokens=16)
    texts = ["ab" * (i % 5 + 1) for i in range(20)]
    assert [e.length for e in codec.encode(texts)] == [len(text) + 2 for text in texts]
    with pytest.raises(RequestError) as error:
        codec.encode([*texts, "a\ud800", "b"])
    assert error.value.where == "item 20"


def test_truncation_keeps_the_special_tokens(codec: Codec) -> None:
    """Asked to truncate, the codec cuts to the limit and still ends with [SEP]."""
    (item,) = codec.encode(["a" * 100], truncate=True)
    assert item.length == 16
    assert item.content[0] == 2
    assert item.content[-1] == 3


@pytest.mark.parametrize("bad", [3, None, ["a"], b"a", "a\ud800"])
def test_what_is_not_a_text_is_refused_by_index(codec: Codec, bad: object) -> None:
    """Numbers, null, lists, bytes and lone surrogates are named, the others are not blamed."""
    with pytest.raises(RequestError) as error:
        codec.encode(["fine", "fine", bad])
    assert error.value.where == "item 2"


def test_a_batch_is_padded_to_its_longest_item(codec: Codec) -> None:
    """Ids are padded with the padding token, and the mask hides it."""
    batch = codec.collate(codec.encode(["ab", "abcd"]))
    assert set(batch) == {"input_ids", "attention_mask"}
    assert batch["input_ids"].shape == (2, 6)
    assert batch["input_ids"][0].tolist()[-2:] == [0, 0]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 0, 0], [1] * 6]
    assert batch["input_ids"].dtype == np.int64


@pytest.mark.parametrize(("characters", "width"), [(6, 8), (7, 16), (10, 16), (12, 16), (13, 17)])
def test_lengths_round_up_but_never_beyond_the_model(
    tmp_path: Path, characters: int, width: int
) -> None:
    """With multiples of 8 and a limit of 17: 8, 16, and 17 where 24 would be too long."""
    codec = TextCodec(tiny_tokenizer(tmp_path / "t"), [IDS, MASK], max_tokens=17, pad_to_multiple=8)
    if characters == 13:
        characters = 15
    batch = codec.collate(codec.encode(["a" * characters]))
    assert batch["input_ids"].shape == (1, width)
    assert int(batch["attention_mask"].sum()) == characters + 2


def test_segments_are_given_only_to_models_that_take_them(tmp_path: Path) -> None:
    """token_type_ids appear, all zero, where the model has that input, in its own type."""
    spec = replace(TYPES, dtype="int32")
    codec = TextCodec(tiny_tokenizer(tmp_path / "t"), [IDS, MASK, spec], max_tokens=16)
    batch = codec.collate(codec.encode(["ab", "abc"]))
    assert batch["token_type_ids"].dtype == np.int32
    assert not batch["token_type_ids"].any()


def test_a_model_with_other_inputs_is_not_a_text_model(tmp_path: Path) -> None:
    """An input that no codec can fill is named at once, not at the first request."""
    with pytest.raises(InputError, match="pixels"):
        TextCodec(
            tiny_tokenizer(tmp_path / "t"),
            [IDS, TensorSpec("pixels", "float32", (None, 3))],
            max_tokens=16,
        )


def test_a_broken_tokenizer_is_named(tmp_path: Path) -> None:
    """A file that is no tokenizer says which file and what belongs there."""
    (tmp_path / "t").write_text("{}")
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        TextCodec(tmp_path / "t", [IDS], max_tokens=16)


def test_threads_get_their_own_answers(codec: Codec) -> None:
    """Many threads encoding and truncating at once change nothing for each other."""
    texts = ["a" * k for k in range(1, 40)]

    def lengths(truncate: bool) -> list[int]:
        shown = texts if truncate else texts[:14]
        return [e.length for e in codec.encode(shown, truncate=truncate)]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lengths, [True, False] * 20))
    assert results[0::2] == [[min(k + 2, 16) for k in range(1, 40)]] * 20
    assert results[1::2] == [[k + 2 for k in range(1, 15)]] * 20


def test_tensors_are_stacked_in_the_models_type(tensors: Codec) -> None:
    """Integers and floats of the right shape become one float32 batch."""
    batch = tensors.collate(tensors.encode([[1, 2, 3, 4], np.array([0.5, 0, 0, 0])]))
    assert batch["x"].dtype == np.float32
    assert batch["x"].tolist() == [[1, 2, 3, 4], [0.5, 0, 0, 0]]


@pytest.mark.parametrize(
    "bad",
    [
        [1, 2, 3],
        [[1, 2, 3, 4]],
        [1, 2, [3], 4],
        ["1", "2", "3", "4"],
        [1, 2, 3, None],
        [True, False, True, True],
        [True, 0.5, 1, 1],
        [1, 2, 3, float("nan")],
        [1, 2, 3, float("inf")],
        [1, 2, 3, 1e300],
        {"x": 1},
        "1234",
        None,
        10**400,
    ],
)
def test_what_is_not_the_models_shape_of_numbers_is_refused(tensors: Codec, bad: object) -> None:
    """Wrong shapes, strings, null, booleans, NaN and overflow name the item and the input."""
    with pytest.raises(RequestError) as error:
        tensors.encode([[0, 0, 0, 0], bad])
    assert error.value.where == "item 1: x"


def test_integers_are_not_rounded() -> None:
    """An integer input refuses 0.5 and what its type cannot hold, instead of changing them."""
    codec = TensorCodec([TensorSpec("n", "int8", (None, 1))])
    assert codec.encode([[3.0]])[0].content.tolist() == [3]
    for bad in (0.5, 200, float("nan")):
        with pytest.raises(RequestError):
            codec.encode([[bad]])


@pytest.mark.parametrize(
    "inputs",
    [
        [],
        [IDS, MASK],
        [TensorSpec("x", "float32", (None, None))],
        [TensorSpec("x", "str", (None, 4))],
        [TensorSpec("x", "float32", ())],
    ],
)
def test_models_that_no_tensor_codec_fits_are_refused(inputs: list[TensorSpec]) -> None:
    """Several inputs, dynamic item shapes, strings and scalars are errors of configuration."""
    with pytest.raises(InputError):
        TensorCodec(inputs)
