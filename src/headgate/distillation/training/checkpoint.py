"""What a killed training goes on from: one file, there whole or not at all.

Of the effectful half of this package: it imports torch and writes files.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from headgate.errors import Fault

if TYPE_CHECKING:
    import torch

__all__ = ["Checkpoint", "Progress", "write_tensors"]

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
_SUM = "sum."
_KINDS = {"torch.float32": "F32", "torch.float64": "F64"}


@dataclass
class Progress:
    """How far a training is. All of it is in its checkpoint."""

    started: int = 0
    """Parts of the start that are done."""
    losses: list[float] = field(default_factory=list)
    """Of each step, on its own batch, before its update."""
    curve: list[tuple[int, float]] = field(default_factory=list)
    """(Steps done, loss on the held-back texts)."""
    judged: int = 0
    """Held-back texts that were judged since the last step; none outside a validation."""
    judged_loss: float = 0.0
    """The sum of their losses."""
    device_s: float = 0.0
    cpu_s: float = 0.0


class Checkpoint:
    """Trained parameters, the optimizer's moments, a start's sums, and the progress."""

    def __init__(
        self,
        path: Path,
        identity: str,
        trained: Sequence[torch.nn.Parameter],
        sums: MutableMapping[str, torch.Tensor],
        optimizer: Any,
    ) -> None:
        self._path, self._identity = path, identity
        self._trained, self._sums, self._optimizer = trained, sums, optimizer

    def save(self, progress: Progress) -> None:
        """Replaces what was saved before. Raises ``Fault``; that is still there then."""
        tensors = {f"{_SUM}{name}": value for name, value in self._sums.items()}
        for i, parameter in enumerate(self._trained):
            tensors[f"parameter.{i}"] = parameter.detach()
            for name, moment in self._optimizer.state[parameter].items():
                tensors[f"{name}.{i}"] = moment
        said = {"identity": self._identity, "progress": json.dumps(asdict(progress))}
        write_tensors(self._path, tensors, said)

    def restore(self) -> Progress:
        """Fills parameters, moments and sums; the progress, none where nothing can be used."""
        import torch
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self._path, framework="pt") as file:
                said = file.metadata() or {}
                if said.get("identity") != self._identity:
                    return Progress()
                progress = Progress(**json.loads(said["progress"]))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return Progress()  # absent or cut short: begin again
        progress.curve = [(step, loss) for step, loss in progress.curve]
        with torch.no_grad():
            for i, parameter in enumerate(self._trained):
                parameter.copy_(tensors[f"parameter.{i}"])
                if f"exp_avg.{i}" in tensors:
                    self._optimizer.state[parameter] = {
                        name: tensors[f"{name}.{i}"].to(parameter.device) for name in _MOMENTS
                    }
        for name, value in tensors.items():
            if name.startswith(_SUM):
                self._sums[name.removeprefix(_SUM)] = value.to(self._trained[0].device)
        return progress


def write_tensors(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    said: Mapping[str, str] | None = None,
    *,
    flush: bool = True,
) -> None:
    """Writes a safetensors file of floats that is there whole or not at all. Raises ``Fault``.

    Without ``flush`` it may be lost with the machine's power.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            _write(file, tensors, said or {})
            if flush:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise Fault(
            "the disk is full in the middle of a training"
            if full
            else f"a training cannot be written: {error.strerror}",
            where=str(path),
            reason="disk_full" if full else "disk",
            fix="make room and run the same again: it goes on from the last checkpoint",
        ) from error


def _write(file: BinaryIO, tensors: Mapping[str, torch.Tensor], said: Mapping[str, str]) -> None:
    """Length of the header, header, and one tensor behind the other, those of wider numbers first.

    The library's ``save`` copies all of it twice before the first byte is written, which takes five
    times as long, and its ``save_file`` leaves a file of a new name behind whenever it is killed.
    """
    header: dict[str, object] = {"__metadata__": dict(said)}
    end = 0
    ordered = sorted(tensors.items(), key=lambda named: -named[1].element_size())
    for name, tensor in ordered:
        begin, end = end, end + tensor.nbytes
        kind = _KINDS[str(tensor.dtype)]
        header[name] = {"dtype": kind, "shape": [*tensor.shape], "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # readers map the tensors, which must be aligned
    file.write(len(text).to_bytes(8, "little") + text)
    for _, tensor in ordered:
        file.write(tensor.detach().cpu().contiguous().numpy().data)
