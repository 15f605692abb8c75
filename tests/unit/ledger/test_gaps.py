"""Every edge of the evidence that can be missing, by its name."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace

import pytest

from headgate.errors import Tampered
from headgate.ledger import Gap, Store, hold, hold_release, hold_run
from headgate.objects import STANDARDS, Artifact, Release, Run, digest, jsonable

GONE = digest("what nobody recorded")
CODE = {"code": "sha256:c0de"}


@pytest.fixture
def put(store: Store) -> Callable[..., str]:
    """The version of what is stored and registered under its kind's standard."""

    def put_(name: str, kind: str, **fields: object) -> str:
        content = name.encode()
        version = store.put_bytes(content)
        given = {"schema": "text", "owner": "search", **fields}
        hold(store, Artifact(name, version, kind, size_bytes=len(content), **given))
        return version

    return put_


Put = Callable[..., str]
RunOf = Callable[..., Run]


def whole(store: Store, put: Put, run_of: RunOf) -> dict[str, str]:
    """A release with everything that it stands on; the ids of all."""
    machine, data, model = (
        put("machine", "environment"),
        put("data", "dataset"),
        put("model", "model"),
    )
    samples = store.put_bytes(b"samples")
    run = hold_run(
        store, run_of({"model": model, "data": data}, {"samples": samples}, e=machine, c=CODE)
    )
    put("samples", "samples", made_by=run.id, lineage=(model, data))
    variant = put("variant", "variant", lineage=(model,))
    taken = store.append("measurement", measured(variant, data, samples, run.id))
    first = Release("docs", 0, model, None)
    hold_release(store, first, expected_generation=None)
    release = hold_release(store, Release("docs", 1, variant, run.id), expected_generation=0)
    return {
        "machine": machine,
        "data": data,
        "model": model,
        "samples": samples,
        "run": run.id,
        "variant": variant,
        "taken": taken.id,
        "release": release.id,
    }


def measured(variant: str, data: str, samples: str, run: str) -> dict[str, object]:
    return {
        "metric": "accuracy",
        "artifact": variant,
        "dataset": data,
        "samples": samples,
        "run": run,
        "current_run": run,
        "seed": 0,
    }


def edges(gaps: tuple[Gap, ...]) -> list[tuple[str, str]]:
    return [(gap.object, gap.edge) for gap in gaps]


def test_whole_evidence_has_no_gap(store: Store, put: Put, run_of: RunOf) -> None:
    """Artifacts, runs, measurements and releases, each with all of its edges."""
    ids = whole(store, put, run_of)
    assert store.gaps() == ()
    assert store.gaps([ids["release"]]) == ()


def test_an_object_is_registered_with_what_it_is_held_to(store: Store, put: Put) -> None:
    """The standard of its kind, whose digest it names, is an artifact too, and held to its own."""
    version = put("data", "dataset")
    found = store.artifact(version)
    assert found is not None
    assert found.standard is not None
    assert store.read(found.standard) == STANDARDS["dataset"].content
    standard = store.artifact(found.standard)
    assert standard is not None
    assert standard.standard == digest(STANDARDS["standard"])
    again = len(list(store.entries()))
    put("data", "dataset")
    assert len(list(store.entries())) == again


def test_what_is_held_to_nothing_is_a_gap(store: Store) -> None:
    """No metric, no contract, no failure note: a data set that was registered as it is."""
    version = store.put_bytes(b"data")
    store.register(Artifact("data", version, "dataset", "text", "search", 4))
    (gap,) = store.gaps()
    assert gap == Gap(
        "data",
        version,
        "held_to",
        "it is held to no metric, contract and failure note",
        "headgate optimize headgate.yaml",
    )


@pytest.mark.parametrize(
    ("field", "edge"), [("owner", "owned_by"), ("schema", "described_by"), ("standard", "held_to")]
)
def test_an_artifact_that_lacks_a_word_is_named(
    store: Store, put: Put, field: str, edge: str
) -> None:
    """As only another program, or a hand, could have written it."""
    known = store.artifact(put("data", "dataset"))
    assert known is not None
    store.append("artifact", {**jsonable(known), field: None})
    assert edges(store.gaps()) == [("data", edge)]


