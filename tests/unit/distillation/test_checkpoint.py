"""Files of tensors: written without copies, read by the safetensors library."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from headgate.distillation.training.checkpoint import write_tensors  # noqa: E402


def test_the_library_reads_what_was_written(tmp_path: Path) -> None:
    """A number, an empty tensor, one that is not contiguous, and one that is trained."""
    tensors = {
        "number": torch.tensor(2.0),
        "nothing": torch.zeros(0, 3),
        "turned": torch.randn(3, 5).T,
        "trained": torch.randn(7, requires_grad=True),
        "wide": torch.randn(2, 3, dtype=torch.float64),
    }
    path = tmp_path / "state.safetensors"
    write_tensors(path, tensors, {"identity": "of what ü"})
    found = load_file(path)
    assert sorted(found) == sorted(tensors)
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"identity": "of what ü"}


@pytest.mark.parametrize("said", [{"k": "v" * n} for n in range(8)])
def test_tensors_are_aligned_whatever_is_said_of_them(tmp_path: Path, said: dict[str, str]) -> None:
    path = tmp_path / "state.safetensors"
    write_tensors(path, {"a": torch.ones(1), "b": torch.ones(2, dtype=torch.float64)}, said)
    content = path.read_bytes()
    assert (8 + int.from_bytes(content[:8], "little")) % 8 == 0
    assert content[-4:] == torch.ones(1).numpy().tobytes(), "what is wider comes first"
