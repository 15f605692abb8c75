"""A certificate holds for the kernels that it was issued on, and for no others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headgate.objects import BatchInvariance, Build, HardwareProfile
from headgate.quantization.certificate import BuildCertificate, Golden, Kernels, differs

HERE = HardwareProfile(
    architecture="x86_64",
    flags=("avx2", "avx512_vnni"),
    effective_cores=2,
    memory_bytes=2**34,
    devices=("cpu",),
    libraries={"onnxruntime": "1.32.0", "openvino": "2026.4", "tokenizers": "0.23", "nncf": "3.4"},
    python="3.11.2",
    system="Linux glibc 2.36",
)
BUILD = Build("int8", "embed", "openvino", "int8", {"model.xml": "x", "model.bin": "b"}, "t", 64, 2)


def certificate(build: Build = BUILD) -> BuildCertificate:
    return BuildCertificate(
        build=build.version,
        name=build.name,
        engine=build.engine,
        threads=build.threads,
        kernels=Kernels.of(build, HERE),
        made_with={"nncf": "3.4"},
        batch_invariance=BatchInvariance.EPSILON,
        largest_difference=2e-4,
        golden=Golden("items", "answers"),
        decision="decision",
        rests_on=("measurement",),
        speed=None,
    )


def others(build: Build = BUILD, **changes: object) -> list[str]:
    """The parts that are other on a machine with these changes."""
    there = replace(HERE, **changes)  # type: ignore[arg-type]  # a test's own keywords
    return [d.part for d in differs(certificate(build), Kernels.of(build, there))]


def libraries(**changes: str) -> dict[str, str]:
    return {**HERE.libraries, **changes}


def test_it_holds_where_it_was_issued() -> None:
    """And its kernels are found again by one digest."""
    assert others() == []
    assert certificate().kernels.version == Kernels.of(BUILD, HERE).version


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"flags": ("avx2",)}, ["flags.avx512_vnni"]),
        ({"flags": ("amx_int8", "avx2", "avx512_vnni")}, ["flags.amx_int8"]),
        ({"architecture": "aarch64"}, ["architecture"]),
        ({"variables": {"ONEDNN_MAX_CPU_ISA": "AVX2"}}, ["variables.ONEDNN_MAX_CPU_ISA"]),
        ({"libraries": libraries(openvino="2027.0")}, ["libraries.openvino"]),
        ({"libraries": libraries(tokenizers="0.24")}, ["libraries.tokenizers"]),
        ({"libraries": {"tokenizers": "0.23"}}, ["libraries.openvino"]),
    ],
)
def test_other_kernels_need_another(changes: dict[str, object], parts: list[str]) -> None:
    """Fewer instructions and more, an upgrade of what computes, a variable that chooses."""
    assert others(**changes) == parts
    assert Kernels.of(BUILD, replace(HERE, **changes)).version != certificate().kernels.version  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"libraries": libraries(onnxruntime="1.33.0")},
        {"libraries": libraries(nncf="4.0")},
        {"python": "3.12.1"},
        {"effective_cores": 64, "memory_bytes": 1},
        {"devices": ("cpu", "cuda:0 X")},
    ],
)
def test_what_computes_no_answer_of_it_may_change(changes: dict[str, object]) -> None:
    """Another engine than its own, what made it, and how much of the same there is."""
    assert others(**changes) == []


def test_an_engine_that_runs_others_is_certified_on_all_of_them() -> None:
    """Either part of a cascade may be on either."""
    cascade = replace(BUILD, engine="cascade")
    assert others(cascade, libraries=libraries(onnxruntime="9")) == ["libraries.onnxruntime"]
    assert others(cascade, libraries=libraries(openvino="9")) == ["libraries.openvino"]


def test_what_takes_numbers_has_no_tokenizer() -> None:
    """So that an upgrade of one is nothing to it."""
    numbers = replace(BUILD, tokenizer=None)
    assert others(numbers, libraries=libraries(tokenizers="0.24")) == []