def test_a_source_that_nobody_registered_is_named(store: Store, put: Put) -> None:
    """With its digits, since it has no name."""
    put("int8", "model", lineage=(GONE,))
    (gap,) = store.gaps()
    assert (gap.object, gap.edge) == ("int8", "derived_from")
    assert gap.what == f"{GONE[7:19]} is not recorded here"


def test_what_was_made_of_nothing_is_a_gap_where_its_kind_is_always_made(
    store: Store, put: Put
) -> None:
    """A model may come from outside; a plan or a build may not."""
    put("model", "model")
    put("plan", "plan")
    assert edges(store.gaps()) == [("plan", "made_by")]


def test_a_run_names_its_code_its_machine_and_both_ends(
    store: Store, put: Put, run_of: RunOf
) -> None:
    """All four parts of ``z = T(u; c, e)``."""
    hold_run(store, run_of({"model": GONE}, {"int8": GONE}, c={}, e=GONE))
    name = "run quantize.static_int8"
    assert edges(store.gaps()) == [(name, edge) for edge in ("made", "ran", "ran_in", "used")]


@pytest.mark.parametrize(
    ("role", "edge", "nothing"),
    [
        ("artifact", "measures", GONE),
        ("dataset", "measured_on", GONE),
        ("samples", "sampled_in", None),
        ("run", "taken_by", GONE),
        ("current_run", "compared_with", GONE),
        ("seed", "seeded_with", None),
    ],
)
def test_a_measurement_names_where_it_is_from(
    store: Store, put: Put, run_of: RunOf, role: str, edge: str, nothing: str | None
) -> None:
    """Run, evaluation data, samples, seed and what was measured: each missing one is told."""
    ids = whole(store, put, run_of)
    body = measured(ids["variant"], ids["data"], ids["samples"], ids["run"])
    store.append("measurement", {**body, role: nothing})
    assert edges(store.gaps()) == [("accuracy, measured", edge)]


def test_a_release_names_its_decision_and_its_measurements(store: Store, put: Put) -> None:
    """But for the baseline, which is what there was; and for what a rollback restores."""
    baseline, variant = (put(name, "variant", lineage=(put("m", "model"),)) for name in "ab")
    hold_release(store, Release("docs", 0, baseline, None), expected_generation=None)
    hold_release(store, Release("docs", 1, variant, None), expected_generation=0)
    back = Release("docs", 2, baseline, None, extra={"restores": "0"})
    hold_release(store, back, expected_generation=1)
    name = "generation 1 of docs"
    assert edges(store.gaps()) == [(name, "decided_by"), (name, "measured_by")]


def test_a_run_and_a_release_name_their_owner_and_what_they_are_held_to(
    store: Store, put: Put, run_of: RunOf
) -> None:
    """Objects too; those that were written around `hold_run` and `hold_release` are named."""
    machine = put("machine", "environment")
    variant = put("v", "variant", lineage=(put("m", "model"),))
    store.record_run(run_of({"v": variant}, {"w": variant}, e=machine, c=CODE, owner=""))
    store.promote(Release("docs", 0, variant, None), expected_generation=None)
    assert edges(store.gaps()) == [
        ("generation 0 of docs", "held_to"),
        ("generation 0 of docs", "owned_by"),
        ("run quantize.static_int8", "held_to"),
        ("run quantize.static_int8", "owned_by"),
    ]


def test_a_release_is_owned_by_whoever_owns_its_variant(store: Store, put: Put) -> None:
    """Under the standard of releases; what is restored keeps the name."""
    variant = put("v", "variant", lineage=(put("m", "model"),))
    entry = hold_release(store, Release("docs", 0, variant, None), expected_generation=None)
    assert entry.body["owner"] == "search"
    assert entry.body["standard"] == digest(STANDARDS["release"])
    assert store.gaps([entry.id]) == ()


