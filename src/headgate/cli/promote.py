"""``headgate promote``: what a decision accepted becomes current."""

from __future__ import annotations

import shlex
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from headgate.cli.checkpoint import refuse_forged, sign
from headgate.cli.options import (
    AsJson,
    FileOption,
    IdArgument,
    StoreOption,
    as_given,
    config_beside,
    open_store,
    yaml_in,
)

if TYPE_CHECKING:
    from headgate.config import EndpointConfig
    from headgate.ledger import Entry, Store
    from headgate.objects import Decision, Release

__all__ = ["promote", "refuse_gaps"]


def promote(
    id: IdArgument, file: FileOption = None, store: StoreOption = None, as_json: AsJson = False
) -> None:
    """Make current what a decision accepted."""
    from headgate.cli.names import variant_name
    from headgate.cli.output import print_json, say, say_follows, stdout, title
    from headgate.objects import short
    from headgate.runtime.index import index_change

    with open_store(file, store) as opened:
        refuse_forged(opened)
        refuse_gaps(file or opened.root.absolute().parent)
        config, named = config_beside(opened, file), as_given(file, store)
        entry, release, already = _promote(opened, id, config, named)
        sign(opened)
        name, change = variant_name(opened, release.variant), index_change(opened, release)
    if as_json:
        told = {"name": name, "already": already, "index_change": change}
        print_json({"entry": entry.id, **entry.body, **told})
        return
    note = f"variant {short(release.variant)}"
    if already:
        at = f"generation {release.generation} of {release.endpoint}"
        stdout().print(title(f"already current: {at}, {name}", note))
        return
    stdout().print(title(f"{release.endpoint} is at generation {release.generation}: {name}", note))
    if change:
        say(change)
    say_follows()


def refuse_gaps(config: Path) -> None:
    """What the endpoint's file leaves open stops a promotion, here as in ``optimize``."""
    from headgate.config import load_config
    from headgate.errors import Refused

    path = yaml_in(config)
    if not path.exists():
        return
    gaps = load_config(path).gaps
    if gaps:
        raise Refused(
            "; ".join(f"{gap.key}: {gap.what}" for gap in gaps),
            where=str(path),
            reason="gaps",
            fix="; ".join(dict.fromkeys(gap.fix for gap in gaps)),
        )


def refuse_edited(store: Store, run: Entry, config: EndpointConfig) -> None:
    """What the endpoint's file says otherwise than the decision of ``run`` was made by stops a
    promotion, as it stops ``gate``."""
    from headgate.errors import Refused
    from headgate.optimize.standing import after_an_edit, edited_since

    if edited := edited_since(store, run, config):
        raise Refused(
            edited,
            where=str(config.path),
            reason="rule_edited",
            fix=after_an_edit(store, run, config),
        )


