"""What README and guides tell a reader to type and to write is what Headgate takes."""

from __future__ import annotations

import asyncio
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
import typer
import yaml

from headgate import errors, ledger
from headgate.cli.app import INTERRUPTED, app
from headgate.config import (
    load_config,
    load_labelled,
    load_pairs,
    load_retrieval,
    load_workload,
    metric_kind,
)
from headgate.config.contracts import MetricKind
from headgate.config.schema import EndpointFile
from headgate.distillation import STUDENTS
from headgate.errors import ConfigError
from headgate.ledger import Store
from headgate.objects import FAILURE_QUESTIONS, Action, Axis, Bound, Contract, Release, Verdict
from headgate.optimize.main import exit_code_of
from headgate.planning import TRIED_BY_DEFAULT
from headgate.release import LIVE_METRICS, Breach, Recovery, Terms
from headgate.report.export import FORMATS
from headgate.runtime import Metrics
from headgate.runtime.journal import Journal
from headgate.runtime.receiver import Receiver
from headgate.runtime.responses import Responses, Standing
from headgate.server.openai import EmbeddingsBody
from headgate.server.predict import PredictBody
from headgate.server.rerank import RerankBody
from tests.serving import until

from .reading import ROOT, Page, command_lines, pages

PAGES = {page.name: page for page in pages()}
GUIDES = {Path(name).stem: page for name, page in PAGES.items()}
COMMANDS: dict[str, click.Command] = typer.main.get_command(app).commands  # type: ignore[attr-defined]

TASKS = ("embed", "classify", "predict", "rerank")
EVERY_PAGE = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)


def parsed(words: list[str]) -> None:
    """Reads ``headgate ...`` as the command line does. Raises what it would say."""
    name, *arguments = words
    COMMANDS[name].make_context(name, arguments)


def options(command: click.Command) -> set[str]:
    return {"--help"}.union(*([*p.opts, *p.secondary_opts] for p in command.params))


def shells() -> Iterator[tuple[str, list[str]]]:
    """Every command in a fence for shells, and in the steps of a workflow."""
    for page in PAGES.values():
        steps = [s["run"] for w in workflows(page) for s in steps_of(w) if "run" in s]
        for shell in (*page.fences(""), *steps):
            for words in command_lines(shell):
                yield page.name, words


def workflows(page: Page) -> list[dict[str, Any]]:
    files = [yaml.safe_load(text) for text in page.fences("yaml")]
    return [file for file in files if "jobs" in file]


