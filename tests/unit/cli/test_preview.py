"""preview: what is expected of every candidate, and what finding out would cost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from headgate.cli.preview import _expected
from headgate.ledger import Store
from headgate.optimize import preview as preview_module
from headgate.optimize.forecasts import Figure, Forecast
from headgate.optimize.luck import Luck, Spread
from headgate.optimize.preview import DO_NOT_TRAIN, FOR_SIZE, NO_GAIN, Previewed
from headgate.planning.scorecard import Score
from headgate.theory.intervals import Range

from .conftest import Cli

MIB = 2**20
SEEN = Forecast(
    "int8_static",
    "",
    "2.9x to 3.4x the speed",
    ("scales are calibrated",),
    "sha256:forecast",
    figures={
        "file_bytes": Figure("size", "bytes", Range(22 * MIB, 22 * MIB, 22 * MIB)),
        "memory_bytes": Figure("memory", "bytes", Range(294 * MIB, 250 * MIB, 338 * MIB)),
        "latency_p50": Figure("speed", "times", Range(0.4, 0.36, 0.44)),
        "speedup": Figure("speed", "times", Range(3.1, 2.9, 3.4)),
        "loss of recall@10": Figure("quality", "points", Range(0.004, -0.0061, 0.0142)),
    },
    p50_s=Range(0.004, 0.0036, 0.0044),
    per_s=Range(300.0, 280.0, 320.0),
    meets=0.97,
    n_required=812,
    making_s=5.1,
    scoring_s=12.1,
    advice="try it",
)
SKIPPED = Forecast("int8_dynamic", "batch_invariance forbids it", "", (), "sha256:other")
SCORE = Score("quantization", "quality", 20, 15, 0.509, 0.913)


@pytest.fixture
def found(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> list[Previewed]:
    """What the preview finds; the last of the list."""
    seen = Previewed(
        "docs",
        "USD",
        2e-5,
        (SEEN, SKIPPED),
        (SCORE,),
        {"recall@10": 0.712},
        {"recall@10": "share"},
        1300,
        14.0,
        "",
    )
    every = [seen]

    def run(config: Path, *, store_root: Path, **_: object) -> Previewed:
        with Store.open(store_root, create=True) as store:
            store.append("forecast", {"endpoint": "docs"})
        return every[-1]

    monkeypatch.setattr(preview_module, "preview_endpoint", run)
    monkeypatch.setenv("COLUMNS", "100")
    return every


def test_each_candidate_has_a_row_with_its_intervals(cli: Cli, found: list[Previewed]) -> None:
    """Size, memory, p50, throughput, speed, loss, chance; then what finding out takes."""
    said = cli("preview", ".")
    assert said.code == 0
    row = next(line for line in said.out.splitlines() if "22.0 MiB" in line)
    for part in ("294 MiB", "4.00 ms", "300/s", "2.9 to 3.4x"):
        assert part in row
    row = next(line for line in said.out.splitlines() if "97 %" in line)
    assert "−0.6 to 1.4 %" in row
    cost = next(line for line in said.out.splitlines() if "812" in line)
    for part in ("17.2 s", "0.000344 USD", "try it"):
        assert part in cost
    assert "items needed of 1,300" in said.out
    assert "peak of a process with one engine and no cache" in " ".join(said.out.split())
    assert "batch_invariance forbids it" in said.out
    assert "· scales are calibrated" in said.out


def test_when_the_model_as_it_is_takes_part_is_said_as_the_guide_says_it(
    cli: Cli, found: list[Previewed]
) -> None:
    """An accepted candidate does not keep it out, but one that is cheaper beyond doubt."""
    said = " ".join(cli("preview", ".").out.split())
    assert (
        "Where no accepted candidate is cheaper beyond doubt, `headgate optimize` looks for "
        "batching, instances and a cache that serve it for less." in said
    )


def test_a_preview_that_was_often_wrong_says_so(cli: Cli, found: list[Previewed]) -> None:
    """With what twenty forecasts can tell beside it, and the action for machines."""
    assert "15 of the last 20 intervals held" in cli("preview", ".").out
    body = json.loads(cli("preview", ".", "--json").out)
    (score,) = body["scorecard"]
    assert (score["trusted"], score["action"], score["coverage"]) == (False, "warn", 0.75)
    assert body["forecasts"][0]["figures"]["speedup"]["range"]["low"] == 2.9


def test_nothing_that_could_be_tried_ends_with_3(cli: Cli, found: list[Previewed]) -> None:
    """As a contract that refuses does."""
    own = "recall@10 = 0.7 breaks 0.8"
    found.append(Previewed("docs", "USD", 0.0, (SKIPPED,), (), {}, {}, 1300, 0.0, own))
    said = cli("preview", ".")
    assert said.code == 3
    assert f"It is tried under no other policies: {own}" in said.out
    assert "None has met its truth" in said.out


@pytest.mark.parametrize(("forecasts", "what"), [((SKIPPED,), "is worth trying"), ((), "is named")])
def test_policies_of_the_model_as_it_is_are_worth_trying_alone(
    cli: Cli, found: list[Previewed], forecasts: tuple[Forecast, ...], what: str
) -> None:
    """Whether candidates were ruled out or none was named: `optimize` has something to do."""
    found.append(Previewed("docs", "USD", 0.0, forecasts, (), {}, {}, 1300, 0.0, ""))
    said = cli("preview", ".")
    assert said.code == 0
    assert f"No candidate {what}, but `headgate optimize` looks for batching" in said.out


def test_a_server_that_is_not_ours_has_no_candidates(cli: Cli, found: list[Previewed]) -> None:
    """It says so in place of an empty table."""
    found.append(Previewed("docs", "USD", 0.0, (), (), {}, {}, 1300, 0.0, None))
    said = cli("preview", ".")
    assert said.code == 3
    assert "server that is not ours" in said.out


def test_a_candidate_without_a_pilot_says_what_is_expected(
    cli: Cli, found: list[Previewed]
) -> None:
    """A student's training, in words."""
    student = Forecast("student3", "", "training takes about 90 s", (), "sha256:s")
    found.append(Previewed("docs", "USD", 0.0, (student,), (), {}, {}, 1300, 0.0, ""))
    said = cli("preview", ".")
    assert said.code == 0
    assert "training takes about 90 s" in said.out


