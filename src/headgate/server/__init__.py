"""HTTP in front of a deployment: embeddings as OpenAI has them, reranking as Text Embeddings
Inference and Cohere have it, and the Open Inference Protocol V2.

``serve`` is the whole of ``headgate serve``; ``app`` is the ASGI callable for other servers.
"""

from headgate.server.app import App, app
from headgate.server.http import Limits
from headgate.server.serve import serve

__all__ = ["App", "Limits", "app", "serve"]
