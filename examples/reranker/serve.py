"""Serves an ONNX cross-encoder with its tokenizer: `/rerank`, `/v1/rerank`, `/v2/rerank`, `/v2`.

    python serve.py model.onnx tokenizer.json --max-tokens 512

The model's first output is one logit a pair; callers get its sigmoid. Nothing is measured or
promoted here: answers are of an unreleased variant, and say so in `X-Headgate-Release`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from headgate.engines.check import check_onnx
from headgate.objects import BatchingSpec, Build, CacheSpec, Variant, digest_bytes
from headgate.runtime import Deployment
from headgate.server import serve
from headgate.workload import ServiceCurve

FIRST_GUESS = ServiceCurve(fixed_s=1e-3, item_s=1e-4, token_s=1e-5, square_s=0.0)
"""What a batch takes, until what batches took is known."""


def opened(model: Path, tokenizer: Path, *, max_tokens: int, instances: int) -> Deployment:
    """The cross-encoder, loaded and warm. Raises what checking and loading raise."""
    check_onnx(model)
    files = {digest_bytes(path.read_bytes()): path for path in (model, tokenizer)}
    model_version, tokenizer_version = files
    build = Build(
        name="fp32",
        task="rerank",
        engine="onnxruntime",
        precision="fp32",
        files={"model.onnx": model_version},
        tokenizer=tokenizer_version,
        max_tokens=max_tokens,
        threads=1,
    )
    variant = Variant(
        "fp32",
        build.version,
        instances,
        BatchingSpec(max_requests=32, max_padded_tokens=16 * max_tokens),
        CacheSpec(capacity_bytes=64 * 2**20),
    )
    return Deployment.open(
        endpoint="reranker",
        generation=0,
        build=build,
        variant=variant,
        service=FIRST_GUESS,
        path_of=files.__getitem__,
        released=False,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--max-tokens", type=int, required=True, help="the longest pair it takes")
    parser.add_argument("--instances", type=int, default=1, help="engines of one thread each")
    parser.add_argument("--port", type=int, default=8080)
    given = parser.parse_args()
    deployment = opened(
        given.model, given.tokenizer, max_tokens=given.max_tokens, instances=given.instances
    )
    serve(deployment, port=given.port, on_listening=lambda url: print(url, flush=True))


if __name__ == "__main__":
    main()