def test_what_a_pilot_does_not_tell_of_a_student_is_left_open(
    cli: Cli, found: list[Previewed]
) -> None:
    """Its pilots know what it loses and what its training takes, and neither size nor speed."""
    figures = {
        "training_device_s": Figure("cost", "s", Range(90.0, 70.0, 120.0)),
        "loss of recall@10": Figure("quality", "points", Range(0.03, 0.01, 0.05)),
    }
    student = Forecast(
        "student3", "", "", (), "sha256:s", preview="distillation", figures=figures, meets=0.3
    )
    found.append(Previewed("docs", "USD", 0.0, (SEEN, student), (), {}, {}, 1300, 0.0, ""))
    said = cli("preview", ".")
    assert said.code == 0
    (lost, takes) = (line for line in said.out.splitlines() if line.startswith("student3"))
    assert lost.split()[1:] == ["1.0", "to", "5.0", "%", "30", "%"]
    assert "no n suffices" not in takes


@pytest.mark.parametrize(("skip", "told"), [("", True), ("no chance", False)])
def test_advice_against_a_training_says_whether_it_is_trained_all_the_same(
    cli: Cli, found: list[Previewed], skip: str, told: bool
) -> None:
    """Between a chance of 5 % and of 20 % a student is advised against, and tried if named."""
    figures = {"loss of recall@10": Figure("quality", "points", Range(0.03, 0.01, 0.05))}
    student = Forecast(
        "student3", skip, "", (), "sha256:s", preview="distillation", figures=figures, meets=0.07,
        advice=DO_NOT_TRAIN,
    )  # fmt: skip
    found.append(Previewed("docs", "USD", 0.0, (SEEN, student), (), {}, {}, 1300, 0.0, ""))
    said = " ".join(cli("preview", ".").out.split())
    assert ("trains what is named all the same, unless its chance is at most 5 %" in said) is told


