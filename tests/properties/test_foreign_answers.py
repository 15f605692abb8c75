"""Whatever a stranger's server answers is rows of numbers, or an error that says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.engines.protocols import embeddings_in, input_in, model_in, output_in
from headgate.errors import EngineError

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**400), 10**400),
    st.floats(),
    st.text(max_size=5),
)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
SMALL = st.integers(-1, 4)
NUMBERS = st.lists(st.one_of(st.floats(), SMALL, ANYTHING), max_size=4)
NEARLY = st.one_of(
    ANYTHING,
    st.fixed_dictionaries(
        {"data": st.lists(st.fixed_dictionaries({"index": SMALL, "embedding": NUMBERS}))}
    ),
    st.fixed_dictionaries(
        {
            "outputs": st.lists(
                st.fixed_dictionaries({"shape": st.lists(SMALL, max_size=3), "data": NUMBERS}),
                max_size=2,
            )
        }
    ),
    st.fixed_dictionaries(
        {
            "inputs": st.lists(
                st.fixed_dictionaries(
                    {
                        "name": st.text(max_size=3),
                        "datatype": st.sampled_from(["FP32", "BYTES", "FP", "INT128", ""]),
                        "shape": st.lists(SMALL, max_size=3),
                    }
                ),
                max_size=2,
            )
        }
    ),
)
BODIES = st.one_of(st.binary(max_size=40), NEARLY.map(lambda body: json.dumps(body).encode()))


def outcome(read: Callable[..., object], *given: object) -> object:
    """What comes out, or the error that is allowed to; any other is raised."""
    try:
        return read(*given)
    except EngineError as error:
        return error


def explained(error: EngineError) -> bool:
    return error.reason in ("malformed", "wrong_shape", "not_finite") and 5 < len(error.what) < 500


@given(body=BODIES, n=st.integers(1, 3))
@pytest.mark.parametrize("read", [embeddings_in, output_in])
def test_an_answer_is_as_many_finite_rows_or_an_engine_error(
    read: Callable[..., object], body: bytes, n: int
) -> None:
    """Nothing else is raised, and nothing half-read comes out."""
    found = outcome(read, body, n)
    if isinstance(found, EngineError):
        assert explained(found)
    else:
        values = np.asarray(found)
        assert len(values) == n
        assert values.size > 0
        assert np.isfinite(values).all()


@given(body=BODIES)
@pytest.mark.parametrize("read", [model_in, input_in])
def test_what_a_server_says_of_itself_is_read_or_an_engine_error(
    read: Callable[..., object], body: bytes
) -> None:
    """The same of its models and their inputs."""
    found = outcome(read, body)
    assert explained(found) if isinstance(found, EngineError) else found is not None


@given(rows=st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False),
                              min_size=2, max_size=2), min_size=1, max_size=5),
       order=st.randoms(use_true_random=False))  # fmt: skip
def test_rows_go_by_their_index_in_whatever_order_they_come(
    rows: list[list[float]], order: object
) -> None:
    """float32 numbers come back as they were."""
    listed = [{"index": i, "embedding": row} for i, row in enumerate(rows)]
    order.shuffle(listed)  # type: ignore[attr-defined]  # hypothesis' own Random
    values = embeddings_in(json.dumps({"data": listed}).encode(), len(rows))
    np.testing.assert_array_equal(values, np.array(rows, dtype=np.float32))
