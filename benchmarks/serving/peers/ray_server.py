"""Ray Serve: POST / {"text": ...}."""

import signal
import threading

import ray
from encoder import BATCH, PORT, THREADS, WAIT_S, WORKERS, Encoder
from ray import serve


@serve.deployment(
    num_replicas=WORKERS,
    max_ongoing_requests=256,
    ray_actor_options={"num_cpus": 0.5 * THREADS},
)
class Embed:
    def __init__(self):
        self.encoder = Encoder()

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=WAIT_S)
    async def embed(self, texts):
        return [row.tolist() for row in self.encoder(texts)]

    async def __call__(self, request):
        return {"embedding": await self.embed((await request.json())["text"])}


if __name__ == "__main__":
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    serve.start(http_options={"host": "127.0.0.1", "port": PORT, "access_log": False})
    serve.run(Embed.bind(), logging_config={"log_level": "WARNING", "enable_access_log": False})
    ended.wait()
    serve.shutdown()
    ray.shutdown()
