"""What a run of the main job looks like to a person: terminal tables, report.html, report.json.

Knows nothing of how anything was measured: it shows values of ``report.model``.
"""

from headgate.report import words
from headgate.report.html import render_html
from headgate.report.model import (
    Candidate,
    ContractRow,
    Curve,
    Distribution,
    Expectation,
    Figure,
    Learning,
    PowerRow,
    Prediction,
    Report,
    Saving,
    Share,
    Step,
    as_json,
)
from headgate.report.terminal import COLOURS, print_report

__all__ = [
    "COLOURS",
    "Candidate",
    "ContractRow",
    "Curve",
    "Distribution",
    "Expectation",
    "Figure",
    "Learning",
    "PowerRow",
    "Prediction",
    "Report",
    "Saving",
    "Share",
    "Step",
    "as_json",
    "print_report",
    "render_html",
    "words",
]
