"""Triton's own client, unmodified, against a server on a real socket."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException

from tests.serving import Served


@pytest.fixture(scope="module")
def client() -> Iterator[triton.InferenceServerClient]:
    """The tests' endpoint is ``words`` at generation 3."""
    with (
        Served() as served,
        triton.InferenceServerClient(served.url.removeprefix("http://")) as connected,
    ):
        yield connected


def words(texts: list[str], *, binary: bool) -> triton.InferInput:
    tensor = triton.InferInput("text", [len(texts)], "BYTES")
    return tensor.set_data_from_numpy(np.array(texts, dtype=object), binary_data=binary)


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_binary_and_json_tensors_give_the_same_answer(
    client: triton.InferenceServerClient, binary_in: bool, binary_out: bool
) -> None:
    """Either form, in either direction; the text is not ASCII, so bytes are not characters."""
    texts = ["naïve façade", "b"]
    wish = triton.InferRequestedOutput("embedding", binary_data=binary_out)
    answer = client.infer("words", [words(texts, binary=binary_in)], "3", [wish], "id-7")
    alone = [client.infer("words", [words([t], binary=False)]).as_numpy("embedding") for t in texts]
    got = answer.as_numpy("embedding")
    assert (got.dtype, got.shape) == (np.float32, (2, 2))
    np.testing.assert_array_equal(got, np.concatenate(alone))
    assert answer.get_response()["id"] == "id-7"
    assert ("data" in answer.get_output("embedding")) is not binary_out


def test_it_asks_about_server_model_and_version(client: triton.InferenceServerClient) -> None:
    """Live, ready and the metadata, with the extension that is used named."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("words")
    assert client.is_model_ready("words", "3")
    assert not client.is_model_ready("words", "4")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    described = client.get_model_metadata("words", "3")
    assert described["versions"] == ["3"]
    assert described["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]


def test_it_understands_errors(client: triton.InferenceServerClient) -> None:
    """Its own exception, with the status and a message that names the field."""
    wish = triton.InferRequestedOutput("embedding", class_count=3)
    with pytest.raises(InferenceServerException, match="classification") as refused:
        client.infer("words", [words(["a"], binary=True)], outputs=[wish])
    assert refused.value.status() == "400"
    with pytest.raises(InferenceServerException, match="no model 'other'") as missing:
        client.infer("other", [words(["a"], binary=True)])
    assert missing.value.status() == "404"
