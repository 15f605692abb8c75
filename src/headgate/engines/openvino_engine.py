"""OpenVINO on the CPU: the fastest int8 and bf16 here, and an extra."""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.errors import EngineError
from headgate.quantization.optional import load_openvino
from headgate.workload import Tensors

__all__ = ["OpenVinoEngine"]

_NO_RULE = "No conversion rule found for operations: "
_making_core = threading.Lock()


class OpenVinoEngine:
    """One compiled model, one stream, ``threads`` threads; ``run`` by one thread at a time.

    ``model`` is an IR (with ``weights``) or an ONNX file; neither needs its usual extension.
    ``compute`` is what all is computed in that is not quantized: fp32, bf16 or fp16; refused
    (``EngineError``) where the machine would silently compute in something else. ``options`` are
    properties of the device, passed on as they are.

    Every new input shape is compiled when it is first seen: pad lengths to a multiple, and warm
    up the shapes that will be served.
    """

    def __init__(
        self,
        model: Path,
        weights: Path | None = None,
        *,
        threads: int,
        compute: str = "fp32",
        options: Mapping[str, str] | None = None,
    ) -> None:
        openvino = load_openvino("the engine openvino")
        types = {"fp32": openvino.Type.f32, "bf16": openvino.Type.bf16, "fp16": openvino.Type.f16}
        precision = types[compute]
        properties = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            # Two compiled models would pin their threads to the same core.
            "ENABLE_CPU_PINNING": False,
            **(options or {}),
        }
        with _making_core:
            core = _core(openvino)
        try:
            graph = core.read_model(str(model), str(weights) if weights else "")
            compiled = core.compile_model(graph, "CPU", properties)
        except RuntimeError as error:
            reason = _last_line(error)
            raise EngineError(
                f"OpenVINO cannot load it: {reason}", where=str(model), fix=_fix(reason)
            ) from error
        if compiled.get_property("INFERENCE_PRECISION_HINT") != precision:
            raise EngineError(
                f"this CPU does not compute in {compute}",
                where=str(model),
                fix="serve an fp32 or int8 build here; `headgate doctor` shows the CPU's flags",
            )
        self._model = model
        self._alike = _alike(compiled.inputs)
        self._request = compiled.create_infer_request()

    def run(self, tensors: Tensors) -> NDArray[np.generic]:
        """The model's first output for one batch, copied out. Raises ``EngineError``."""
        if self._request is None:
            raise EngineError("run after close", where=str(self._model))
        for names in self._alike:
            shapes = {tensors[n].shape for n in names if n in tensors}
            if len(shapes) > 1:
                raise EngineError(
                    f"{', '.join(names)} differ in shape: {', '.join(map(str, sorted(shapes)))}",
                    where=str(self._model),
                )
        try:
            # Sharing is safe: infer() returns only when it no longer reads the inputs.
            self._request.infer(dict(tensors), share_inputs=True)
            result: NDArray[np.generic] = self._request.get_output_tensor(0).data.copy()
        except Exception as error:  # ValueError, TypeError or RuntimeError, by what was wrong
            raise EngineError(
                f"OpenVINO failed: {_last_line(error)}", where=str(self._model)
            ) from error
        return result

    def close(self) -> None:
        """Frees the compiled model; harmless when repeated."""
        self._request = None


@functools.cache
def _core(openvino: Any) -> Any:
    """The process's one ``Core``, never freed, and made after the tables of element types.

    Those are static variables of OpenVINO's binding. They are built at first use, by code that lets
    go of the interpreter's lock half way: where two threads ran their first inference at one time,
    one waited for that lock and the other, which held it, for the table, for ever (OpenVINO 2026.4,
    3 of 25 processes).

    The CPU plugin gives the thread that loads it a stack for signal handlers (for AMX: ``class
    SigAltStackSetup`` of its plugin.cpp). It unmaps that with the last model and ``Core``, and puts
    the old stack back only if the same thread frees it, last loaded first. A server loads on its
    main thread and frees a release on another: the next signal then ran on memory that was gone
    (OpenVINO 2026.4, seen with ``strace -f -k -e trace=sigaltstack,munmap``).
    """
    openvino.Type.f32.to_dtype()
    openvino.Tensor(np.zeros(1, np.float32))
    return openvino.Core()


def _last_line(error: Exception) -> str:
    """What was wrong: OpenVINO says first where in its own source it stopped."""
    lines = [line.strip("- ") for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _fix(reason: str) -> str:
    _, rule, operators = reason.partition(_NO_RULE)
    if rule:
        return f"OpenVINO does not support {operators}; serve the model with ONNX Runtime"
    if "property" in reason:
        return "correct or remove that option"
    return "check that the model and its weights belong together, or export them again"


def _alike(inputs: Any) -> list[list[str]]:
    """Names of inputs declared with one shape, such as ids and their mask.

    OpenVINO does not keep ONNX's named dimensions, so it would take a mask of another length than
    its ids, and read past the end of the shorter one.
    """
    names: dict[str, list[str]] = {}
    for each in inputs:
        names.setdefault(str(each.partial_shape), []).append(each.any_name)
    return [group for group in names.values() if len(group) > 1]