def steps_of(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_every_command_that_is_shown_can_be_typed() -> None:
    """By the command line's own parser: name, options, their types, and what has to be there."""
    shown = [(page, words) for page, words in shells() if Path(words[0]).name == "headgate"]
    assert len(shown) > 30
    for page, (_, *words) in shown:
        try:
            parsed(words)
        except Exception as error:
            pytest.fail(f"{page}: headgate {' '.join(words)}: {error!r}")


@EVERY_PAGE
def test_every_command_in_a_sentence_is_one(page: Page) -> None:
    """``headgate gate --power``, ``gate --power`` and ``--power`` alone."""
    anything = set().union(*map(options, COMMANDS.values())) | foreign_options()
    for span in page.spans:
        words = next(command_lines(span), [])
        name = words[1:2] if words[:1] == ["headgate"] else words[:1]
        if span.startswith("headgate "):
            assert name[0] in COMMANDS, span
        flags = [word for word in words if word.startswith("--")]
        known = options(COMMANDS[name[0]]) if name and name[0] in COMMANDS else anything
        assert set(flags) <= known, span


def foreign_options() -> set[str]:
    """Of other servers, which a guide may name beside ours; and of our own tool."""
    tool = (ROOT / "tools" / "verify_ledger.py").read_text(encoding="utf-8")
    return set(re.findall(r'"(--\w+)"', tool))


def test_the_other_programs_that_are_shown_are_ours_or_everybodys() -> None:
    """Targets of the Makefile, extras of the package, files of the repository, their options."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    everybodys = {"cp", "curl", "jq", "mkdir", "openssl", "sha256sum", "sqlite3", "test", "tr"}
    everybodys |= {"umask"}
    for page, (program, *words) in shells():
        said = f"{page}: {program} {' '.join(words)}"
        if program == "make":
            targets = [word for word in words if "=" not in word]
            assert all(f"\n{target}: " in makefile for target in targets), said
        elif program.endswith("pip"):
            extras = re.findall(r"\[(\w+)\]", said)
            assert set(extras) <= set(project["optional-dependencies"]), said
        elif program == "python":
            assert (ROOT / words[0]).is_file(), said
            assert {w for w in words if w.startswith("--")} <= foreign_options(), said
        else:
            assert Path(program).name == "headgate" or program in everybodys, said


@EVERY_PAGE
def test_every_module_that_is_named_is_there(page: Page) -> None:
    """``python -m benchmarks.gate``, and ``benchmarks.gate`` alone."""
    for name in re.findall(r"benchmarks\.\w+", " ".join(page.spans)):
        place = ROOT.joinpath(*name.split("."))
        assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file(), name


@EVERY_PAGE
def test_every_request_that_is_shown_is_understood(page: Page) -> None:
    """Its path is served, and its body is what that path takes."""
    bodies = {"/v1/embeddings": EmbeddingsBody, "/rerank": RerankBody, "/predict": PredictBody}
    for shell in page.fences(""):
        for program, *words in command_lines(shell):
            if program == "curl":
                path = re.sub(r"^(http://)?[\w.]+:8000", "", words[0])
                msgspec.json.decode(words[words.index("-d") + 1], type=bodies[path])


BASE = {
    "endpoint": "endpoint: docs-search",
    "owner": 'owner: {team: search, escalate: "command:true"}',
    "task": "task: embed",
    "model": "model: {onnx: model.onnx, tokenizer: tokenizer.json}",
    "data": "data: {evaluate: evaluate.jsonl}",
    "workload": "workload: {log: workload.jsonl}",
}
"""What a part of a headgate.yaml stands in."""


def endpoints(page: Page) -> list[str]:
    """The page's yaml that is of a headgate.yaml, or a part of one."""
    return [text for text in page.fences("yaml") if "\njobs:" not in text]


@EVERY_PAGE
def test_every_yaml_is_a_headgate_yaml_or_a_part_of_one(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the loader of the real file, with every key, unit, bound and reason checked. A whole one
    leaves nothing open that would stop a promotion."""
    monkeypatch.setenv("ONCALL_URL", "https://oncall.example/search")
    for i, text in enumerate(endpoints(page)):
        directory = tmp_path / str(i)
        (directory / "minilm").mkdir(parents=True)
        given = set(re.findall(r"^(\w+):", text, re.MULTILINE))
        base = "\n".join(line for key, line in BASE.items() if key not in given)
        for name in re.findall(r"[\w-]+\.(?:jsonl|json|onnx)", f"{base}\n{text}"):
            (directory / name).touch()
        file = directory / "headgate.yaml"
        file.write_text(f"{base}\n{text}", encoding="utf-8")
        config = load_config(file)
        if "endpoint" in given:
            assert config.gaps == (), text
            assert {c.axis for c in config.contracts} == set(Axis), text


@EVERY_PAGE
def test_every_row_of_data_is_read(page: Page, tmp_path: Path) -> None:
    """By the loader of its task."""
    loaders: dict[str, Callable[[Path], object]] = {
        "embed": load_retrieval,
        "classify": load_labelled,
        "rerank": load_pairs,
        "workload": load_workload,
    }
    for kind, load in loaders.items():
        for text in page.fences(f"jsonl {kind}"):
            file = tmp_path / "rows.jsonl"
            file.write_text(text, encoding="utf-8")
            load(file)


def test_every_fence_is_of_a_kind_that_is_checked() -> None:
    """A misspelt one would be checked by nobody."""
    known = {"", "text", "yaml", "json breach"}
    for page in PAGES.values():
        kinds = set(re.findall(r"^ *```([^\n`]+)$", page.text, re.MULTILINE))
        assert {k for k in kinds if not k.startswith("jsonl ")} <= known, page.name


@EVERY_PAGE
def test_every_link_leads_somewhere(page: Page) -> None:
    """Files of the repository, and headings in them."""
    for link in page.links:
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.path.parent / name).resolve() if name else page.path
        assert target.exists(), link
        assert ROOT in (target, *target.parents), link
        if anchor:
            assert anchor in Page.read(target).anchors, link


def test_the_readme_shows_lines_of_the_whole_output() -> None:
    """In their order, and none of its own."""
    (shown,), (whole, *_) = PAGES["README.md"].fences("text"), GUIDES["first-run"].fences("text")
    lines = iter(whole.splitlines())
    missing = [line for line in shown.splitlines() if line not in lines]
    assert missing == []


def test_the_readme_names_every_command_and_every_guide() -> None:
    """A command is in one row of its table, by what it does."""
    readme = PAGES["README.md"]
    named = [span for row in readme.table("command") for span in re.findall(r"`([^`]+)`", row[0])]
    assert sorted(named) == sorted(COMMANDS)
    guides = {name for name in PAGES if name.startswith("docs/guides/")}
    assert guides <= set(readme.links)
    assert readme.text.count("\n") < 125, "a minute's reading"


def test_every_format_of_exports_is_in_the_table() -> None:
    """And none that is not."""
    assert GUIDES["exporting"].named("format") == set(FORMATS)


def test_every_command_that_signs_the_ledger_is_named() -> None:
    """And none that does not; a server signs by another way, and a bundle as it is packed."""
    commands = (Path(errors.__file__).parent / "cli").glob("*.py")
    sign = re.compile(r"^ +sign\(", re.MULTILINE)
    signing = {
        path.stem.replace("importing", "import")
        for path in commands
        if sign.search(path.read_text())
    }
    said = next(line for line in GUIDES["evidence"].text.splitlines() if "sign the ledger" in line)
    named = re.findall(r"`([^`]+)`", said.partition("sign the ledger")[0])
    assert {*named} == signing | {"export --bundle"}


def test_every_key_of_the_file_is_in_the_table() -> None:
    """And none that is not."""
    assert GUIDES["your-own-model"].named("key") == set(EndpointFile.model_fields)


def test_every_metric_is_in_the_table_on_its_axis() -> None:
    """Of every task, by the table that the file is read with."""
    rows = GUIDES["your-own-model"].table("metric")
    for names, axis, _ in rows:
        for name in re.findall(r"`([^`]+)`", names):
            metric = "worst_slice_recall@10" if name == "worst_slice_" else name
            assert {kind.axis.value for kind in kinds_of(metric)} == {axis}, name
    told = GUIDES["your-own-model"].named("metric") - {"worst_slice_"}
    assert told == set().union(*map(metrics_of, TASKS))


def metrics_of(task: str) -> set[str]:
    """As the error names them to whoever writes another one."""
    with pytest.raises(ConfigError) as error:
        metric_kind("!", task, {})
    named = str(error.value.fix).partition("known here: ")[2].partition(" Your own")[0]
    return {name for name in named.split(", ") if not name.startswith("worst_slice_")}


def kinds_of(metric: str) -> list[MetricKind]:
    """What it is, of each task that has it."""
    found = []
    for task in TASKS:
        try:
            found.append(metric_kind(metric, task, {}))
        except ConfigError:
            continue
    return found


def test_bounds_candidates_and_live_promises_are_those_that_there_are() -> None:
    """Tables of words that the code lists."""
    own = GUIDES["your-own-model"]
    assert own.named("bound") == {bound.value for bound in Bound}
    assert own.named("candidate") == set(TRIED_BY_DEFAULT)
    assert own.named("student") == set(STUDENTS)
    assert GUIDES["acting"].named("promise") == set(LIVE_METRICS)
    acts = {Action.WARN, Action.ROLLBACK, Action.RETRAIN, Action.ESCALATE}
    assert GUIDES["acting"].named("`on_breach`") == acts


def test_verdicts_questions_and_findings_are_those_that_there_are() -> None:
    """The words of a decision, of an audit, and of ``verify``."""
    verdicts = {row[0] for row in GUIDES["gate"].table("verdict")}
    assert verdicts == {verdict.value for verdict in Verdict}
    asked = [row[0].rstrip("?").replace(" ", "_") for row in GUIDES["evidence"].table("question")]
    assert asked == [question.name for question in FAILURE_QUESTIONS]
    source = Path(ledger.__file__).parent
    text = "".join((source / name).read_text() for name in ("verify.py", "sqlite.py", "store.py"))
    reasons = set(re.findall(r'(?:Finding\(|yield )"([a-z_]+)"', text))
    assert GUIDES["evidence"].named("reason") == reasons
    relations = set(re.findall(r"name, '(\w+)',", (source / "gaps.py").read_text()))
    assert GUIDES["evidence"].named("edge") == relations


def test_exit_codes_are_those_of_the_errors_and_the_actions() -> None:
    """Two tables of the gate's guide."""
    named = {int(row[0]) for row in GUIDES["gate"].table("code")}
    ours = [errors.HeadgateError, *errors.HeadgateError.__subclasses__()]
    assert named == {0, INTERRUPTED, *(error.exit_code for error in ours)}
    for _, action, code in GUIDES["gate"].table("when"):
        if action in set(Action):
            assert exit_code_of(Action(action)) == int(code), action


def test_a_workflow_holds_only_what_runs_anywhere() -> None:
    """Public actions by their major version, and no address."""
    (workflow,) = workflows(GUIDES["gate"])
    used = [step["uses"] for step in steps_of(workflow) if "uses" in step]
    assert used
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", action) for action in used)
    assert "://" not in json.dumps(workflow, default=str)


def test_the_webhooks_payload_is_the_one_that_is_sent(tmp_path: Path) -> None:
    """Of a breach that is rolled back: the fields of the guide. Of its end: those that it says."""
    (shown,) = GUIDES["acting"].fences("json breach")
    breach, recovery = told_of_a_rollback(tmp_path)
    assert set(json.loads(shown)) == set(breach)
    only_of_breaches = {"action", "value", "low", "n", "since_s", "requests", "outcome", "said"}
    assert set(breach) - set(recovery) == only_of_breaches
    (row,) = (row for row in GUIDES["acting"].table("field") if row[0] == "`event`")
    assert only_of_breaches <= set(re.findall(r"`([^`]+)`", row[1]))


def told_of_a_rollback(directory: Path) -> list[dict[str, Any]]:
    """What the owner gets, in this order, where generation 1 fails and is taken back."""

    async def scenario(store: Store, owner: Receiver) -> None:
        entry, release = store.history("docs")[1]
        standing = Standing("docs", 1, release.variant, entry.id, None, 0.0, Terms())
        contract = Contract(
            "error_rate", Axis.SAFETY, Bound.AT_MOST, 0.01, "why", Action.ROLLBACK,
            owner.escalation, "it",
        )  # fmt: skip
        journal = Journal(store, Metrics())
        responses = Responses(store, journal, Metrics())
        watch = journal.write("watch", lambda: {"endpoint": "docs"})
        found = (0.5, 0.1, 60, 3.0, ("r1",), "requests that failed: 50 %")
        responses.breach(Breach(contract, 1, Action.ROLLBACK, False, *found), standing, watch)
        await until(lambda: len(owner.got) == 1)
        responses.recovery(Recovery(contract, 2, 0.0, 500, "kept"), standing)
        await until(lambda: len(owner.got) == 2)
        await responses.close()
        await journal.close()

    with Store.open(directory / ".headgate", create=True) as store, Receiver() as owner:
        for generation in range(2):
            variant = store.put_bytes(b"variant %d" % generation)
            expected = generation - 1 if generation else None
            store.promote(Release("docs", generation, variant, None), expected_generation=expected)
        asyncio.run(asyncio.wait_for(scenario(store, owner), 60))
    return owner.got
