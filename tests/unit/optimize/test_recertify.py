"""On other kernels than it is certified on a build answers for itself, or is not served."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate.cli.certified import certifier
from headgate.engines.probe import read_profile
from headgate.errors import HeadgateError, Refused, Undecided
from headgate.ledger import Store
from headgate.objects import BatchInvariance, HardwareProfile
from headgate.optimize import golden, recertify
from headgate.optimize.answers import Answerer
from headgate.optimize.certificate import Issued
from headgate.quantization.certificate import Golden
from headgate.runtime.certified import Standing, standing
from headgate.runtime.servable import Servable
from headgate.workload import Engine, Tensors
from tests.bundles import TEXTS, Origin
from tests.certificates import certify

HERE = read_profile()
ELSEWHERE = replace(HERE, flags=("i8mm",))
UPGRADED = replace(HERE, libraries={**HERE.libraries, "onnxruntime": "9.0"})


@dataclass
class Endpoint:
    """A store whose one release is certified here."""

    store: Store
    root: Path
    variant: str
    issued: Issued

    @property
    def servable(self) -> Servable:
        return Servable.load(self.store, self.variant)

    def standing(self, machine: HardwareProfile) -> Standing:
        return standing(self.store, self.servable.build, machine)

    def recertify(self, machine: HardwareProfile) -> Issued:
        found = self.standing(machine)
        return recertify.recertify(
            self.store, self.servable, self.variant, found, machine, root=self.root
        )

    def refusal(self, machine: HardwareProfile) -> HeadgateError:
        with pytest.raises(HeadgateError) as caught:
            self.recertify(machine)
        assert caught.value.fix
        return caught.value


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Origin:
    made = Origin(tmp_path_factory.mktemp("origin"))
    made.release()
    return made


@pytest.fixture
def endpoint(origin: Origin, tmp_path: Path) -> Iterator[Endpoint]:
    """Issued as ``optimize`` issues it, from a copy of one store."""
    shutil.copytree(origin.root / ".headgate", tmp_path / ".headgate")
    with Store.open(tmp_path / ".headgate") as store:
        current = store.current("docs")
        assert current is not None
        issued = certify(store, current.variant, TEXTS, decision=current.decision)
        yield Endpoint(store, tmp_path, current.variant, issued)


@dataclass
class OtherKernels:
    """The engine of another machine: one component of each answer is off."""

    engine: Engine
    by: float

    def run(self, tensors: Tensors) -> NDArray[np.generic]:
        answers = np.array(self.engine.run(tensors))
        answers[:, 0] += self.by
        return answers

    def close(self) -> None:
        self.engine.close()


def disturbed(monkeypatch: pytest.MonkeyPatch, by: float) -> None:
    opens = golden.open_answerer

    def open_answerer(*args: Any, **options: Any) -> Answerer:
        opened = opens(*args, **options)
        opened.engine = OtherKernels(opened.engine, by)
        return opened

    monkeypatch.setattr(golden, "open_answerer", open_answerer)


def entries(store: Store) -> int:
    return len(list(store.entries()))


def test_where_it_is_certified_nothing_is_asked_of_it(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No model is loaded and nothing is recorded, by `serve` or by `promote`."""

    def never(*args: object, **options: object) -> None:
        raise AssertionError("it was certified again")

    monkeypatch.setattr(recertify, "recertify", never)
    before = entries(endpoint.store)
    assert endpoint.standing(HERE).holds
    certifier(endpoint.store, endpoint.root)(endpoint.servable, endpoint.variant)
    told = _Told()
    recertify.require_certificate(endpoint.store, endpoint.variant, endpoint.root, told)
    assert (entries(endpoint.store), told.steps) == (before, [])


@pytest.mark.parametrize("machine", [ELSEWHERE, UPGRADED])
def test_on_other_kernels_it_answers_the_golden_set_once(
    endpoint: Endpoint, machine: HardwareProfile
) -> None:
    """The certificate that it gets there claims no speed, and holds from then on; that of the
    machine that judged it goes on to hold there."""
    assert not endpoint.standing(machine).holds
    gaps = set(endpoint.store.gaps())
    again = endpoint.recertify(machine).certificate
    assert again.speed is None
    assert again.first == endpoint.issued.version
    assert again.golden == endpoint.issued.certificate.golden
    assert again.batch_invariance in (BatchInvariance.EXACT, BatchInvariance.EPSILON)
    assert endpoint.standing(machine).holds
    assert endpoint.standing(HERE).version == endpoint.issued.version
    shown = endpoint.store.latest("requalification")
    assert shown is not None
    assert (shown.body["verdict"], shown.body["certificate"]) == ("pass", endpoint.issued.version)
    assert [endpoint.store.get(m).body["metric"] for m in again.rests_on] == [
        "golden_agreement",
        "batch_invariance",
    ]
    assert endpoint.store.verify().ok
    assert set(endpoint.store.gaps()) <= gaps


