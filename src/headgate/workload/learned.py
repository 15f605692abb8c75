"""How long a batch takes here and now: the calibrated curve, corrected by every completion.

A curve is measured once, on a quiet machine; the machine that serves is shared, throttled, warm or
cold. Each term of the curve (a call, an item, a token, a token pair) has a factor of its own that
starts at 1. A completion moves all of them together, since a slow machine is slow at everything,
and beside that each by its term's share of the prediction: small batches correct what a call
costs, large ones what tokens cost, and a shape that was never seen profits from both. The terms
stay non-negative, so the curve stays monotone.

A step is a normalised least-mean-squares step on the logarithm of measured over predicted, the
error cut off as Huber's loss does (Widrow and Hoff, 1960; Huber, 1964).
"""

from __future__ import annotations

import math

from headgate.workload.service import ServiceCurve

__all__ = ["LearnedService"]

_GAIN = 0.1
"""Share of the (logarithmic) error that one completion takes away from its own prediction."""
_LARGEST_ERROR = 0.5
"""Errors count as no more than this, in either direction: one completion, be it off by a factor
of a hundred, moves a prediction by at most exp(0.1 * 0.5), 5 %. A lasting shift to twice the time
is followed to within 5 % in 26 completions."""
_TOGETHER = 1.0
"""How much of a correction is common to all terms: the covariance of the four logarithms is taken
to be the identity plus this much for every pair."""
_FURTHEST = 5.0
"""No factor leaves exp(-5) to exp(5), about 150 either way, whatever was measured."""


class LearnedService:
    """Predicts from ``seed`` until completions say otherwise. A ``ServiceTimeModel``.

    Deterministic: a function of the seed and of what was learned, in order. O(1) a step.

    >>> model = LearnedService(ServiceCurve(fixed_s=1e-3, item_s=0.0, token_s=1e-5, square_s=0.0))
    >>> for _ in range(40):
    ...     model.learn(4, 50, 2 * 3e-3)  # everything takes twice as long today
    >>> round(model.predict_s(4, 50) * 1e3, 1)
    5.9
    """

    def __init__(self, seed: ServiceCurve) -> None:
        self.seed = seed
        self.curve = seed
        """The corrected curve."""
        self.completions = 0
        self._logs = [0.0, 0.0, 0.0, 0.0]  # of the factors of fixed, item, token, square
        self.predict_s = seed.predict_s  # itself, so that asking costs what asking a curve costs

    def learn(self, size: int, longest: int, seconds: float) -> None:
        """``size`` items padded to ``longest`` took ``seconds`` of an engine's time.

        What is no duration (not positive, not finite) is not learned from: clocks do jump.
        """
        predicted_s = self.predict_s(size, longest)
        if not 0.0 < seconds < math.inf or predicted_s <= 0.0:
            return
        seed, logs = self.seed, self._logs
        error = math.log(seconds / predicted_s)
        error = max(-_LARGEST_ERROR, min(_LARGEST_ERROR, error))
        curve = self.curve
        length = curve.padded(longest)
        tokens = size * length
        shares = (
            curve.fixed_s / predicted_s,
            curve.item_s * size / predicted_s,
            curve.token_s * tokens / predicted_s,
            curve.square_s * tokens * length / predicted_s,
        )
        step = _GAIN * error / (_TOGETHER + sum(s * s for s in shares))
        for i, share in enumerate(shares):
            logs[i] = max(-_FURTHEST, min(_FURTHEST, logs[i] + step * (_TOGETHER + share)))
        self.curve = ServiceCurve(
            seed.fixed_s * math.exp(logs[0]),
            seed.item_s * math.exp(logs[1]),
            seed.token_s * math.exp(logs[2]),
            seed.square_s * math.exp(logs[3]),
            seed.length_multiple,
        )
        self.predict_s = self.curve.predict_s
        self.completions += 1
