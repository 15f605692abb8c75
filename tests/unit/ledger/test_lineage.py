"""The walk back from an artifact to what came from outside."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headgate.errors import UsageError
from headgate.ledger import Edge, Store, graph
from headgate.objects import Artifact, Run

Keep = Callable[..., Artifact]
RunOf = Callable[..., Run]


def test_an_artifact_leads_to_its_run_and_the_inputs_of_that(
    store: Store, keep: Keep, run_of: RunOf
) -> None:
    """Nearest first: made by a run, derived from a model, and so on to the outside."""
    raw = keep(b"raw", "raw")
    model = keep(b"model", "model", lineage=(raw.version,))
    text = keep(b"text", "text")
    version = store.put_bytes(b"int8")
    run = store.record_run(
        run_of({"model": model.version, "text": text.version}, {"int8": version})
    )
    keep(b"int8", "int8", lineage=(model.version,), made_by=run.id)
    keep(b"unrelated", "unrelated", lineage=(version,))
    expected = (
        Edge(version, "made_by", run.id, "int8"),
        Edge(version, "derived_from", model.version),
        Edge(run.id, "used", model.version, "model"),
        Edge(run.id, "used", text.version, "text"),
        Edge(model.version, "derived_from", raw.version),
    )
    assert graph(store, version) == expected
    assert graph(store, version[7:19]) == expected
    assert graph(store, run.id) == (expected[2], expected[3], expected[4])


def test_what_came_from_outside_has_no_edges(store: Store, keep: Keep) -> None:
    """An artifact without lineage is where the walk ends."""
    assert graph(store, keep(b"raw").version) == ()


def test_a_run_that_returns_its_input_does_not_loop(
    store: Store, keep: Keep, run_of: RunOf
) -> None:
    """A cycle is walked once."""
    a = keep(b"a").version
    run = store.record_run(run_of({"in": a}, {"out": a}))
    assert graph(store, a) == (Edge(a, "made_by", run.id, "out"), Edge(run.id, "used", a, "in"))


def test_an_unknown_version_is_a_usage_error(store: Store) -> None:
    """Lineage of nothing is not an empty lineage."""
    with pytest.raises(UsageError, match="nothing here"):
        graph(store, "f" * 64)
