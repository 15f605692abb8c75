"""What is missing from the evidence: one query over the ledger as a graph.

Nodes are artifacts (by version), runs, measurements and releases (by entry); their edges have
names. A *gap* is an edge that has to be there and is not. Whether entries are what was written is
another question, which ``headgate.ledger.verify`` answers.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from headgate.errors import Tampered
from headgate.ledger.log import Log
from headgate.objects import STANDARDS, short

__all__ = ["Gap", "find_evidence", "find_gaps", "find_objects"]


@dataclass(frozen=True, slots=True)
class Gap:
    """An edge of the evidence that is missing."""

    object: str
    """What it is missing from, as people call it: ``docs/model``, ``run quantize.int8_static``."""
    id: str
    """Its artifact version, or its entry."""
    edge: str
    """The name of the edge, one of the query's."""
    what: str
    """What the edge should lead to, and why it does not."""
    fix: str
    """The command that brings it."""


_OUTSIDE = json.dumps([kind for kind, standard in STANDARDS.items() if standard.from_outside])
"""Kinds of artifacts that need not be made of anything."""

# An edge leads to an artifact, to an entry, or to a word that has to be there (an owner, a seed).
# Where it should be and nothing is said, its source is NULL.
_GRAPH = """
WITH RECURSIVE
artifact AS MATERIALIZED (
    SELECT max(seq) AS newest,
        json_extract(body, '$.version') AS version, json_extract(body, '$.id') AS name,
        json_extract(body, '$.kind') AS kind, json_extract(body, '$.owner') AS owner,
        json_extract(body, '$.schema') AS content, json_extract(body, '$.standard') AS standard,
        json_extract(body, '$.made_by') AS made_by, json_extract(body, '$.lineage') AS lineage
    FROM entries WHERE kind = 'artifact' GROUP BY json_extract(body, '$.version')
),
run AS (
    SELECT id, 'run ' || json_extract(body, '$.transformation') AS name, body,
        json_extract(body, '$.owner') AS owner, json_extract(body, '$.standard') AS standard
    FROM entries WHERE kind = 'run'
),
measurement AS (
    SELECT id, json_extract(body, '$.metric') || ', measured' AS name, body,
        json_extract(body, '$.artifact') AS artifact
    FROM entries WHERE kind = 'measurement'
),
release AS (
    SELECT id, 'generation ' || json_extract(body, '$.generation') || ' of '
        || json_extract(body, '$.endpoint') AS name, body,
        json_extract(body, '$.variant') AS variant,
        json_extract(body, '$.owner') AS owner, json_extract(body, '$.standard') AS standard,
        -- Generation 0 is what there was; what a rollback restores was decided before.
        json_extract(body, '$.generation') > 0
        AND json_extract(body, '$.extra.restores') IS NULL AS decided
    FROM entries WHERE kind = 'release'
),
edge (product, name, relation, source, leads_to) AS (
    SELECT version, name, 'owned_by', nullif(owner, ''), 'word' FROM artifact
    UNION ALL SELECT version, name, 'described_by', nullif(content, ''), 'word' FROM artifact
    UNION ALL SELECT version, name, 'held_to', standard, 'artifact' FROM artifact
    UNION ALL SELECT version, name, 'made_by', made_by, 'entry' FROM artifact
        WHERE made_by IS NOT NULL
        OR (lineage = '[]' AND kind NOT IN (SELECT value FROM json_each(:outside)))
    UNION ALL SELECT version, name, 'derived_from', value, 'artifact'
        FROM artifact, json_each(lineage)
    UNION ALL SELECT id, name, 'owned_by', nullif(owner, ''), 'word' FROM run
    UNION ALL SELECT id, name, 'held_to', standard, 'artifact' FROM run
    UNION ALL SELECT id, name, 'ran', json_extract(body, '$.c.code'), 'word' FROM run
    UNION ALL SELECT id, name, 'ran_in', json_extract(body, '$.e'), 'artifact' FROM run
    UNION ALL SELECT run.id, name, 'used', value, 'artifact' FROM run, json_each(body, '$.u')
    UNION ALL SELECT run.id, name, 'made', value, 'artifact' FROM run, json_each(body, '$.z')
    UNION ALL SELECT id, name, 'measures', artifact, 'artifact' FROM measurement
    UNION ALL SELECT id, name, 'measured_on', json_extract(body, '$.dataset'), 'artifact'
        FROM measurement
    UNION ALL SELECT id, name, 'sampled_in', json_extract(body, '$.samples'), 'artifact'
        FROM measurement
    UNION ALL SELECT id, name, 'taken_by', json_extract(body, '$.run'), 'entry' FROM measurement
    UNION ALL SELECT id, name, 'compared_with', json_extract(body, '$.current_run'), 'entry'
        FROM measurement WHERE json_extract(body, '$.current_run') IS NOT NULL
    UNION ALL SELECT id, name, 'seeded_with', json_extract(body, '$.seed'), 'word'
        FROM measurement
    UNION ALL SELECT id, name, 'owned_by', nullif(owner, ''), 'word' FROM release
    UNION ALL SELECT id, name, 'held_to', standard, 'artifact' FROM release
    UNION ALL SELECT id, name, 'serves', variant, 'artifact' FROM release
    UNION ALL SELECT id, name, 'decided_by', json_extract(body, '$.decision'), 'entry'
        FROM release WHERE decided
    UNION ALL SELECT release.id, release.name, 'measured_by', measurement.id, 'entry'
        FROM release LEFT JOIN measurement ON measurement.artifact = variant WHERE decided
),
wanted (node) AS (
    SELECT value FROM json_each(:starts)
    UNION
    SELECT source FROM wanted JOIN edge ON product = node
        WHERE leads_to <> 'word' AND source IS NOT NULL
)
"""

