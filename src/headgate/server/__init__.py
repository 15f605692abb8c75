"""HTTP and gRPC in front of a deployment: embeddings as OpenAI has them, reranking and predictions
as Text Embeddings Inference has them, reranking as Cohere has it, the Open Inference Protocol V2.

``serve`` is the whole of ``headgate serve``.
"""

from headgate.server.app import App
from headgate.server.http import Limits
from headgate.server.serve import serve

__all__ = ["App", "Limits", "serve"]
