"""Looks at every candidate before it is paid for: what applies here, what does not, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from headgate.optimize.job import Job

__all__ = ["Forecast", "preview"]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is expected of a candidate; ``skip`` says why it is not tried, if so."""

    name: str
    why: str
    skip: str = ""
    expected: str = ""
    """In words: how fast, how large."""


def preview(job: Job) -> Sequence[Forecast]:
    """A forecast for each candidate that the endpoint names, in that order."""
    return [_look_at(job, name) for name in job.config.candidates]


def _look_at(job: Job, name: str) -> Forecast:
    missing = [m for m in (need(job) for need in _NEEDS[name]) if m]
    return Forecast(name, _WHY[name], "; ".join(missing))


def _openvino(job: Job) -> str:
    return "" if "openvino" in job.profile.libraries else "needs: pip install 'headgate[openvino]'"


def _nncf(job: Job) -> str:
    return "" if "nncf" in job.profile.libraries else "needs: pip install 'headgate[openvino]'"


def _torch(job: Job) -> str:
    return "" if "torch" in job.profile.libraries else "needs: pip install 'headgate[train]'"


def _encoder(job: Job) -> str:
    return "" if job.source.encoder else "a student takes layers of a transformers encoder"


def _train(job: Job) -> str:
    return "" if job.inputs.train else "data: train is not declared"


def _calibrate(job: Job) -> str:
    return "" if job.inputs.calibrate else "data: calibrate is not declared"


def _bf16(job: Job) -> str:
    fast = {"avx512_bf16", "amx_bf16", "bf16"} & set(job.profile.flags)
    return "" if fast else "this CPU has no bf16 instructions (avx512_bf16, amx_bf16)"


_NEEDS: Mapping[str, tuple[Callable[[Job], str], ...]] = {
    "bf16": (_bf16, _openvino),
    "int8_dynamic": (),
    "int8_static": (_nncf, _calibrate),
    "student3": (_encoder, _torch, _train),
    "student3_int8": (_encoder, _torch, _train, _nncf, _calibrate),
}
_WHY: Mapping[str, str] = {
    "bf16": "half the bits of every multiplication",
    "int8_dynamic": "a quarter of the bits; scales found at run time",
    "int8_static": "a quarter of the bits; scales calibrated once",
    "student3": "half the layers",
    "student3_int8": "half the layers, a quarter of the bits",
}
