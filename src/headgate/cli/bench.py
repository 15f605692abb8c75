"""``headgate bench``: open-loop load on an endpoint, with a verdict on the load itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headgate.cli.options import AsJson

if TYPE_CHECKING:
    from headgate.loadtest import LoadResult, Segment

__all__ = ["bench"]

VOID = 4
_QUANTILES = (0.5, 0.9, 0.95, 0.99)


def bench(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="http(s)://host:port, with a path that ends in / or /v1 where routes begin there, "
            "or with the route to post to.",
        ),
    ],
    workload: Annotated[
        Path,
        typer.Argument(metavar="WORKLOAD", help="JSON lines: at_s, and text, input or body."),
    ],
    rate: Annotated[
        float | None,
        typer.Option(help="Poisson arrivals at this rate instead of the log's own times."),
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Stop after this long.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="The model's name in requests.", show_default="the first that it has"),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'NAME: VALUE'",
            help="A header of every request; ${NAME} in it is read from the environment. May be "
            "repeated.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the arrivals.")] = 0,
    as_json: AsJson = False,
) -> int:
    """Put open-loop load on an endpoint, and judge the load itself."""
    from headgate import amounts
    from headgate.cli.output import print_json
    from headgate.cli.progress import Progress
    from headgate.loadtest import run_load

    segment = _segment(
        url,
        workload,
        rate=rate,
        seconds=seconds,
        model=model,
        headers=_headers(header or []),
        seed=seed,
    )
    with Progress() as progress:
        span_s = float(segment.at_s[-1])
        progress.start("load", f"{len(segment.bodies):,} requests in {amounts.seconds(span_s)}")
        (result,) = run_load([segment])
    verdict = result.verdict()
    if as_json:
        print_json(_summary(result))
    else:
        _print(result, segment.target.url)
    return VOID if verdict.void or not result.answered else 0


def _segment(
    url: str,
    workload: Path,
    *,
    rate: float | None,
    seconds: float | None,
    model: str | None,
    seed: int,
    headers: Mapping[str, str] | None = None,
) -> Segment:
    from headgate.cli.requests import requests_of
    from headgate.errors import UsageError
    from headgate.loadtest import Segment, poisson_times

    target, at_s, bodies = requests_of(url, workload, model=model, headers=headers)
    if rate is not None:
        if rate <= 0:
            raise UsageError("must be above 0", where="--rate", fix="give requests per second")
        span_s = seconds if seconds is not None else len(bodies) / rate
        at_s = poisson_times(rate, span_s, seed=seed)
        bodies = [bodies[i % len(bodies)] for i in range(len(at_s))]
    elif seconds is not None:
        bodies = bodies[: int((at_s < seconds).sum())]
        at_s = at_s[: len(bodies)]
    if not bodies:
        raise UsageError(
            "leaves no request", where="--seconds", fix="give a longer time or a higher rate"
        )
    return Segment(target, at_s, bodies)


def _headers(lines: Sequence[str]) -> dict[str, str]:
    """``NAME: VALUE`` lines as they are written. Raises ``UsageError``."""
    from headgate.errors import UsageError

    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip() or not value.strip():
            raise UsageError(
                "is no header",
                where="--header",
                fix="write --header 'Authorization: Bearer ${TOKEN}'",
            )
        headers[name.strip()] = value.strip()
    return headers


def _summary(result: LoadResult) -> dict[str, object]:
    verdict = result.verdict()
    statuses, sources = _counts(result)
    return {
        # A load that nobody answered kept to its schedule, and measured nothing all the same.
        "verdict": "VOID" if verdict.void or not result.answered else "valid",
        "requests": result.n,
        "answered": result.answered,
        "failed": result.failed,
        "statuses": statuses,
        "sources": sources,
        "rate_per_s": result.rate_per_s,
        "latency_s": {f"p{q * 100:g}": result.quantile_s(q) for q in _QUANTILES},
        "generator": {**_fields(verdict), "cpu_s": result.generator_cpu_s},
    }


def _fields(value: object) -> dict[str, object]:
    from headgate.objects import jsonable

    fields: dict[str, object] = jsonable(value)
    return fields


def _counts(result: LoadResult) -> tuple[dict[str, int], dict[str, int]]:
    from collections import Counter

    words = {-1: "timed out", -2: "connection lost", -3: "never sent"}
    statuses = Counter(words.get(int(s), str(s)) for s in result.statuses)
    sources = Counter(s for s in result.sources if s is not None)
    return dict(statuses.most_common()), dict(sources.most_common())


def _print(result: LoadResult, url: str) -> None:
    from headgate import amounts
    from headgate.cli.output import facts, stdout, title
    from headgate.report import words

    verdict = result.verdict()
    statuses, sources = _counts(result)

    def counted(counts: dict[str, int]) -> str:
        return ", ".join(f"{n:,} {name}" for name, n in counts.items()) or "–"

    console = stdout()
    console.print(title(url, f"{result.n:,} requests, open loop"))
    console.print(
        facts(
            [
                ("answered", f"{result.answered:,} ({result.rate_per_s:.1f}/s)"),
                ("failed", f"{result.failed:,}, counted as infinitely slow"),
                ("statuses", counted(statuses)),
                ("sources", counted(sources)),
                *(
                    (f"latency p{q * 100:g}", amounts.seconds(result.quantile_s(q)))
                    for q in _QUANTILES
                ),
                (
                    "load",
                    f"{verdict.achieved_rate_per_s:.1f}/s of {verdict.scheduled_rate_per_s:.1f}/s "
                    f"scheduled; p99 left {amounts.seconds(verdict.lag_p99_s)} late, "
                    f"limit {amounts.seconds(verdict.lag_limit_s)}",
                ),
            ]
        )
    )
    console.print()
    if not result.answered:
        console.print(title(f"VOID: nothing was answered ({counted(statuses)})."))
        console.print(f"Check that {url} is served, its path, and --model.", soft_wrap=True)
    elif verdict.void:
        console.print(title("VOID: this measured nothing."))
        for reason in verdict.broken:
            console.print(f"· {words.with_units(reason)}")
        console.print("Lower the rate, or run the load on a machine of its own.")
    else:
        console.print(title("The load was what was asked for: the numbers count."))
