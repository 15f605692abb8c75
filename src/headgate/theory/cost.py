"""What a request costs. Knows nothing of currencies or price lists: prices come in."""

from __future__ import annotations

from headgate.theory._domain import require

__all__ = ["cost_per_thousand", "request_cost"]


def request_cost(
    n_in: float,
    n_out: float,
    device_s: float,
    price_in: float,
    price_out: float,
    price_device_s: float,
) -> float:
    """``cost(y) = c_in*n_in + c_out*n_out + c_gpu*T``, in the currency of the prices.

    - ``n_in``, ``n_out``: tokens read and written, ``price_in``, ``price_out``: money a token;
    - ``device_s`` (T): device seconds used, ``price_device_s`` (c_gpu): money a device second.

    All six are finite and at least 0. Which device seconds are meant decides what is shown: those
    that the request's own batches used (attributed), or those of the instances kept (provisioned).

    1,000 tokens in at 3 per million, 500 out at 15 per million, 2 s of a machine at 3.60 an hour:

    >>> request_cost(1_000, 500, 2.0, 3e-6, 15e-6, 3.60 / 3600)
    0.0125
    """
    factors = (n_in, n_out, device_s, price_in, price_out, price_device_s)
    require(
        all(0 <= x < float("inf") for x in factors),
        f"tokens, seconds and prices are finite and at least 0, got {factors}",
    )
    return price_in * n_in + price_out * n_out + price_device_s * device_s


def cost_per_thousand(device_s: float, requests: int, price_device_s: float) -> float:
    """``1000 * c_gpu*T / N``: money for a thousand requests that together took ``device_s``.

    >>> cost_per_thousand(device_s=50.0, requests=10_000, price_device_s=0.00002)
    0.0001
    """
    require(requests >= 1, f"a cost per request needs at least one request, got {requests}")
    return 1000 * request_cost(0, 0, device_s, 0, 0, price_device_s) / requests
