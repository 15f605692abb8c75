"""ONNX Runtime on the CPU: the default engine, and the one that the core install has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headgate.errors import EngineError
from headgate.workload import Tensors

__all__ = ["OnnxRuntimeEngine"]


class OnnxRuntimeEngine:
    """One session with ``threads`` intra-op threads; ``run`` is called by one thread at a time.

    ``options`` are session configuration entries, passed on as they are.
    """

    def __init__(
        self, model: Path, *, threads: int, options: Mapping[str, str] | None = None
    ) -> None:
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3  # errors only: warnings would go to the user's terminal
        # A spinning thread burns the core that the next instance, or the server, needs.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        for key, value in (options or {}).items():
            settings.add_session_config_entry(key, value)
        try:
            session = onnxruntime.InferenceSession(
                str(model), settings, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exception classes share no root below Exception
            raise EngineError(
                f"ONNX Runtime cannot load it: {error}",
                where=str(model),
                fix="check that the file is whole, or export the model again",
            ) from error
        self._model = model
        self._session = session
        self._output = session.get_outputs()[0].name

    def run(self, tensors: Tensors) -> NDArray[np.generic]:
        """The model's first output for one batch. Raises ``EngineError``."""
        if self._session is None:
            raise EngineError("run after close", where=str(self._model))
        try:
            result: NDArray[np.generic] = self._session.run([self._output], dict(tensors))[0]
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed: {error}", where=str(self._model)) from error
        return result

    def close(self) -> None:
        """Frees the session; harmless when repeated."""
        self._session = None