def test_a_variant_that_nobody_registered_is_released_all_the_same(store: Store) -> None:
    """A rollback waits for nobody; the gaps are named afterwards."""
    variant = store.put_bytes(b"variant")
    entry = hold_release(store, Release("docs", 0, variant, None), expected_generation=None)
    assert edges(store.gaps([entry.id])) == [
        ("generation 0 of docs", "owned_by"),
        ("generation 0 of docs", "serves"),
    ]


def test_only_what_something_stands_on_is_asked(store: Store, put: Put, run_of: RunOf) -> None:
    """A gap elsewhere in the ledger stops nobody; one far upstream does."""
    ids = whole(store, put, run_of)
    elsewhere = put("plan", "plan")
    assert store.gaps([ids["release"]]) == ()
    assert edges(store.gaps([elsewhere])) == [("plan", "made_by")]
    known = store.artifact(ids["model"])
    assert known is not None
    store.register(replace(known, lineage=(GONE,)))
    for start in ("release", "variant", "samples", "taken"):
        assert edges(store.gaps([ids[start]])) == [("model", "derived_from")]
    assert store.gaps([ids["data"]]) == ()


def test_what_a_release_stands_on_is_walked_through_runs_and_measurements(
    store: Store, put: Put, run_of: RunOf
) -> None:
    """Variant, model, samples, data, machine, and the standards of all."""
    ids = whole(store, put, run_of)
    put("unrelated", "dataset")
    found = store.stands_on([ids["release"]])
    names = [artifact.id for v in found if (artifact := store.artifact(v)) is not None]
    assert [n for n in names if not n.startswith("standard/")] == [
        "machine", "data", "model", "samples", "variant",
    ]  # fmt: skip
    assert {n for n in names if n.startswith("standard/")} == {
        f"standard/{kind}"
        for kind in (
            "environment",
            "dataset",
            "model",
            "samples",
            "variant",
            "standard",
            "run",
            "release",
        )
    }


def test_the_newest_registration_counts(store: Store, put: Put) -> None:
    """What was registered again, whole, is whole."""
    version = put("plan", "plan")
    assert len(store.gaps()) == 1
    known = store.artifact(version)
    assert known is not None
    store.register(replace(known, lineage=(put("model", "model"),)))
    assert store.gaps() == ()


def test_a_cycle_is_walked_once(store: Store, put: Put, run_of: RunOf) -> None:
    """A run that returns its input."""
    machine, a = put("machine", "environment"), put("a", "dataset")
    run = hold_run(store, run_of({"in": a}, {"out": a}, e=machine, c=CODE))
    put("a", "dataset", made_by=run.id)
    assert store.gaps([a]) == ()


def test_a_ledger_that_is_no_graph_any_more_is_damaged(store: Store) -> None:
    """A body that somebody cut in two is told from a missing edge."""
    store.append("measurement", {"metric": "accuracy"})
    with sqlite3.connect(store.root / "ledger.sqlite") as database:
        database.execute("DROP TRIGGER entries_refuse_update")
        database.execute("""UPDATE entries SET body = '{"z":' """)
    with pytest.raises(Tampered, match="cannot be read as a graph"):
        store.gaps()


def test_the_entries_that_something_stands_on_are_found(
    store: Store, put: Put, run_of: RunOf
) -> None:
    """Of each artifact the newest that registers it; what has nothing to do with it is left out."""
    ids = whole(store, put, run_of)
    put("other", "dataset")
    found = store.evidence_of([ids["release"]])
    assert [entry.seq for entry in found] == sorted(entry.seq for entry in found)
    assert {ids["run"], ids["taken"], ids["release"]} <= {entry.id for entry in found}
    names = [entry.body["id"] for entry in found if entry.kind == "artifact"]
    assert {"machine", "data", "model", "samples", "variant"} <= set(names)
    assert len(names) == len(set(names))
    assert "other" not in names
