"""A process that has freed its last OpenVINO engine still hears signals."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models import tiny_embedder
from tests.serving import server_process

LOADED_HERE_FREED_THERE = """
import gc, os, signal, sys, threading
from pathlib import Path
from headgate.engines.openvino_engine import OpenVinoEngine

engines = [OpenVinoEngine(Path(sys.argv[1]), threads=1) for _ in range(2)]

def free():
    while engines:
        engines.pop(0).close()
    gc.collect()

signal.signal(signal.SIGTERM, lambda *_: print("heard", flush=True))
freeing = threading.Thread(target=free)
if sys.argv[2] == "by another thread":
    freeing.start()
    freeing.join()
else:
    free()
os.kill(os.getpid(), signal.SIGTERM)
print("and goes on", flush=True)
"""


@pytest.mark.parametrize("freed", ["by another thread", "by the thread that loaded it"])
def test_a_signal_is_heard_after_the_last_openvino_engine_was_freed(
    tmp_path: Path, freed: str
) -> None:
    """It was a segmentation fault: the handler ran on a stack that had gone with the plugin.

    On the thread that loaded them two are enough, freed in the order in which they were loaded.
    """
    pytest.importorskip("openvino")
    model = tiny_embedder(tmp_path / "model.onnx")
    with server_process(LOADED_HERE_FREED_THERE, str(model), freed) as process:
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout, stderr) == (0, "heard\nand goes on\n", "")
