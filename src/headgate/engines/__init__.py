"""What computes: ONNX Runtime and OpenVINO behind one protocol, codecs, checks and measurements.

The libraries load when an engine does; importing this package imports none of them.
"""

from headgate.engines.load import codec_for, load

__all__ = ["codec_for", "load"]
