"""The peers' servers, as their users would write them, each run by its own environment's Python.

All take their setting from the environment (``encoder.py``) and serve the same ONNX file with the
same tokenizer; pooling and normalisation are in the graph.
"""
