"""Callers' items into tensors: texts through a tokenizer, texts as they are, or tensors of a fixed
shape.

Knows nothing of engines or HTTP. An item that is wrong fails alone and is named by its index.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.errors import InputError, RequestError, TooLong
from headgate.quantization.facts import TensorSpec
from headgate.workload import Encoded, Tensors

__all__ = [
    "CharacterCodec",
    "TensorCodec",
    "TextCodec",
    "TokenCodec",
    "encodings",
    "holds_bools",
]

CHARACTERS = "characters"
"""The tensor of a ``CharacterCodec``."""
_NO_CHARACTER = -1
_TEXT_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class TokenCodec:
    """What texts and pairs of texts share: a tokenizer, a limit, and padding.

    Holds no state between calls, so any thread may use it at any time.

    A packaged tokenizer.json often pads and truncates (to 128, whatever the model takes): both are
    switched off, and lengths are the build's business: ``max_tokens`` is the model's limit,
    special tokens included, and batches are padded to their longest item, rounded up to
    ``pad_to_multiple``.
    """

    def __init__(
        self,
        tokenizer: Path,
        inputs: Sequence[TensorSpec],
        *,
        max_tokens: int,
        pad_to_multiple: int = 1,
    ) -> None:
        unknown = [i.name for i in inputs if i.name not in _TEXT_INPUTS]
        if unknown or not any(i.name == "input_ids" for i in inputs):
            raise InputError(
                f"a text model takes {', '.join(_TEXT_INPUTS)}; this one takes "
                f"{', '.join(i.name for i in inputs) or 'nothing'}",
                where="model inputs",
                fix="rename the inputs when exporting, or serve it without a tokenizer",
            )
        self._whole = _read(tokenizer)
        padding = self._whole.padding
        self._pad_id = padding["pad_id"] if padding else _pad_id(self._whole)
        self._whole.no_padding()
        self._whole.no_truncation()
        self._dtypes = {i.name: np.dtype(i.dtype) for i in inputs}
        self._max_tokens = max_tokens
        self._multiple = pad_to_multiple

    def _check_length(self, tokens: int, index: int) -> None:
        if not tokens:
            raise RequestError("a text without any token", where=f"item {index}")
        if tokens > self._max_tokens:
            raise TooLong(
                f"{tokens} tokens, and the model takes {self._max_tokens}",
                where=f"item {index}",
                fix="shorten the text, split it, or ask for truncation",
            )

    def collate(self, encoded: Sequence[Encoded]) -> Tensors:
        """``input_ids``, ``attention_mask``, ``token_type_ids``, as the model has them.

        Shape (items, padded length); the padded length never exceeds the model's limit.
        """
        longest = max(e.length for e in encoded)
        width = min(-(-longest // self._multiple) * self._multiple, self._max_tokens)
        shape = (len(encoded), width)
        ids = np.full(shape, self._pad_id, self._dtypes["input_ids"])
        mask = np.zeros(shape, self._dtypes.get("attention_mask", np.int64))
        for row, item in enumerate(encoded):
            ids[row, : item.length] = item.content
            mask[row, : item.length] = 1
        tensors: dict[str, NDArray[np.generic]] = {"input_ids": ids}
        if "attention_mask" in self._dtypes:
            tensors["attention_mask"] = mask
        if "token_type_ids" in self._dtypes:  # one text an item: all of it is the first segment
            tensors["token_type_ids"] = np.zeros(shape, self._dtypes["token_type_ids"])
        return tensors


class CharacterCodec:
    """Texts as they are, for a server that has the tokenizer: an item is its Unicode code points.

    ``length`` counts characters. A batch is padded with -1, which is no character, and
    ``texts_of`` gives the texts back.
    """

    def __init__(self, *, max_characters: int) -> None:
        self._max_characters = max_characters

    def encode(self, items: Sequence[object], *, truncate: bool = False) -> list[Encoded]:
        """One ``Encoded`` per text. Raises ``TooLong`` or ``RequestError``, by index."""
        return [self._encode_one(text, i, truncate) for i, text in enumerate(_texts(items))]

    def collate(self, encoded: Sequence[Encoded]) -> Tensors:
        """``characters``, int64, shape (items, longest)."""
        shape = (len(encoded), max(e.length for e in encoded))
        characters = np.full(shape, _NO_CHARACTER, dtype=np.int64)
        for row, item in zip(characters, encoded, strict=True):
            row[: item.length] = item.content
        return {CHARACTERS: characters}

    @staticmethod
    def texts_of(tensors: Tensors) -> list[str]:
        """The texts that ``collate`` made the batch of. Raises ``KeyError`` for another batch.

        >>> codec = CharacterCodec(max_characters=9)
        >>> codec.texts_of(codec.collate(codec.encode(["héllo", "ok"])))
        ['héllo', 'ok']
        """
        rows = (row[row != _NO_CHARACTER] for row in tensors[CHARACTERS])
        return [row.astype("<u4").tobytes().decode("utf-32-le") for row in rows]

    def _encode_one(self, text: str, index: int, truncate: bool) -> Encoded:
        if not text:
            raise RequestError("an empty text", where=f"item {index}")
        if not _is_unicode(text):
            raise _not_unicode(index)
        if len(text) > self._max_characters and not truncate:
            raise TooLong(
                f"{len(text)} characters; at most {self._max_characters} are sent",
                where=f"item {index}",
                fix="shorten the text, or split it",
            )
        raw = text[: self._max_characters].encode("utf-32-le")
        points = np.frombuffer(raw, dtype="<u4").astype(np.int64)
        return Encoded(len(points), points)


class TextCodec(TokenCodec):
    """Texts -> token ids."""

    def __init__(
        self,
        tokenizer: Path,
        inputs: Sequence[TensorSpec],
        *,
        max_tokens: int,
        pad_to_multiple: int = 1,
    ) -> None:
        super().__init__(tokenizer, inputs, max_tokens=max_tokens, pad_to_multiple=pad_to_multiple)
        # A tokenizer that cuts is another one: to switch it over is to change what others get.
        self._cut = _read(tokenizer)
        self._cut.no_padding()
        self._cut.enable_truncation(max_length=max_tokens)
        self._vocabulary = self._whole.get_vocab_size(with_added_tokens=True)

    def encode(self, items: Sequence[object], *, truncate: bool = False) -> list[Encoded]:
        """One ``Encoded`` per text. Raises ``TooLong`` or ``RequestError``, by index."""
        made = encodings(self._cut if truncate else self._whole, _texts(items))
        return [self._checked(encoding.ids, i) for i, encoding in enumerate(made)]

    def encode_ids(
        self, items: Sequence[Sequence[int]], *, truncate: bool = False
    ) -> list[Encoded]:
        """Token ids as the caller made them, special tokens included. Raises as ``encode``."""
        encoded = []
        for i, ids in enumerate(items):
            if any(not 0 <= t < self._vocabulary for t in ids):
                raise RequestError(
                    f"token ids of this model are 0 to {self._vocabulary - 1}", where=f"item {i}"
                )
            encoded.append(self._checked(ids[: self._max_tokens] if truncate else ids, i))
        return encoded

    def _checked(self, ids: Sequence[int], index: int) -> Encoded:
        self._check_length(len(ids), index)
        return Encoded(len(ids), np.array(ids, dtype=np.int64))


class TensorCodec:
    """Items of one fixed shape (features, images) for a model with one input."""

    def __init__(self, inputs: Sequence[TensorSpec]) -> None:
        if len(inputs) != 1:
            raise InputError(
                f"a model without a tokenizer must have one input, this one has {len(inputs)}",
                where=", ".join(i.name for i in inputs) or "model inputs",
                fix="export it with a single input tensor, or give its tokenizer",
            )
        spec = inputs[0]
        shape = spec.shape[1:]
        dtype = np.dtype(spec.dtype)
        if any(d is None for d in shape) or dtype.kind not in "iuf" or not spec.shape:
            raise InputError(
                f"items must be numbers of a fixed shape, the input is {spec.dtype} {spec.shape}",
                where=spec.name,
                fix="export the model with fixed item dimensions; only the first may be dynamic",
            )
        self._name = spec.name
        self._shape = tuple(d for d in shape if d is not None)
        self._dtype = dtype

    def encode(self, items: Sequence[object], *, truncate: bool = False) -> list[Encoded]:
        """One ``Encoded`` of length 1 per item. Raises ``RequestError`` by index and input."""
        return [Encoded(1, self._encode_one(item, i)) for i, item in enumerate(items)]

    def collate(self, encoded: Sequence[Encoded]) -> Tensors:
        """The items stacked: shape (items, *item shape)."""
        return {self._name: np.stack([e.content for e in encoded])}

    def _encode_one(self, item: object, index: int) -> NDArray[np.generic]:
        where = f"item {index}: {self._name}"
        try:
            raw = np.asarray(item)
        except ValueError as error:
            raise RequestError("rows of different lengths", where=where) from error
        # Strings are not read as numbers, and null, true or a nested object is none.
        if raw.dtype.kind not in "iuf" or holds_bools(item):
            raise RequestError(
                f"expected numbers of shape {self._shape}", where=where, fix="send numbers only"
            )
        if raw.shape != self._shape:
            raise RequestError(
                f"expected shape {self._shape}, got {raw.shape}",
                where=where,
                fix="send one item in the model's own shape",
            )
        value = raw
        if raw.dtype != self._dtype:
            with np.errstate(over="ignore", invalid="ignore"):
                value = raw.astype(self._dtype)
        if self._dtype.kind == "f" and not np.isfinite(value).all():
            raise RequestError(
                f"NaN, infinite, or beyond {self._dtype}", where=where, fix="send finite numbers"
            )
        if self._dtype.kind != "f" and not np.array_equal(value, raw):
            raise RequestError(f"not representable as {self._dtype}", where=where)
        return value


def _texts(items: Sequence[object]) -> list[str]:
    texts = []
    for i, item in enumerate(items):
        if not isinstance(item, str):
            raise RequestError(
                f"expected a text, got {type(item).__name__}",
                where=f"item {i}",
                fix="send strings",
            )
        texts.append(item)
    return texts


def _not_unicode(index: int) -> RequestError:
    return RequestError(
        "a text that is not valid Unicode",
        where=f"item {index}",
        fix="send text that can be written as UTF-8",
    )


def _read(path: Path) -> Any:
    """The tokenizer of a tokenizer.json, as it was packaged. Raises ``InputError``."""
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises bare Exception
        raise InputError(
            f"not a tokenizer: {error}",
            where=str(path),
            fix="give the tokenizer.json of the tokenizers library",
        ) from error


def encodings(tokenizer: Any, given: Sequence[str | tuple[str, str]]) -> list[Any]:
    """What the library makes of texts or pairs, offsets apart. Raises ``RequestError``."""
    try:
        made: list[Any] = tokenizer.encode_batch_fast(given)
    except Exception as error:  # a lone surrogate has no UTF-8 form; the library says TypeError
        wrong = (i for i, texts in enumerate(given) if not _is_unicode("".join(texts)))
        raise _not_unicode(next(wrong, 0)) from error
    return made


def holds_bools(item: object) -> bool:
    """Whether there is a bool anywhere in nested lists; numpy reads one among numbers as 0 or 1.

    >>> holds_bools([[1, 2], [True, 4]]), holds_bools([[1, 2], [3, 4]])
    (True, False)
    """
    if not isinstance(item, list):
        return isinstance(item, bool)
    kinds = set(map(type, item))
    return bool in kinds or (list in kinds and any(map(holds_bools, item)))


def _pad_id(tokenizer: object) -> int:
    for token in ("[PAD]", "<pad>", "<|pad|>", "<|endoftext|>"):
        found: int | None = tokenizer.token_to_id(token)  # type: ignore[attr-defined]  # untyped library
        if found is not None:
            return found
    return 0  # the mask hides it


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
