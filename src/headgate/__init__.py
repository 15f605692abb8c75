"""Headgate: the cheapest way to serve a model that still keeps its promises, with the evidence.

The packages, from the ground up: ``theory`` (formulas), ``objects`` (frozen values), ``workload``
(requests and service times), the five optimizations ``batching``, ``caching``, ``quantization``,
``distillation`` and ``scheduling``, ``dataplane`` (a request's way, pure), ``planning`` and
``release`` (the simulator, the search, the gate), and the shells around them.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
