"""LitServe: POST /predict {"text": ...}."""

import litserve
from encoder import BATCH, PORT, WAIT_S, WORKERS, Encoder


class Embed(litserve.LitAPI):
    def setup(self, device):
        self.encoder = Encoder()

    def decode_request(self, request):
        return request["text"]

    def predict(self, texts):
        return self.encoder(texts if isinstance(texts, list) else [texts])

    def unbatch(self, output):
        return list(output)

    def encode_response(self, output):
        return {"embedding": output.reshape(-1).tolist()}


if __name__ == "__main__":
    api = Embed(max_batch_size=BATCH, batch_timeout=WAIT_S)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=WORKERS)
    server.run(host="127.0.0.1", port=PORT, log_level="warning", generate_client_file=False)
