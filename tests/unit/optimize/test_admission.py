"""What nothing is learnt from, and that the answer is on record before anything is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from headgate.errors import InputError
from headgate.ledger import Store
from headgate.objects import Action, Axis, Bound, Contract, canonical
from headgate.optimize import searching
from headgate.optimize.admission import admit
from headgate.optimize.contents import TEXTS
from headgate.optimize.recorder import Recorder
from headgate.optimize.stages import Tried
from headgate.planning import CANDIDATES, TRIED_BY_DEFAULT

from .fakes import forecast, trials_of

NOW = datetime.now(UTC) + timedelta(hours=1)


def rows(length: int, n: int = 600) -> bytes:
    return b"".join(b'{"id":"%d","text":"%s"}\n' % (i, b"x" * (i % 40 + length)) for i in range(n))


SHORT = rows(1)
Versions = Callable[..., Mapping[str, str]]


@pytest.fixture
def versions(recorder: Recorder) -> Versions:
    """The versions of training data, and of what the endpoint promises of them."""

    def made(content: bytes = SHORT, *promises: Contract, **terms: object) -> Mapping[str, str]:
        store = recorder.store
        train = store.put_bytes(content)
        recorder.register("train", train, kind="dataset", schema=TEXTS)
        if not promises:
            return {"train": train}
        body = {"train": {"as_of": None, "reference": None, **terms, "contracts": promises}}
        contracts = store.put_bytes(canonical(body))
        recorder.register("data_contracts", contracts, kind="contracts", schema="json")
        return {"train": train, "data_contracts": contracts}

    return made


def at_most(metric: str, limit: float, on_breach: Action) -> Contract:
    return Contract(
        metric, Axis.QUALITY, Bound.AT_MOST, limit, "why", on_breach, "command:page", "previous",
        min_n=200,
    )  # fmt: skip


def admissions(store: Store) -> list[tuple[bool, list[str]]]:
    entries = [entry.body for entry in store.entries("admission")]
    return [(body["admitted"], [f["signal"] for f in body["findings"]]) for body in entries]


def rejected(recorder: Recorder, versions: Mapping[str, str], now: datetime = NOW) -> InputError:
    with pytest.raises(InputError) as refused:
        admit(recorder, "train", versions, now=now)
    assert refused.value.reason == "data_rejected"
    return refused.value


def test_what_is_as_it_was_promised_is_admitted_once(
    recorder: Recorder, versions: Versions
) -> None:
    """Asked again with the same answer, nothing is added to the record."""
    given = versions()
    for _ in range(2):
        admit(recorder, "train", given, now=NOW)
    assert admissions(recorder.store) == [(True, [])]
    (entry,) = recorder.store.entries("admission")
    assert (entry.body["role"], entry.body["data"]) == ("train", given["train"])


@pytest.mark.parametrize(
    ("content", "because"),
    [
        (b'{"id":"1","text":"one row is none"}\n', "rows is 1, 2 at least: one row tells nothing"),
        (b'{"id":"1","text":" "}\n{"id":"2","text":"b"}\n', "is empty"),
        (b'{"id":"1","text":7}\n{"id":"2","text":"b"}\n', "7 is not text"),
        (b'{"id":"1","text":"a"}\n{"id":"1","text":"b"}\n', "is also the id of line 1"),
        (b'{"id":"1","text":"a","n":NaN}\n{"id":"2","text":"b"}\n', "NaN is not a number"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"", "holds no rows"),
    ],
)
def test_malformed_data_teaches_nothing(
    recorder: Recorder, versions: Versions, content: bytes, because: str
) -> None:
    """Whoever put it there: it is read again before it is absorbed, and rejected."""
    error = rejected(recorder, versions(content))
    assert error.what.startswith("nothing is learnt from data.train: ")
    assert because in error.what
    assert error.what.endswith("(reject)")
    assert (error.where, error.fix is not None) == ("docs/train", True)
    assert admissions(recorder.store) == [(False, ["unfit"])]


def test_content_that_was_changed_or_is_gone_teaches_nothing(
    recorder: Recorder, versions: Versions
) -> None:
    """Rejected, or to be made again; once it is back it is admitted."""
    given = versions()
    path = recorder.store.path_of(given["train"])
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(content.replace(b"x", b"y", 1))
    assert "does not match its digest (reject)" in rejected(recorder, given).what
    path.unlink()
    assert "is not in the store (backfill)" in rejected(recorder, given).what
    recorder.store.put_bytes(content)
    admit(recorder, "train", given, now=NOW)
    assert admissions(recorder.store) == [
        (False, ["changed"]), (False, ["absent"]), (True, []),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("on_breach", "response"),
    [(Action.ROLLBACK, "block"), (Action.RETRAIN, "backfill"), (Action.ESCALATE, "block")],
)
def test_data_that_is_older_than_was_promised_teaches_nothing(
    recorder: Recorder, versions: Versions, on_breach: Action, response: str
) -> None:
    """The response is the contract's own; within the limit it is admitted."""
    given = versions(SHORT, at_most("age", 30 * 86_400.0, on_breach))
    admit(recorder, "train", given, now=NOW)
    error = rejected(recorder, given, NOW + timedelta(days=31))
    assert f"at most 30 ({response})" in error.what
    assert error.fix == "fetch newer data, then: headgate optimize headgate.yaml"


