"""What a log shows of a long job."""

from __future__ import annotations

import pytest

from headgate.cli.progress import Progress


def test_a_log_has_a_line_a_step_and_one_each_half_minute_of_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """So that what takes long does not look as if it hung; quick steps say nothing more."""
    now_s = 100.0
    with Progress(clock=lambda: now_s) as progress:
        for at_s, share in ((0.0, None), (29.9, 0.2), (30.0, 0.21), (59.9, 0.4), (60.0, 0.5)):
            now_s = 100.0 + at_s
            if share is None:
                progress.start("distill.student", "student3")
            else:
                progress.update(share, f"step {share * 100:.0f} of 100")
        now_s = 161.0
        progress.start("quantize")
        progress.update(0.0, "quantizing, int8_static")
    assert capsys.readouterr().err.splitlines() == [
        "[   0.0 s] distill.student  student3",
        "[  30.0 s] distill.student  21%  step 21 of 100",
        "[  60.0 s] distill.student  50%  step 50 of 100",
        "[  61.0 s] quantize",
    ]
