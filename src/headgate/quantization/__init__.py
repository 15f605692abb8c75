"""Fewer bits: schemes, grids, and a preview of what they would cost and bring.

Pure but for ``produce``, which makes the files; nothing here imports it.
"""

from headgate.quantization.facts import ModelFacts, TensorSpec

__all__ = ["ModelFacts", "TensorSpec"]
