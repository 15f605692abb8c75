"""Deployments: real engines loaded, warmed, and proven alive by canaries."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest

from headgate.errors import EngineError, RequestError
from headgate.objects import BatchingSpec, Build, CacheSpec, Variant
from headgate.runtime import Deployment, Tensor
from headgate.workload import ServiceCurve
from tests.models import tiny_classifier, tiny_embedder, tiny_tokenizer
from tests.serving import WordEngine, deployment, until

CURVE = ServiceCurve(1e-3, 1e-5, 1e-6, 0.0)


def opened(root: Path, *, task: str, instances: int = 1, postprocess: object = None) -> Deployment:
    """The tiny embedder or classifier, through the front door."""
    if task == "embed":
        tiny_embedder(root / "m")
        tiny_tokenizer(root / "t")
    else:
        tiny_classifier(root / "m")
    build = Build(
        name="tiny",
        task=task,
        engine="onnxruntime",
        precision="fp32",
        files={"model.onnx": "m"},
        tokenizer="t" if task == "embed" else None,
        max_tokens=16 if task == "embed" else 1,
        threads=1,
    )
    variant = Variant("tiny", build.version, instances, BatchingSpec(max_requests=4), CacheSpec())
    return Deployment.open(
        endpoint="tiny",
        generation=0,
        build=build,
        variant=variant,
        service=CURVE,
        path_of=lambda version: root / version,
        postprocess=postprocess,  # type: ignore[arg-type]  # a test's own function
        warm_s=1e6,  # all there is to warm, however long that takes
    )


async def answer(d: Deployment, *items: object) -> list[object]:
    await d.start()
    try:
        encoded = await d.live.encode(items)
        return (await d.live.submit(encoded, keys=[d.key(e, "") for e in encoded])).values
    finally:
        await d.close()


def test_an_embedder_describes_itself_and_answers(tmp_path: Path) -> None:
    """Texts in, unit vectors out; every shape of the grid was run beforehand."""
    d = opened(tmp_path, task="embed", instances=2)
    assert (d.input, d.output) == (Tensor("text", "str", ()), Tensor("embedding", "float32", (8,)))
    assert d.warmed_shapes == 2 * 15  # two engines: lengths 1 2 4 8 16, sizes 1 2 4
    assert d.unit_vectors
    values = asyncio.run(answer(d, "hello", "a longer text"))
    assert [np.linalg.norm(v) for v in values] == pytest.approx([1.0, 1.0])  # type: ignore[arg-type]


def test_a_classifier_describes_itself_and_answers(tmp_path: Path) -> None:
    """Tensors of a fixed shape in, scores that sum to one out."""
    d = opened(tmp_path, task="classify")
    assert (d.input, d.output) == (Tensor("x", "float32", (4,)), Tensor("scores", "float32", (3,)))
    assert not d.unit_vectors
    (value,) = asyncio.run(answer(d, np.ones(4, np.float32)))
    assert np.sum(value) == pytest.approx(1.0)  # type: ignore[arg-type]


def test_postprocessing_is_part_of_what_is_promised(tmp_path: Path) -> None:
    """The output's shape is that of the caller's own function, and labels are called labels."""
    d = opened(tmp_path, task="classify", postprocess=lambda out: out.argmax(axis=1))
    assert d.output == Tensor("label", "int64", ())
    (value,) = asyncio.run(answer(d, np.ones(4, np.float32)))
    assert value in (0, 1, 2)


def test_a_build_that_cannot_answer_is_not_deployed(tmp_path: Path) -> None:
    """NaN for the canary is found before the first caller finds it."""
    with pytest.raises(EngineError, match="NaN"):
        opened(tmp_path, task="classify", postprocess=lambda out: out * np.nan)


def test_token_ids_are_checked_against_the_vocabulary(tmp_path: Path) -> None:
    """Ids as they are, the same answer as their text; an id beyond the vocabulary is refused."""
    d = opened(tmp_path, task="embed")
    (text,) = d.codec.encode(["abc"])
    (ids,) = d.encode_ids([text.content.tolist()], truncate=False)
    assert d.key(ids, "") == d.key(text, "")
    with pytest.raises(RequestError, match="token ids"):
        d.encode_ids([[1_000_000]], truncate=False)
    asyncio.run(answer(d, "abc"))


def test_tenants_have_keys_of_their_own() -> None:
    """The same question of two tenants is two questions to the cache."""
    d = deployment()
    (encoded,) = d.codec.encode(["same"])
    assert d.key(encoded, "a") != d.key(encoded, "b")
    assert d.key(encoded, "a") == d.key(d.codec.encode(["same"])[0], "a")


def test_an_idle_instance_proves_itself_on_a_canary() -> None:
    """Without traffic the canaries keep the endpoint ready, and count as no request."""
    engine = WordEngine()

    async def scenario() -> None:
        d = deployment(engine, canary_interval_s=0.001)
        await d.start()
        for _ in range(2):
            await asyncio.to_thread(engine.entered.acquire)
        assert d.ready
        assert not +d.metrics.items
        await d.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))
    assert engine.closed


def test_an_engine_that_fails_its_canary_makes_the_endpoint_unready() -> None:
    """Canaries must be answered well: NaN for ``stale_after_s`` is no progress; a good answer is
    progress again."""
    good, now = threading.Event(), [100.0]
    engine = WordEngine(lambda out: out if good.is_set() else out * np.nan)

    async def scenario() -> None:
        d = deployment(engine, canary_interval_s=0.001, clock=lambda: now[0])
        assert d.unready == "it has not been started"
        await d.start()
        assert d.ready
        (instance,) = d.live.instances
        await until(lambda: instance.failing_since_s is not None)
        assert d.ready, "one bad answer is no reason yet"
        now[0] += d.stale_after_s + 0.1
        assert d.unready == "an engine makes no progress"
        good.set()
        await until(lambda: d.ready)
        await d.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_one_of_two_that_fails_is_not_made_up_for_by_the_other() -> None:
    """It would go on getting half of the requests."""
    bad, now = WordEngine(lambda out: out * np.nan), [100.0]

    async def scenario() -> None:
        d = deployment(bad, WordEngine(), canary_interval_s=0.001, clock=lambda: now[0])
        await d.start()
        await until(lambda: d.live.instances[0].failing_since_s is not None)
        now[0] += d.stale_after_s + 0.1
        assert d.unready == "an engine makes no progress"
        await d.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_an_engine_whose_thread_ended_makes_the_endpoint_unready() -> None:
    """Whatever ended it."""

    async def scenario() -> None:
        d = deployment()
        await d.start()
        await asyncio.to_thread(d.live.instances[0].close)
        assert d.unready == "an engine makes no progress"
        await d.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_another_engine_is_loaded_as_the_first_was(tmp_path: Path) -> None:
    """Warm, and with the same answers."""
    d = opened(tmp_path, task="embed")
    another = d.load_engine(0)
    batch = d.codec.collate(d.codec.encode(["hello"]))
    np.testing.assert_array_equal(another.run(batch), d.engines[0].run(batch))
    another.close()
    asyncio.run(answer(d, "hello"))
