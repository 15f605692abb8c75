"""A bundle is what was signed, to the last byte, or it is refused."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.errors import HeadgateError, InputError, Refused, Tampered
from headgate.ledger import Entry, Store, hold, utc_now
from headgate.ledger.archive import packed
from headgate.ledger.dsse import Envelope
from headgate.ledger.signing import SigningKey
from headgate.objects import Artifact, Build, Decision, canonical, digest_bytes, parse
from headgate.optimize import exporting
from headgate.optimize.bundle import Bundle
from headgate.optimize.holdout import spending
from headgate.optimize.job import Job
from headgate.optimize.measure import Behaviour
from headgate.optimize.recorder import Executed, Made, Recorded, Recorder
from headgate.release import Rule, decision_from_json
from headgate.runtime.servable import Servable
from tests.bundles import KEY, Origin, forged, members_of

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Origin:
    return Origin(tmp_path_factory.mktemp("origin"), own=True)


@pytest.fixture(scope="module")
def decision(origin: Origin) -> str:
    return origin.release()


@pytest.fixture(scope="module")
def bundle(origin: Origin, decision: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return origin.export(decision, tmp_path_factory.mktemp("bundle") / "docs.bundle")


def opened(path: Path, key: SigningKey = KEY) -> str:
    """The variant that it holds."""
    with Bundle.open(path, [key.public]) as found:
        return found.contents.candidate


def refusal(path: Path, key: SigningKey = KEY) -> str:
    with pytest.raises(HeadgateError) as caught:
        opened(path, key)
    assert caught.value.fix
    return caught.value.reason


def test_the_same_release_gives_the_same_bytes(
    origin: Origin, decision: str, tmp_path: Path
) -> None:
    """Nothing of when, where or by which process; so a bundle can be compared by its digest."""
    once, again = (origin.export(decision, tmp_path / name) for name in ("once", "again"))
    assert again.read_bytes() == once.read_bytes()


def test_any_tar_lists_it(bundle: Path) -> None:
    """It is an ordinary tar, without dates, with contents under their digests."""
    listed = subprocess.run(["tar", "tvf", bundle], capture_output=True, text=True, check=True)
    lines = listed.stdout.splitlines()
    assert lines[0].endswith(" bundle.json")
    assert lines[-1].endswith(" functions/own.py")
    assert all("root" not in line and " 1970-01-01 " in line for line in lines)
    found = members_of(bundle)
    for name, content in found.items():
        if name.startswith("artifacts/"):
            assert digest_bytes(content) == f"sha256:{name[10:12]}{name[13:]}"


def test_it_holds_what_serving_takes_and_nothing_that_was_learnt_from(bundle: Path) -> None:
    """Both variants with their files, the decision with its samples, the golden set, the terms."""
    with Bundle.open(bundle, [KEY.public]) as found:
        kinds = sorted(found.contents.artifact(v).id for v in found.contents.artifacts)
        assert found.decision.accepted
        assert {p.entry.kind for p in found.contents.evidence.proved} >= {
            "run", "artifact", "audit", "release",
        }  # fmt: skip
    assert kinds == [
        "docs/build/baseline",
        "docs/build/candidate",
        "docs/case/holdout",
        "docs/environment",
        "docs/gate.decide/decision",
        "docs/golden.answers/answers",
        "docs/live",
        "docs/measure/items",
        "docs/model/baseline",
        "docs/model/candidate",
        "docs/tokenizer/candidate",
        "docs/variant/baseline",
        "docs/variant/candidate",
    ]


def test_it_says_how_often_its_holdout_was_looked_at(tmp_path: Path) -> None:
    """For whatever candidate, before it was certified; on other data it says nothing."""
    origin = Origin(tmp_path)
    rule = Rule("docs", "holdout", "sha256:data", (), {}, {}, seed=0)

    def look(on: Rule, candidate: str) -> None:
        with origin.store() as store:
            config = SimpleNamespace(path=tmp_path, holdout_error_budget=0.25)
            recorder = origin.recorder(store)
            job = SimpleNamespace(store=store, recorder=recorder, config=config, looked_at=set())
            about = {"candidate": candidate, "current": origin.baseline}
            spending(cast("Job", job), on, **about).on_start("the first sample", "")

    look(rule, "sha256:refused")
    look(replace(rule, dataset="sha256:other"), "sha256:elsewhere")
    with origin.store() as store:
        candidate = origin.variant(store, "candidate", seed=1)
    look(rule, candidate)
    decision = origin.release()
    look(rule, "sha256:later")
    with Bundle.open(origin.export(decision, tmp_path / "docs.bundle"), [KEY.public]) as found:
        entries = [p.entry for p in found.contents.evidence.proved]
    uses = [e.body for e in entries if e.kind == "holdout_use"]
    assert [(u["candidate"], u["use"]) for u in uses] == [("sha256:refused", 1), (candidate, 2)]


@given(data=st.data())
@settings(max_examples=150)
def test_no_byte_of_it_can_be_changed(bundle: Path, data: st.DataObject) -> None:
    """Headers, padding and all: there is one way to write it, so no change is harmless."""
    content = bytearray(bundle.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    changed = bundle.with_name("changed")
    changed.write_bytes(content)
    assert refusal(changed) in {"tampered", "bundle_malformed", "signer_unknown"}


@given(data=st.data())
@settings(max_examples=40)
def test_it_cannot_be_cut_off_or_go_on(bundle: Path, data: st.DataObject) -> None:
    """A download that broke off, or something that was hung on."""
    content = bundle.read_bytes()
    cut = data.draw(st.integers(0, len(content) - 1))
    more = data.draw(st.binary(min_size=1, max_size=600))
    changed = bundle.with_name("changed")
    for other in (content[:cut], content + more):
        changed.write_bytes(other)
        assert refusal(changed) in {"tampered", "bundle_malformed"}


def test_it_is_believed_by_the_key_that_was_given_alone(bundle: Path) -> None:
    """The file says who signed it, and nobody is asked to believe that."""
    stranger = SigningKey.generate()
    assert refusal(bundle, stranger) == "signer_unknown"
    theirs = forged(bundle, lambda listed: None, key=stranger)
    assert refusal(theirs) == "signer_unknown"
    # Signed by a stranger, over a ledger of ours: whose history it is does not say who packed it.
    assert refusal(theirs, stranger) == "signer_unknown"
    assert opened(forged(bundle, lambda listed: None)) == opened(bundle)


@pytest.mark.parametrize("format", [0, 2, "1", None])
def test_another_format_is_named(bundle: Path, format: object) -> None:
    """What to do depends on which of the two is older."""
    made = forged(bundle, lambda listed: listed.update(format=format))
    with pytest.raises(InputError, match="this Headgate reads format 1") as caught:
        opened(made)
    assert caught.value.reason == "bundle_format"
    assert ("export it again" in str(caught.value)) == (format == 0)


@pytest.mark.parametrize(
    "name",
    [
        "../own.py",
        "/own.py",
        "a/../../own.py",
        "own.sh",
        ".own.py",
        "own.py\n",
        "a//own.py",
        "a\\own.py",
        "o" * 90 + ".py",
        "",
    ],
)
def test_a_file_that_leads_elsewhere_is_refused_whoever_signed_it(bundle: Path, name: str) -> None:
    """Traversal, absolute paths, hidden files, what is no Python."""

    def change(listed: dict[str, Any]) -> None:
        listed["functions"] = {name: listed["functions"]["own.py"]}

    assert refusal(forged(bundle, change)) == "bundle_malformed"


def unlist(listed: dict[str, Any]) -> None:
    listed["artifacts"].popitem()


def overlist(listed: dict[str, Any]) -> None:
    listed["artifacts"]["sha256:" + 64 * "0"] = 4


def grow(listed: dict[str, Any]) -> None:
    listed["artifacts"][listed["candidate"]] += 1


def foreign_evidence(listed: dict[str, Any]) -> None:
    first = listed["evidence"]["entries"][0]
    first["recorded_at"] = "2020-01-01T00:00:00.000000Z"


def edited_entry(listed: dict[str, Any]) -> None:
    for entry in listed["evidence"]["entries"]:
        entry["body"] = entry["body"].replace('"stops":[]', '"stops":["x"]')


def without_the_decision(listed: dict[str, Any]) -> None:
    listed["evidence"]["entries"] = [
        e for e in listed["evidence"]["entries"] if "gate.decide" not in e["body"]
    ]


def about_another(listed: dict[str, Any]) -> None:
    listed["candidate"], listed["current"] = listed["current"], listed["candidate"]


def against_another(listed: dict[str, Any]) -> None:
    listed["current"] = listed["candidate"]


def of_another_endpoint(listed: dict[str, Any]) -> None:
    listed["endpoint"] = "faq"


def audited_by_the_decision(listed: dict[str, Any]) -> None:
    listed["audit"] = listed["decision"]


def golden_by_the_decision(listed: dict[str, Any]) -> None:
    listed["golden"] = listed["decision"]


@pytest.mark.parametrize(
    "change",
    [
        unlist, overlist, grow, foreign_evidence, edited_entry, without_the_decision,
        about_another, against_another, of_another_endpoint, audited_by_the_decision,
        golden_by_the_decision,
    ],
)  # fmt: skip
def test_a_list_that_contradicts_the_file_or_itself_is_refused(
    bundle: Path, change: Change
) -> None:
    """Even where its owner signed it: a key says who, and not that it is so."""
    assert refusal(forged(bundle, change)) == "tampered"


@pytest.mark.parametrize("role", ["candidate", "current", "live"])
def test_what_serving_takes_is_all_there(bundle: Path, role: str) -> None:
    """Neither listed nor there: its owner forgot it, and says so with a signature."""
    gone = ""

    def change(listed: dict[str, Any]) -> None:
        nonlocal gone
        version = listed[role]
        del listed["artifacts"][version]
        gone = f"artifacts/{version[7:9]}/{version[9:]}"

    forged(bundle, change)
    assert refusal(forged(bundle, change, replaced={gone: b""})) == "tampered"


def as_it_is(store: Store, entry: Entry) -> Decision:
    return decision_from_json(parse(store.read(entry.body["z"]["decision"])))


def audited(stops: list[str]) -> Callable[..., None]:
    def audit(store: Store, entry: str, *_: object, **__: object) -> None:
        store.append("audit", {"decision": entry, "stops": stops})

    return audit


def elsewhere(**fields: Any) -> Recorder:
    return Recorder(**{**fields, "environment": "sha256:" + 64 * "e"})


@pytest.fixture
def lax(tmp_path: Path) -> Origin:
    """Whoever exports from here holds the key, and writes what they like."""
    return Origin(tmp_path)


@pytest.mark.parametrize(
    ("name", "replaced", "reason"),
    [
        ("_accepted", as_it_is, "decision_not_accepted"),
        ("refuse_unaudited", audited(["docs/model: made_by"]), "unauditable"),
        ("Recorder", elsewhere, "tampered"),
    ],
)
def test_what_could_not_be_exported_is_not_imported_either(
    lax: Origin, monkeypatch: pytest.MonkeyPatch, name: str, replaced: object, reason: str
) -> None:
    """Each of them looks for itself: a decision that refuses, evidence with a gap, a golden set of
    another machine than the one that judged."""
    with lax.store() as store:
        candidate = lax.variant(store, "candidate", seed=1)
        correct = 0.5 if name == "_accepted" else 1.0
        entry, _ = lax.decide(store, candidate, lax.baseline, correct=correct)
    monkeypatch.setattr(exporting, name, replaced)
    assert refusal(lax.export(entry, lax.root / "made")) == reason


def test_a_golden_set_of_another_build_is_refused(
    lax: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would show that another model runs here as it did there."""
    entry = lax.release()
    answers = exporting.golden_answers

    def of_the_baseline(
        recorder: Recorder, build: Build, behaviour: Behaviour, items: str
    ) -> Recorded:
        other = Servable.load(recorder.store, lax.baseline).build
        return answers(recorder, other, behaviour, items)

    monkeypatch.setattr(exporting, "golden_answers", of_the_baseline)
    assert refusal(lax.export(entry, lax.root / "made")) == "tampered"