_GAPS = (
    _GRAPH
    + """
SELECT DISTINCT edge.name, product, relation, source
FROM edge
LEFT JOIN artifact ON leads_to = 'artifact' AND version = source
LEFT JOIN entries ON leads_to = 'entry' AND entries.id = source
WHERE (source IS NULL OR (leads_to <> 'word' AND version IS NULL AND entries.id IS NULL))
    AND (:everything OR product IN (SELECT node FROM wanted))
ORDER BY edge.name, relation
"""
)
_OBJECTS = _GRAPH + "SELECT version FROM artifact JOIN wanted ON node = version ORDER BY newest"
_EVIDENCE = (
    _GRAPH
    + """
SELECT entries.id FROM entries
LEFT JOIN artifact ON newest = seq
WHERE entries.id IN (SELECT node FROM wanted) OR version IN (SELECT node FROM wanted)
ORDER BY seq
"""
)

_WHAT = {
    "owned_by": "nobody owns it",
    "described_by": "it has no schema",
    "held_to": "it is held to no metric, contract and failure note",
    "made_by": "nothing says what it was made by or from",
    "ran": "the digest of its code is not recorded",
    "ran_in": "its environment is not recorded",
    "measures": "it names no artifact that was measured",
    "measured_on": "it names no data set",
    "sampled_in": "it names no samples",
    "taken_by": "it names no run",
    "seeded_with": "it names no seed",
    "serves": "it names no variant",
    "decided_by": "it names no decision",
    "measured_by": "no measurement is about its variant",
}
"""Edge -> what is said where nothing stands at its end."""

_OPTIMIZE = "headgate optimize headgate.yaml"
_FRESH = "headgate optimize --fresh headgate.yaml"
_FIXES = {
    "owned_by": f"write owner.team in headgate.yaml, then: {_OPTIMIZE}",
    "described_by": _OPTIMIZE,
    "held_to": _OPTIMIZE,
    "derived_from": _OPTIMIZE,
    "used": _OPTIMIZE,
    "ran_in": _OPTIMIZE,
    "serves": "headgate optimize --promote headgate.yaml",
    "decided_by": "headgate optimize --promote headgate.yaml",
    "measured_by": "headgate optimize --promote headgate.yaml",
}
"""Edge -> the command that brings it; any other is brought by measuring again."""


def find_gaps(log: Log, starts: Sequence[str] | None = None) -> tuple[Gap, ...]:
    """Every missing edge of ``starts`` and of all that they stand on; None is the whole ledger.

    ``starts`` are artifact versions and entry ids.
    """
    rows = _ask(log, _GAPS, starts)
    return tuple(
        Gap(
            name,
            product,
            relation,
            _WHAT[relation] if source is None else f"{short(str(source))} is not recorded here",
            _FIXES.get(relation, _FRESH),
        )
        for name, product, relation, source in rows
    )


def find_objects(log: Log, starts: Sequence[str]) -> tuple[str, ...]:
    """The versions of all artifacts that ``starts`` stand on, theirs among them, oldest first."""
    return tuple(version for (version,) in _ask(log, _OBJECTS, starts))


def find_evidence(log: Log, starts: Sequence[str]) -> tuple[str, ...]:
    """The ids of the entries of all that ``starts`` stand on, theirs among them, oldest first."""
    return tuple(id_ for (id_,) in _ask(log, _EVIDENCE, starts))


def _ask(log: Log, query: str, starts: Sequence[str] | None) -> list[tuple[str, ...]]:
    values = {"starts": json.dumps(list(starts or ())), "outside": _OUTSIDE}
    rows = ((r.seq, r.id, r.kind, r.body.decode("utf-8", "replace")) for r in log.rows())
    # In a table of its own, so that the query is the same whichever database holds the entries.
    with contextlib.closing(sqlite3.connect(":memory:")) as graph:
        graph.execute("CREATE TABLE entries (seq INTEGER PRIMARY KEY, id UNIQUE, kind, body)")
        graph.executemany("INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?)", rows)
        try:
            return graph.execute(query, {**values, "everything": starts is None}).fetchall()
        except sqlite3.OperationalError as error:  # a body that is no JSON any more
            raise Tampered(
                f"the ledger cannot be read as a graph: {error}",
                where="ledger",
                fix="restore it from a backup; `headgate verify` lists what is damaged",
            ) from error
