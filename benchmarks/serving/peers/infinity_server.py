"""infinity-emb: POST /embeddings as OpenAI has it.

Its own engines pool outside the graph, so its batcher and server are given an engine that runs our
file: everything that is measured (queue, sorting by length, threads, HTTP) is theirs.
"""

import enum
import importlib

import uvicorn
from encoder import BATCH, PORT, Encoder
from infinity_emb import EngineArgs
from infinity_emb.infinity_server import create_server
from infinity_emb.transformer.abstract import BaseEmbedder


class OnnxEmbedder(BaseEmbedder):
    def __init__(self, *, engine_args):
        self.engine_args = engine_args
        self.encoder = Encoder()

    def encode_pre(self, sentences):
        return self.encoder.tokenize(sentences)

    def encode_core(self, features):
        return self.encoder.run(features)

    def encode_post(self, embedding):
        return list(embedding)

    def tokenize_lengths(self, sentences):
        return self.encoder.lengths(sentences)


class Engines(enum.Enum):
    onnx = OnnxEmbedder


if __name__ == "__main__":
    # The package exports a function under the name of this module.
    selection = importlib.import_module("infinity_emb.inference.select_model")
    selection.get_engine_type_from_config = lambda engine_args: Engines.onnx
    arguments = EngineArgs(
        model_name_or_path="model",
        served_model_name="model",
        engine="debugengine",
        batch_size=BATCH,
        device="cpu",
        lengths_via_tokenize=False,
        bettertransformer=False,
    )
    app = create_server(engine_args_list=[arguments])
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning", http="httptools")
