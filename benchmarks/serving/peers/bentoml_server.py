"""BentoML: POST /embed {"texts": [...]}, served by ``bentoml serve bentoml_server:Embed``."""

import bentoml
import numpy as np
from encoder import BATCH, WAIT_S, WORKERS, Encoder


@bentoml.service(workers=WORKERS, traffic={"timeout": 60}, metrics={"enabled": False})
class Embed:
    def __init__(self) -> None:
        self.encoder = Encoder()

    @bentoml.api(batchable=BATCH > 1, max_batch_size=BATCH, max_latency_ms=int(WAIT_S * 1e3))
    def embed(self, texts: list[str]) -> np.ndarray:
        return self.encoder(texts)