def _promote(
    store: Store, id: str, config: EndpointConfig | None, named: str
) -> tuple[Entry, Release, bool]:
    """The release, its entry, and whether it was current before: repeating changes nothing.

    ``named`` are the options that name the store.
    """
    from headgate.cli.names import content_of
    from headgate.cli.output import say
    from headgate.cli.progress import Progress
    from headgate.errors import Refused
    from headgate.ledger import hold_release
    from headgate.objects import Release
    from headgate.optimize import recertify
    from headgate.optimize.audit import refuse_unaudited
    from headgate.release import next_release
    from headgate.report.words import with_units
    from headgate.runtime.decisions import accepted_before
    from headgate.runtime.index import with_index
    from headgate.runtime.target import prove_target

    file = shlex.quote(str(config.path)) if config is not None else "headgate.yaml"
    entry, decision = _decision(store, id, config)
    servable = content_of(store, decision.candidate)
    if not isinstance(servable, dict) or "endpoint" not in servable:
        said = ""
        if not decision.accepted:
            said = f", and it is {decision.action}: {with_units(decision.because)}"
        raise Refused(
            f"the decision is about a candidate that was not planned for serving{said}",
            where=id,
            reason="not_servable",
            fix="promote a decision on a variant: a report with a winner names one under its title"
            if decision.accepted
            else f"nothing can be promoted of it; `headgate show {id}{named}` has its numbers",
        )
    endpoint = str(servable["endpoint"])
    history = store.history(endpoint)
    if history and decision.accepted and history[-1][1].variant == decision.candidate:
        _say_changed(store, entry)
        return *history[-1], True
    if history:
        current = history[-1][1]
    else:
        current = Release(
            endpoint,
            0,
            decision.current,
            None,
            "the unoptimized baseline",
            extra=with_index(store, decision.current, None),
        )
    if decision.accepted:
        if config is not None and config.endpoint != endpoint:
            config = None  # that of another endpoint in the same store says nothing of this one
        _refuse_superseded(store, entry, decision, config, file, named)
        if config is not None:
            refuse_edited(store, entry, config)
    release = next_release(
        current,
        replace(decision, because=with_units(decision.because)),  # a refusal says it to people
        endpoint=endpoint,
        variant=decision.candidate,
        expected_generation=current.generation,
        decision_entry=entry.id,
        # Not for a decision that is refused anyway: it takes seconds.
        target_proof=prove_target(store, current.variant, store.root.absolute().parent)
        if decision.accepted and decision.current == current.variant
        else None,
        note=decision.because,
        extra=with_index(store, decision.candidate, current),
        config=file,
        accepted=accepted_before(store, entry),
    )
    with Progress() as progress:
        recertify.require_certificate(
            store, decision.candidate, store.root.absolute().parent, progress
        )
    _say_changed(store, entry)
    for told in refuse_unaudited(store, entry.id, decision, now=datetime.now(UTC)).told:
        say(told.in_passing)
    if not history:  # so that there is always something to roll back to
        hold_release(store, current, expected_generation=None)
    made = hold_release(store, release, expected_generation=current.generation)
    return made, release, False


def _say_changed(store: Store, run: Entry) -> None:
    """What the decision of ``run`` promises otherwise than when the holdout was looked at."""
    from headgate.cli.output import say
    from headgate.optimize.holdout import changed_since_look
    from headgate.report.words import with_units
    from headgate.runtime.decisions import rule_of

    for changed in changed_since_look(store, rule_of(store, run), decided=run.seq):
        say(f"changed after a look at the holdout: {with_units(changed.describe())}")


def _refuse_superseded(
    store: Store,
    run: Entry,
    decision: Decision,
    config: EndpointConfig | None,
    file: str,
    named: str,
) -> None:
    """Of several decisions on the same two the newest counts, as it does for ``gate``."""
    from headgate.errors import Refused
    from headgate.objects import short
    from headgate.report.words import with_units
    from headgate.runtime.decisions import counting, decisions

    pair = (decision.candidate, decision.current)
    about = ((r, d) for r, d in decisions(store) if (d.candidate, d.current) == pair)
    newest, found = next(counting(about) if config else about, (run, decision))
    if newest.id != run.id and not found.accepted:
        raise Refused(
            f"a later decision on the same two is {found.action}: {with_units(found.because)}",
            where=f"decision {short(run.id)}",
            reason="decision_superseded",
            fix=f"`headgate show {short(newest.id)}{named}` has its numbers; "
            f"`headgate optimize {file}` decides anew",
        )


def _decision(store: Store, id: str, config: EndpointConfig | None) -> tuple[Entry, Decision]:
    """The decision with this id, or the newest about the variant with this id."""
    from headgate.cli.names import run_that_made
    from headgate.errors import UsageError
    from headgate.runtime.decisions import counting, decided, decisions, is_decision

    entry = store.get(id)
    run = run_that_made(store, entry)
    if run is not None and is_decision(run):
        return run, decided(store, run)
    if entry.kind == "artifact":
        version = entry.body["version"]
        about = [(run, d) for run, d in decisions(store) if d.candidate == version]
        if about:
            return next(counting(about), about[0]) if config else about[0]
    raise UsageError(
        f"{id} is neither a decision nor a variant that was judged",
        where=str(store.root),
        reason="no_decision",
        fix="take the id from the report of `headgate optimize`",
    )
