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
    write_tensors(path, {"a": torch.ones(2)}, said)
    content = path.read_bytes()
    assert (8 + int.from_bytes(content[:8], "little")) % 8 == 0
    assert torch.equal(load_file(path)["a"], torch.ones(2))


def test_other_numbers_than_float32_are_refused(tmp_path: Path) -> None:
    for tensor in (torch.ones(2, dtype=torch.int32), torch.ones(2, dtype=torch.bfloat16)):
        with pytest.raises(TypeError, match="a is of"):
            write_tensors(tmp_path / "state.safetensors", {"a": tensor})
    assert not (tmp_path / "state.safetensors").exists()