def test_data_far_from_its_reference_teaches_nothing(
    recorder: Recorder, versions: Versions
) -> None:
    """Texts that are all longer than those that the endpoint named."""
    reference = recorder.store.put_bytes(rows(60))
    recorder.register("reference/train", reference, kind="dataset", schema=TEXTS)
    drift = at_most("drift", 0.3, Action.ESCALATE)
    error = rejected(recorder, versions(SHORT, drift, reference=reference))
    assert "beyond 0.3; n = 600 (block)" in error.what
    assert admissions(recorder.store) == [(False, ["promise_broken"])]


def test_what_cannot_be_told_teaches_nothing(recorder: Recorder, versions: Versions) -> None:
    """Too few rows to compare: unknown is no pass."""
    reference = recorder.store.put_bytes(rows(1, 100))
    recorder.register("reference/train", reference, kind="dataset", schema=TEXTS)
    drift = at_most("drift", 0.3, Action.ROLLBACK)
    assert "fewer than" in rejected(recorder, versions(SHORT, drift, reference=reference)).what


def test_a_promise_that_only_warns_keeps_nobody_from_learning(
    recorder: Recorder, versions: Versions
) -> None:
    """What was found is on record with the admission."""
    given = versions(SHORT, at_most("age", 86_400.0, Action.WARN))
    admit(recorder, "train", given, now=NOW + timedelta(days=2))
    assert admissions(recorder.store) == [(True, ["promise_broken"])]


def test_every_candidate_says_what_it_learns_from() -> None:
    """And asks it: a student of the training data, static scales of the calibration data."""
    learns_from = {name: CANDIDATES[name].learns_from for name in TRIED_BY_DEFAULT}
    assert {name: roles for name, roles in learns_from.items() if roles} == {
        "int8_static": ("calibrate",),
        "int8_static_qdq": ("calibrate",),
        "student3": ("train",),
        "student3_int8_static": ("train", "calibrate"),
    }


@pytest.mark.parametrize("name", ["student3", "student3_int8_static", "int8_static"])
def test_a_candidate_is_not_made_of_data_that_is_rejected(
    recorder: Recorder, versions: Versions, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It is left out with the reason; nothing was trained or calibrated."""

    def make(name: str, maker: object) -> None:
        raise AssertionError("it was made")

    monkeypatch.setattr(searching, "make_build", make)
    rejected_version = versions(b"not json")["train"]
    trials = trials_of(recorder, {name: Tried(name, forecast(name))})
    trials.job.inputs = SimpleNamespace(  # type: ignore[assignment]  # the job is made up
        versions=dict.fromkeys(("train", "calibrate"), rejected_version)
    )
    (told,) = trials.round(trials.search.ask())
    tried = trials.tried[name]
    assert told.why == tried.skipped
    assert tried.build is None
    role = CANDIDATES[name].learns_from[0]
    assert tried.skipped.startswith(f"nothing is learnt from data.{role}: ")
    (admitted,) = {admitted for admitted, _ in admissions(recorder.store)}
    assert not admitted