@pytest.mark.parametrize(
    ("items", "answers", "said"),
    [
        ([], None, "the golden set has 0 requests and 0 answers"),
        (["a", "b"], [[1.0]], "the golden set has 2 requests and 1 answers"),
        (["a"], {"0": [1.0]}, "are no lists"),
    ],
)
def test_a_golden_set_that_shows_nothing_is_refused(
    lax: Origin, monkeypatch: pytest.MonkeyPatch, items: list[str], answers: object, said: str
) -> None:
    """Every one of no answers is the same."""

    def sample(store: Store, _: Servable) -> str:
        version = store.put_bytes(canonical(items))
        hold(store, Artifact("docs/measure/items", version, "dataset", "json [item]", "search", 4))
        return version

    def execute(recorder: Recorder, what: Any, u: Any, config: Any) -> Executed:
        made = recorder.store.put_bytes(canonical(items if answers is None else answers))
        now = utc_now()
        return Executed({"answers": Made(made, "samples", "json")}, now, now)

    entry = lax.release()
    monkeypatch.setattr(exporting, "_golden_items", sample)
    monkeypatch.setattr(Recorder, "execute", execute)
    made = lax.export(entry, lax.root / "made")
    with pytest.raises(Tampered, match=f"contradicts itself: .*{said}"):
        opened(made)