def test_eighty_columns_cut_no_number_short(
    cli: Cli, found: list[Previewed], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the names and however many promises: those that have no room are left out whole."""
    monkeypatch.setenv("COLUMNS", "80")
    losses = {f"loss of {m}@10": SEEN.figures["loss of recall@10"] for m in ("mrr", "ndcg", "far")}
    long = replace(SEEN, name="student3_int8_static_qdq", figures={**SEEN.figures, **losses})
    found.append(replace(found[0], forecasts=(long,)))
    said = cli("preview", ".").out
    for word in ("22.0 MiB", "294 MiB", "4.00 ms", "2.9 to 3.4x", "97 %", "keeps", "try it"):
        assert word in said
    shown = said.count("−0.6 to 1.4 %")
    assert 1 <= shown < len(losses) + 1
    assert said.count("loss of ") == shown


def test_how_much_luck_is_in_a_calibration_is_said_where_it_was_asked_for(
    cli: Cli, found: list[Previewed]
) -> None:
    """Else how to ask."""
    calibrated = replace(SEEN, calibrated=True)
    found.append(replace(found[0], forecasts=(calibrated, SKIPPED)))
    assert "`headgate preview --resamples 3`" in cli("preview", ".").out
    spread = Spread("recall@10", (0.712, 0.719, 0.715))
    luck = Luck("int8_static", 150, 3, (spread,), ("recall@10 varies by 0.1",), "sha256:luck")
    found.append(replace(found[-1], luck=(luck,)))
    said = cli("preview", ".", "--resamples", "3").out
    assert "calibrated 3 times on resamples of 150 items" in " ".join(said.split())
    assert "· recall@10 varies by 0.1" in said
    assert "--resamples 3`" not in said
    found.append(found[0])
    assert "luck" not in cli("preview", ".").out, "nothing is calibrated"
    assert cli("preview", ".", "--resamples", "1").code == 2


def test_the_guide_shows_every_column_of_what_is_expected() -> None:
    guide = Path(__file__).parents[3] / "docs" / "guides" / "smaller-models.md"
    columns = [str(column.header) for column in _expected(()).columns]
    assert "throughput" in columns
    assert columns in [line.split() for line in guide.read_text(encoding="utf-8").splitlines()]


def test_a_metric_of_ones_own_is_shown_in_its_own_unit(cli: Cli, found: list[Previewed]) -> None:
    """An error of 5.533 is no percentage, nor is what of it would be lost."""
    figures = {"loss of error": Figure("quality", "difference", Range(0.2, -0.05, 1.25))}
    own = replace(SEEN, figures={**SEEN.figures, **figures})
    found.append(
        replace(
            found[0],
            forecasts=(own,),
            scores={"error": 5.533, "recall@10": 0.712},
            units={"error": "", "recall@10": "share"},
        )
    )
    said = cli("preview", ".").out
    assert "as it is: error 5.53, recall@10 71.2 %" in said
    assert "−0.05 to 1.25" in said
    assert "553" not in said


def test_a_small_student_that_no_n_would_show_says_so(cli: Cli, found: list[Previewed]) -> None:
    """It is its own pilot, so that more is known of it than of a student of an encoder."""
    own = replace(SEEN, name="mlp", meets=0.1, n_required=None)
    found.append(replace(found[0], forecasts=(own,)))
    assert "no n suffices" in cli("preview", ".").out


def test_a_loss_too_small_for_one_digit_has_more(cli: Cli, found: list[Previewed]) -> None:
    """`0.0 to 0.0 %` would say that nothing is lost, and what is not known is not nothing."""
    small = {"loss of recall@10": Figure("quality", "points", Range(0.0001, -0.0002, 0.0004))}
    found.append(replace(found[0], forecasts=(replace(SEEN, figures={**SEEN.figures, **small}),)))
    said = cli("preview", ".").out
    assert "−0.02 to 0.04 %" in said
    assert "0.0 to 0.0 %" not in said


def test_a_metric_that_says_nothing_is_told_of_before_all_else(
    cli: Cli, found: list[Previewed]
) -> None:
    """Whoever reads on would take the table for the truth."""
    found.append(replace(found[0], silent=("error says nothing of 40 of 40 items",)))
    said = cli("preview", ".").out
    assert said.index("· error says nothing of 40 of 40 items") < said.index("Expected")


@pytest.mark.parametrize(
    ("advice", "meets", "but"),
    [
        (FOR_SIZE, 0.97, "worth it only where a smaller file is what you want"),
        (NO_GAIN, 0.97, "its file is no smaller"),
        (NO_GAIN, 0.3, "its chance to keep its promises is 30 %"),
    ],
)
def test_advice_against_what_is_no_faster_says_by_which_figures(
    cli: Cli, found: list[Previewed], advice: str, meets: float, but: str
) -> None:
    """Those of the table above it."""
    slow = {
        "speedup": Figure("speed", "times", Range(0.42, 0.3, 0.6)),
        "latency_p50": Figure("speed", "times", Range(2.0, 1.25, 2.5)),
    }
    seen = replace(SEEN, figures={**SEEN.figures, **slow}, meets=meets, advice=advice)
    found.append(replace(found[0], forecasts=(seen,)))
    said = " ".join(cli("preview", ".").out.split())
    assert (
        "int8_static: no faster than the model as it is, with 0.3 to 0.6x the speed in batches and "
        f"0.4 to 0.8x alone; {but}."
    ) in said
