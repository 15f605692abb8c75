"""``headgate optimize``: the main job."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from headgate.cli.checkpoint import begin, sign
from headgate.cli.options import AsJson, ConfigArgument, StoreOption, open_store, store_root

__all__ = ["optimize"]


def optimize(
    config: ConfigArgument,
    promote: Annotated[
        bool, typer.Option("--promote", help="Make the winner current where it is accepted.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Where report.html and report.json go.", show_default="beside headgate.yaml"
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure times again, even those that are recorded.")
    ] = False,
    store: StoreOption = None,
    as_json: AsJson = False,
) -> int:
    """Find the cheapest way to serve that keeps every contract."""
    from headgate.cli.output import print_json, say, stdout
    from headgate.cli.progress import Progress
    from headgate.config import load_config
    from headgate.optimize import optimize as run_job
    from headgate.report import as_json as report_json
    from headgate.report import print_report

    for gap in load_config(config).gaps:
        if gap.key == "prices.device_second":  # said now, and not after all the work
            say(f"{gap.key} {gap.what}: {gap.fix}.")
    begin(store_root(config, store))
    directory = report or (config if config.is_dir() else config.parent)
    with Progress() as progress:
        result = run_job(
            config,
            store_root=store_root(config, store),
            promote=promote,
            progress=progress,
            report_dir=directory,
            fresh=fresh,
        )
    with open_store(config, store) as opened:
        sign(opened)
    for path in result.paths:
        say(f"written: {path}")
    if as_json:
        print_json(report_json(result.report))
    else:
        print_report(result.report, stdout())
        if shutil.which("headgate") is None:
            say(f"`headgate` is not on your PATH: type {sys.argv[0]} for it.")
    return result.exit_code