@pytest.mark.parametrize(
    "live",
    [{"contracts": [{"metric": "latency_p95"}], "price_per_s": 0.0}, {"contracts": []}, [], "x"],
)
def test_promises_that_cannot_be_read_are_refused(
    lax: Origin, monkeypatch: pytest.MonkeyPatch, live: object
) -> None:
    """Before it is current, and not when it is to be watched."""
    entry = lax.release()
    writes = exporting.canonical
    monkeypatch.setattr(exporting, "canonical", lambda _: writes(live))
    assert refusal(lax.export(entry, lax.root / "made")) == "tampered"


def test_what_belongs_to_another_endpoint_is_refused(
    lax: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key of one endpoint says nothing of the newest model of another."""
    entry = lax.release()
    registers = Recorder.register

    def of_the_other(recorder: Recorder, name: str, version: str, **fields: Any) -> str:
        if name == "live":
            recorder = replace(recorder, endpoint="faq")
        return registers(recorder, name, version, **fields)

    monkeypatch.setattr(Recorder, "register", of_the_other)
    made = lax.export(entry, lax.root / "made")
    with pytest.raises(Tampered, match="faq/live is of another endpoint"):
        opened(made)


@pytest.mark.parametrize("key_id", ["\x1b]0;mine\x07", "\ud800", "a\nheadgate: all is well"])
def test_who_says_that_he_signed_it_says_nothing_else(
    bundle: Path, tmp_path: Path, key_id: str
) -> None:
    """It is shown before any signature was found right: no terminal is told what to do."""
    written = json.loads(members_of(bundle)["bundle.json"])
    written["signatures"][0]["keyid"] = key_id
    path = tmp_path / "file"
    path.write_bytes(b"".join(packed(("bundle.json", json.dumps(written).encode()), [])))
    assert refusal(path, SigningKey.generate()) == "bundle_malformed"


@pytest.mark.parametrize(
    "change",
    [
        lambda listed: listed.pop("evidence"),
        lambda listed: listed.pop("golden"),
        lambda listed: listed.update(artifacts=[]),
        lambda listed: listed.update(functions=[]),
        lambda listed: listed.update(artifacts={"sha256:x": 3}),
        lambda listed: listed["artifacts"].update({listed["candidate"]: -1}),
        lambda listed: listed["artifacts"].update({listed["candidate"]: True}),
        lambda listed: listed.update(candidate=5),
        lambda listed: listed["evidence"].update(checkpoint="none"),
        lambda listed: listed["evidence"]["entries"][0].update(proof=["x"]),
        lambda listed: listed["evidence"]["entries"][0].update(body="[]"),
        lambda listed: listed["evidence"].update(growth=[]),
    ],
)
def test_a_list_that_cannot_be_read_is_refused(bundle: Path, change: Change) -> None:
    """As no bundle at all."""
    assert refusal(forged(bundle, change)) == "bundle_malformed"


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    """Nothing, noise, a directory, an envelope of something else."""
    path = tmp_path / "file"
    with pytest.raises(InputError, match="No such file"):
        opened(path)
    for content in (b"", b"\0" * 4096, b"PK\3\4" + b"x" * 4096):
        path.write_bytes(content)
        assert refusal(path) == "bundle_malformed"
    with pytest.raises(InputError):
        opened(tmp_path)


def relisted(bundle: Path, envelope: bytes) -> Path:
    """The bundle with another list in front."""
    content = bundle.read_bytes()
    first = packed(("bundle.json", members_of(bundle)["bundle.json"]), [])
    made = bundle.with_name("relisted")
    made.write_bytes(next(packed(("bundle.json", envelope), [])) + content[len(next(first)) :])
    return made


def test_there_is_one_way_to_sign_a_list(bundle: Path) -> None:
    """As another type, with other spaces, in the name of another key, or twice: all of it is signed
    by the right key, and none of it is what was written."""
    written = members_of(bundle)["bundle.json"]
    genuine = Envelope.parse(written)
    ((name, signature),) = genuine.signatures
    assert opened(relisted(bundle, written)) == opened(bundle)
    for other in (
        bytes(Envelope.signed(KEY, "application/vnd.in-toto+json", genuine.payload)),
        json.dumps(json.loads(written)).encode(),
        bytes(replace(genuine, signatures=(("headgate+00000000", signature),))),
        bytes(replace(genuine, signatures=2 * ((name, signature),))),
    ):
        assert Envelope.parse(other).signed_by(KEY.public)
        assert refusal(relisted(bundle, other)) == "bundle_malformed"


def test_only_what_is_accepted_and_audited_is_exported(origin: Origin, tmp_path: Path) -> None:
    """A refusal says which, and no file is left."""
    with origin.store() as store:
        candidate = origin.variant(store, "worse", seed=7)
        refused, _ = origin.decide(store, candidate, origin.baseline, correct=0.5)
    with pytest.raises(Refused) as caught:
        origin.export(refused, tmp_path / "file")
    assert caught.value.reason == "decision_not_accepted"
    assert list(tmp_path.iterdir()) == []


def test_what_the_model_was_judged_with_must_be_what_travels(tmp_path: Path) -> None:
    """An own function that was edited since is not exported."""
    here = tmp_path / "here"
    here.mkdir()
    origin = Origin(here, own=True)
    entry = origin.release()
    (here / "own.py").write_text("def upper(item):\n    return item\n", encoding="utf-8")
    with pytest.raises(Refused) as caught:
        origin.export(entry, tmp_path / "file")
    assert caught.value.reason == "function_changed"


def test_it_is_exported_where_it_was_judged(
    origin: Origin, decision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The golden set's answers are those of the machine that judged, or of none."""
    from headgate.engines.probe import read_profile

    other = replace(read_profile(), flags=())
    monkeypatch.setattr("headgate.optimize.exporting.read_profile", lambda: other)
    with pytest.raises(Refused) as caught:
        origin.export(decision, tmp_path / "file")
    assert caught.value.reason == "other_machine"


def test_a_damaged_content_is_not_exported(tmp_path: Path) -> None:
    """Nothing is on its way that could not be served here."""
    origin = Origin(tmp_path)
    entry = origin.release()
    with origin.store() as store:
        model = store.path_of(
            json.loads(store.read(origin.baseline))["build"]["files"]["model.onnx"]
        )
    model.chmod(0o644)
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    with pytest.raises(Refused, match="its content does not match its digest"):
        origin.export(entry, tmp_path / "file")
