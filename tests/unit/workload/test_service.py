"""Service-time curves."""

from __future__ import annotations

import pytest

from headgate.workload import CurvePoint, ServiceCurve


def test_a_build_that_pads_pays_for_what_it_pads() -> None:
    """Five tokens cost as much as eight where lengths are multiples of four, at every size."""
    curve = ServiceCurve(1e-3, 1e-4, 1e-5, 1e-7, length_multiple=4)
    assert curve.predict_s(3, 5) == curve.predict_s(3, 8) > curve.predict_s(3, 4)
    assert ServiceCurve(1e-3, 1e-4, 1e-5, 1e-7).predict_s(3, 5) < curve.predict_s(3, 5)


def test_the_fit_takes_points_for_what_was_computed() -> None:
    """A point measured on seven tokens was eight tokens' work."""
    truth = ServiceCurve(2e-3, 1e-4, 3e-5, 2e-7, length_multiple=4)
    points = [
        CurvePoint(n, length, truth.predict_s(n, length))
        for n in (1, 4, 16)
        for length in (3, 7, 17, 40)
    ]
    fitted = ServiceCurve.fit(points, length_multiple=4)
    assert fitted.length_multiple == 4
    assert fitted.predict_s(8, 21) == pytest.approx(truth.predict_s(8, 24), rel=1e-6)