def test_a_machine_that_answers_otherwise_is_refused(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 3 and the command to type; what was found is on record, and no certificate."""
    disturbed(monkeypatch, 0.3)
    error = endpoint.refusal(ELSEWHERE)
    assert (type(error), error.reason, error.exit_code) == (Refused, "not_requalified", 3)
    assert "12 of 12 answers are others than were judged" in error.what
    assert "flags." in str(error.where)
    assert "headgate optimize headgate.yaml" in str(error.fix)
    shown = endpoint.store.latest("requalification")
    assert shown is not None
    assert shown.body["verdict"] == "fail"
    assert not endpoint.standing(ELSEWHERE).holds
    assert endpoint.store.verify().ok


def test_small_steps_do_not_add_up_to_another_answer(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each machine is held against the one that judged it, not against the one before."""
    disturbed(monkeypatch, 0.02)
    second = endpoint.recertify(ELSEWHERE).certificate
    monkeypatch.undo()
    disturbed(monkeypatch, 0.3)
    third = replace(HERE, flags=("i8mm", "sve"))
    assert endpoint.refusal(third).reason == "not_requalified"
    assert second.golden == endpoint.issued.certificate.golden


def test_two_minutes_that_do_not_tell_are_no_acceptance(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 4, and it may be tried again."""
    monkeypatch.setattr(golden, "LIMIT_S", -1.0)
    error = endpoint.refusal(ELSEWHERE)
    assert (type(error), error.exit_code) == (Undecided, 4)
    assert not endpoint.standing(ELSEWHERE).holds


def test_an_empty_golden_set_shows_nothing(endpoint: Endpoint) -> None:
    """None of no answers is another: a gate that passes since there are no data would be no gate.
    Certified anew, or with a certificate that says so, it is not known."""
    store = endpoint.store
    with pytest.raises(Undecided, match="has no request") as caught:
        certify(store, endpoint.variant, [])
    assert (caught.value.reason, caught.value.exit_code) == ("no_golden_set", 4)
    nothing = store.put_bytes(b"[]")
    certificate = replace(endpoint.issued.certificate, golden=Golden(nothing, nothing))
    found = Standing(certificate, endpoint.issued.version, endpoint.standing(ELSEWHERE).differs)
    with pytest.raises(Undecided, match="its golden set is empty"):
        recertify.recertify(
            store, endpoint.servable, endpoint.variant, found, ELSEWHERE, root=endpoint.root
        )
    assert not endpoint.standing(ELSEWHERE).holds


def test_what_was_never_certified_is_not_promoted(origin: Origin, tmp_path: Path) -> None:
    """A server says so, and serves it: who released it did so by other means."""
    with origin.store() as store:
        with pytest.raises(Refused) as caught:
            recertify.require_certificate(store, origin.baseline, tmp_path, _Told())
        assert caught.value.reason == "not_certified"
        assert standing(store, Servable.load(store, origin.baseline).build, HERE) == Standing(None)


def test_a_server_tells_what_it_does_before_it_serves(
    endpoint: Endpoint, origin: Origin, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Certifying takes its time, and the reason stands beside it."""
    monkeypatch.setattr("headgate.engines.probe.read_profile", lambda **options: UPGRADED)
    with caplog.at_level(logging.INFO, "headgate.server"):
        before_loading = certifier(endpoint.store, endpoint.root)
        before_loading(endpoint.servable, endpoint.variant)
        before_loading(endpoint.servable, endpoint.variant)
        before_loading(Servable.load(endpoint.store, origin.baseline), origin.baseline)
    said = [(r.levelname, r.fields["event"]) for r in caplog.records]  # type: ignore[attr-defined]
    assert said == [("INFO", "certifying"), ("WARNING", "not_certified")]
    assert "libraries.onnxruntime is 9.0, not" in caplog.records[0].getMessage()


class _Told:
    """Progress, kept."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def start(self, name: str, detail: str = "") -> None:
        self.steps.append(name)

    def update(self, share: float, detail: str = "") -> None: ...
