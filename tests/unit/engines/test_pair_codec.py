"""Pairs of a query and a text: the tokenizer's own template, segments, and what is cut."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate import engines
from headgate.engines.pair_codec import PairCodec
from headgate.errors import ConfigError, RequestError, TooLong
from headgate.objects import Build
from headgate.quantization import TensorSpec
from headgate.workload import Encoded, Pair, Segmented
from tests.models import tiny_classifier, tiny_cross_encoder, tiny_tokenizer

IDS, MASK, TYPES = (
    TensorSpec(name, "int64", (None, None))
    for name in ("input_ids", "attention_mask", "token_type_ids")
)
WORDS = st.text("ab1 ", max_size=40)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_tokenizer(tmp_path_factory.mktemp("pairs") / "t")


@pytest.fixture(scope="module")
def codec(tokenizer: Path) -> PairCodec:
    return PairCodec(tokenizer, [IDS, MASK, TYPES], max_tokens=16)


@pytest.fixture(scope="module")
def theirs(tokenizer: Path) -> object:
    """The same tokenizer as transformers reads it."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_file=str(tokenizer), pad_token="[PAD]")


def segments(encoded: Encoded) -> list[int]:
    assert isinstance(encoded, Segmented)
    return encoded.segments.tolist()


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4), st.sampled_from(("left", "right"))
)
def test_pairs_are_encoded_and_cut_as_transformers_does(
    codec: PairCodec,
    theirs: object,
    pairs: list[tuple[str, str]],
    side: Literal["left", "right"],
) -> None:
    """Ids and segments, whole and cut on either side, are those of the library's own path."""
    theirs.truncation_side = side  # type: ignore[attr-defined]  # untyped library
    asked = [Pair(query, text, side) for query, text in pairs]
    queries, texts = ([pair[i] for pair in pairs] for i in (0, 1))
    wanted = theirs(  # type: ignore[operator]  # untyped library
        queries, texts, truncation="longest_first", max_length=16, return_token_type_ids=True
    )
    ours = codec.encode(asked, truncate=True)
    assert [e.content.tolist() for e in ours] == wanted["input_ids"]
    assert [segments(e) for e in ours] == wanted["token_type_ids"]
    assert [e.length for e in ours] == [len(ids) for ids in wanted["input_ids"]]


@pytest.mark.parametrize("pair", [Pair("a " * 600, "b"), Pair("a", "b " * 600)])
def test_a_pair_that_is_far_too_long_is_refused_before_it_is_tokenized(
    tokenizer: Path, pair: Pair
) -> None:
    """Query or text, where it may not be cut."""
    codec = PairCodec(tokenizer, [IDS, MASK, TYPES], max_tokens=16)
    codec._whole = None  # nobody is asked
    with pytest.raises(TooLong, match="1200 characters; at most 1024 are read"):
        codec.encode([pair])


def test_a_text_that_the_pair_itself_cuts_may_be_as_long_as_it_likes(codec: PairCodec) -> None:
    """Its query may not."""
    (encoded,) = codec.encode([Pair("a", "b " * 600, max_text_tokens=3)])
    assert encoded.length == 7
    with pytest.raises(TooLong):
        codec.encode([Pair("a " * 600, "b", max_text_tokens=3)])


def test_a_batch_is_padded_to_its_longest_pair(codec: PairCodec) -> None:
    """Segments are the text's 1 where its tokens are, and 0 in the padding."""
    batch = codec.collate(codec.encode([Pair("ab", "c"), Pair("a", "bcde")]))
    assert batch["input_ids"].shape == (2, 8)
    assert batch["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1, 1, 1]]
    assert batch["attention_mask"].tolist() == [[1] * 6 + [0] * 2, [1] * 8]


def test_a_model_without_segments_is_given_none(tokenizer: Path) -> None:
    """Nothing is carried for it either: the ids are all that it can tell pairs by."""
    codec = PairCodec(tokenizer, [IDS, MASK], max_tokens=16)
    (encoded,) = codec.encode([Pair("ab", "c")])
    assert type(encoded) is Encoded
    assert set(codec.collate([encoded])) == {"input_ids", "attention_mask"}


def test_a_long_pair_is_an_error_that_names_its_index(codec: PairCodec) -> None:
    """7 and 7 characters with three special tokens are 17, and the model takes 16."""
    codec.encode([Pair("a" * 6, "a" * 7)])
    with pytest.raises(TooLong, match="17 tokens, and the model takes 16") as error:
        codec.encode([Pair("a", "a"), Pair("a" * 7, "a" * 7)])
    assert error.value.where == "item 1"


def test_a_text_is_cut_to_what_its_pair_says(codec: PairCodec) -> None:
    """Asked or not, on the side that is named; the query is left alone, and what fits is whole."""
    long = Pair("abc", "12345", max_text_tokens=2)
    right, left, whole = codec.encode(
        [long, Pair("abc", "12345", "left", 2), Pair("abc", "12345", max_text_tokens=5)]
    )
    (first, last, all_of_it) = codec.encode(
        [Pair("abc", "12"), Pair("abc", "45"), Pair("abc", "12345")]
    )
    assert right.identity == first.identity
    # What was inside a word stays a continuation: 4 is ##4 when it is cut from 12345.
    assert left.length == last.length
    assert left.content[6] == last.content[6]
    assert whole.identity == all_of_it.identity


def test_a_text_that_is_cut_to_fit_its_own_limit_may_still_be_too_long(codec: PairCodec) -> None:
    """The two limits are held one after the other."""
    pair = Pair("a" * 9, "b" * 20, max_text_tokens=8)
    with pytest.raises(TooLong, match="20 tokens"):
        codec.encode([pair])
    (cut,) = codec.encode([pair], truncate=True)
    assert (cut.length, sum(segments(cut))) == (16, 7)  # 6 of the text, and its [SEP]


@pytest.mark.parametrize("bad", ["a text", ("a", "b"), None, Pair("a", "\ud800")])
def test_what_is_not_a_pair_is_refused_by_index(codec: PairCodec, bad: object) -> None:
    """Texts alone, tuples, null and lone surrogates are named, the others are not blamed."""
    with pytest.raises(RequestError) as error:
        codec.encode([Pair("fine", "fine"), bad])
    assert error.value.where == "item 1"


def test_the_same_ids_split_elsewhere_are_another_question() -> None:
    """The identity covers the segments; equal ones are equal."""
    ids = np.array([4, 5, 6], dtype=np.int64)
    splits = [np.array(s, dtype=np.uint8) for s in ([0, 0, 1], [0, 1, 1], [0, 0, 1])]
    first, other, again = (Segmented(3, ids, split).identity for split in splits)
    assert first != other
    assert first == again


def test_a_reranking_build_takes_pairs(tmp_path: Path) -> None:
    """And one without a tokenizer cannot."""
    tiny_cross_encoder(tmp_path / "m")
    tiny_tokenizer(tmp_path / "t")
    tiny_classifier(tmp_path / "c")

    def build(model: str, tokenizer: str | None) -> Build:
        files = {"model.onnx": model}
        return Build("tiny", "rerank", "onnxruntime", "fp32", files, tokenizer, 16, 1)

    assert isinstance(engines.codec_for(build("m", "t"), lambda v: tmp_path / v), PairCodec)
    with pytest.raises(ConfigError, match="takes no pairs"):
        engines.codec_for(build("c", None), lambda v: tmp_path / v)
