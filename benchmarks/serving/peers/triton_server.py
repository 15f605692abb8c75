"""Triton, through PyTriton: POST /v2/models/embed/infer, one BYTES tensor."""

import numpy as np
from encoder import BATCH, PORT, WAIT_S, WORKERS, Encoder
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def instance():
    encoder = Encoder()

    @batch
    def embed(text):
        return {"embedding": encoder([row[0].decode() for row in text])}

    return embed


if __name__ == "__main__":
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=PORT,
        allow_grpc=False,
        allow_metrics=False,
        exit_timeout_secs=5,
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="embed",
            infer_func=[instance() for _ in range(WORKERS)],
            inputs=[Tensor(name="text", dtype=bytes, shape=(1,))],
            outputs=[Tensor(name="embedding", dtype=np.float32, shape=(-1,))],
            config=ModelConfig(
                max_batch_size=BATCH,
                batcher=DynamicBatcher(max_queue_delay_microseconds=int(WAIT_S * 1e6)),
            ),
        )
        triton.serve()
