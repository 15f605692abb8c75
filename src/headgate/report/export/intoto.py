"""Evidence as in-toto attestations: who made what of what, and whether it kept its promises.

Statement v1 (https://github.com/in-toto/attestation, ``spec/v1``) with two predicates:

- SLSA provenance v1 (https://slsa.dev/spec/v1.0/provenance), one for each step: of
  ``z = T(u; c, e)`` are ``z`` subjects, ``u`` resolved dependencies, ``c`` external and ``e``
  internal parameters;
- test-result v0.1 (``spec/predicates/test-result.md``), one for the decision. It knows no
  *unknown*: what was not shown to be kept has not passed.

Times, numbers and digests are those of the ledger: the same evidence gives the same statements.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from headgate.objects import Action, Axis, Decision, Verdict, short
from headgate.report.export.dossier import Composed, Dossier, Judged, Ran

__all__ = ["PAYLOAD_TYPE", "PROVENANCE", "STATEMENT", "TEST_RESULT", "statements"]

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"

BUILDER = "pkg:pypi/headgate"
"""Who built: the package; whose machine and whose word it was says the key."""
TRANSFORMATION = f"{BUILDER}#transformation/v1"
"""A run: ``externalParameters`` has its name, configuration (with the digest of the code) and seed;
``internalParameters`` the environment, which is a resolved dependency too."""
COMPOSITION = f"{BUILDER}#composition/v1"
"""A registration: ``externalParameters`` has id, kind and schema of what was put together."""

_RESULTS = {Action.ACCEPT: "PASSED", Action.WARN: "WARNED"}
"""Everything else is FAILED: not to know is no pass."""
_LISTS = {Verdict.PASS: "passedTests", Verdict.WARN: "warnedTests"}
_FAILED = "failedTests"

Json = dict[str, Any]


def statements(dossier: Dossier) -> Iterator[Json]:
    """The provenance of every step, then the result of the decision."""
    for step in dossier.steps:
        if isinstance(step, Ran):
            yield _ran(step, dossier.names)
        else:
            yield _composed(step, dossier.names)
    if dossier.judged is not None:
        yield _test_result(dossier.judged, dossier)


def _ran(step: Ran, names: Mapping[str, str]) -> Json:
    run, environment = step.run, step.environment
    definition: Json = {
        "buildType": TRANSFORMATION,
        "externalParameters": {
            "transformation": run.transformation,
            "configuration": run.c,
            "seed": run.seed,
        },
        "resolvedDependencies": _descriptors([*run.u.items(), ("environment", run.e)], names),
    }
    builder: Json = {"id": BUILDER}
    if environment is not None:
        definition["internalParameters"] = {"environment": environment}
        python = {"python": environment["python"]} if "python" in environment else {}
        builder["version"] = {**python, **environment.get("libraries", {})}
    predicate = {
        "buildDefinition": definition,
        "runDetails": {
            "builder": builder,
            "metadata": {
                "invocationId": step.entry,
                "startedOn": run.started_at,
                "finishedOn": run.ended_at,
            },
        },
    }
    made = [(f"{run.transformation}/{name}", version) for name, version in run.z.items()]
    return _statement(made, PROVENANCE, predicate, names)


def _composed(step: Composed, names: Mapping[str, str]) -> Json:
    made = step.artifact
    parts = [(names.get(version, short(version)), version) for version in made.lineage]
    predicate = {
        "buildDefinition": {
            "buildType": COMPOSITION,
            "externalParameters": {"id": made.id, "kind": made.kind, "schema": made.schema},
            "resolvedDependencies": _descriptors(parts, names),
        },
        "runDetails": {
            "builder": {"id": BUILDER},
            "metadata": {"invocationId": step.entry, "finishedOn": step.recorded_at},
        },
    }
    return _statement([(made.id, made.version)], PROVENANCE, predicate, names)


def _test_result(judged: Judged, dossier: Dossier) -> Json:
    """``configuration`` is what the tests were: the rule, the data, and the case with the samples
    that were judged.

    The subject is what was tested and not its files: one of them may be part of another variant,
    which failed. Provenance leads from it to them.
    """
    decision, names = judged.decision, dossier.names
    configuration = [
        ("case", judged.case),
        *([("rule", decision.rule)] if decision.rule is not None else []),
        *(("dataset", version) for version in judged.datasets),
    ]
    predicate: Json = {
        "result": _RESULTS.get(decision.action, "FAILED"),
        "configuration": _descriptors(configuration, names),
        "passedTests": [],
        "warnedTests": [],
        _FAILED: [],
    }
    for name, verdict in _tests(decision):
        predicate[_LISTS.get(verdict, _FAILED)].append(name)
    subject = (names.get(dossier.subject, "candidate"), dossier.subject)
    return _statement([subject], TEST_RESULT, predicate, names)


def _tests(decision: Decision) -> Iterator[tuple[str, Verdict]]:
    """Each contract in words; that each axis has one; and that the decision holds at all, which one
    does not whose rule was edited or whose load test was void."""
    for result in decision.results:
        yield result.contract.describe(), result.verdict
    for axis in Axis:
        yield f"{axis} is judged", _passes(axis not in decision.missing_axes)
    yield "the decision is valid", _passes(decision.action is not Action.INVALID)


def _passes(holds: bool) -> Verdict:
    return Verdict.PASS if holds else Verdict.FAIL


def _statement(
    subjects: Iterable[tuple[str, str]],
    predicate_type: str,
    predicate: Json,
    names: Mapping[str, str],
) -> Json:
    return {
        "_type": STATEMENT,
        "subject": _descriptors(subjects, names),
        "predicateType": predicate_type,
        "predicate": predicate,
    }


def _descriptors(named: Iterable[tuple[str, str]], names: Mapping[str, str]) -> list[Json]:
    """A ``ResourceDescriptor`` for each (name, version); it says the artifact's id too where
    ``name`` is only what it is here."""
    made = []
    for name, version in named:
        descriptor: Json = {"name": name, "digest": {"sha256": version.removeprefix("sha256:")}}
        known = names.get(version, name)
        if known != name:
            descriptor["annotations"] = {"artifact": known}
        made.append(descriptor)
    return made
