"""Which layers a student takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.distillation import layers_for, targets, validate_layers
from headgate.errors import ConfigError


@given(st.integers(1, 48).flatmap(lambda of: st.tuples(st.integers(1, of), st.just(of))))
def test_layers_for_keeps_as_many_as_asked_and_starts_at_the_embeddings(
    sizes: tuple[int, int],
) -> None:
    """A student has the layers asked for, ascending, the first of them the teacher's first."""
    kept, of = sizes
    layers = layers_for(kept, of)
    assert len(layers) == kept
    assert layers[0] == 0
    assert validate_layers(layers, of) == layers


@given(st.sets(st.integers(0, 11), min_size=1).map(sorted))
def test_a_student_s_targets_end_where_the_next_layer_begins(layers: list[int]) -> None:
    """Each layer hands on what the next kept one expects, and the last one the teacher's answer."""
    aims = targets(layers, 12)
    assert [a + 1 for a in aims] == [*layers[1:], 12]


def test_a_whole_teacher_s_layers_are_their_own_targets() -> None:
    """Keeping every layer changes nobody's work."""
    assert targets(range(6), 6) == tuple(range(6))


@pytest.mark.parametrize("layers", [[], [0, 0], [2, 1], [-1, 3], [0, 6]])
def test_layers_that_cannot_be_taken_are_refused(layers: list[int]) -> None:
    """Repeated, descending, unknown or no layers are a configuration error with an example."""
    with pytest.raises(ConfigError, match="ascending choice of 0 to 5") as error:
        validate_layers(layers, 6)
    assert "[0, 4, 5]" in str(error.value)


@pytest.mark.parametrize("kept", [-1, 7])
def test_a_student_is_not_larger_than_its_teacher(kept: int) -> None:
    """As many layers as the teacher has, or fewer."""
    with pytest.raises(ConfigError, match="keeps 1 to 6"):
        layers_for(kept, 6)
