"""The Open Inference Protocol V2 over gRPC: the calls of REST in another wrapping.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_grpc.md
What happens to a call is the desk's matter; an error is the one that HTTP has, its status
translated, its field and its wait in ``google.rpc`` messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

from headgate import __version__
from headgate.errors import Fault, MissingExtra
from headgate.server import v2_grpc
from headgate.server.app import as_http
from headgate.server.call import Call
from headgate.server.desk import Desk
from headgate.server.http import HttpError, Limits
from headgate.server.messages import INFERENCE, RPC
from headgate.server.routes import Identify

__all__ = ["GrpcServer", "installed_grpc"]

_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",  # RESOURCE_EXHAUSTED is for what may be asked again
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_OPEN = ("ServerLive", "ServerReady", "ModelReady")
"""Answered without an API key where others are not, as over HTTP."""
_MAX_MESSAGE_BYTES = 1_000
"""Of an error's text: trailers above 8 KiB are refused by clients, and it may quote the caller."""
_AT_DEADLINE_S = 0.01
_QUIET_S = 0.05
"""Without a new call, before the server is closed."""
_LONGEST_QUIET_S = 1.0
"""That is waited for."""


def installed_grpc() -> ModuleType:
    """The module ``grpc``, with ``grpc.aio``. Raises ``MissingExtra`` where it is not there."""
    try:
        import grpc.aio
    except ModuleNotFoundError:
        raise MissingExtra.of("grpc", needed_for="serving over gRPC") from None
    module: ModuleType = grpc
    return module


class GrpcServer:
    """The protocol's service at ``address``, in front of whichever desk answers when a call comes.

    Make and use it on one running event loop. Port 0 takes a free one. With ``identify`` an API key
    is asked for, as over HTTP. Raises ``MissingExtra``, and ``Fault`` where it cannot listen at
    ``address``.
    """

    def __init__(
        self,
        address: str,
        desk: Callable[[], Desk],
        limits: Limits,
        identify: Identify | None = None,
    ) -> None:
        self._grpc = grpc = installed_grpc()
        self._desk = desk
        self._identify = identify
        self._calls = 0
        self._server = grpc.aio.server(
            options=(
                ("grpc.max_receive_message_length", limits.max_body_bytes),
                ("grpc.so_reuseport", 0),  # two servers at one port would share it in silence
            )
        )
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(functools.partial(self._call, name))
            for name in _METHODS
        }
        service = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers)
        self._server.add_generic_rpc_handlers((service,))
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise Fault(f"cannot listen here: {error}", where=address) from None
        self.address = f"{address.rpartition(':')[0]}:{port}"

    async def start(self) -> None:
        """Accepts calls from now on."""
        await self._server.start()

    async def stop(self, grace_s: float) -> None:
        """Closes once no call has come for a moment; ends what is still there after ``grace_s``.

        Drain the desk before. When gRPC stops it cancels calls that it has not handed over yet,
        and their callers could not tell why; so they are first given the time to be refused.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(grace_s, _LONGEST_QUIET_S)):
                seen = -1
                while seen != self._calls:
                    seen = self._calls
                    await asyncio.sleep(_QUIET_S)
        await self._server.stop(grace_s)

    async def _call(self, name: str, message: bytes, context: Any) -> bytes:
        """One call: the message that came -> the message that goes."""
        self._calls += 1
        desk = self._desk()
        headers = {
            key.encode(): value.encode() if isinstance(value, str) else value
            for key, value in context.invocation_metadata()
        }
        deployment = desk.deployment
        call = Call(
            headers=headers,
            request_id=desk.request_id(headers),
            started_s=deployment.clock(),
        )
        told: list[tuple[str, str | bytes]] = [
            ("x-headgate-release", deployment.release),
            ("x-request-id", call.request_id),
        ]
        status, source, failure = 200, "", None
        try:
            if self._identify is not None and name not in _OPEN:
                call.tenant = self._identify(headers)
            reply, source = await _METHODS[name](desk, call, message, context)
        except asyncio.CancelledError:
            # A caller whose deadline passes takes the call back, a moment before it passes here.
            left_s = context.time_remaining()
            status = 499 if left_s is None or left_s > _AT_DEADLINE_S else 504
            raise
        except Exception as error:
            failure = as_http(error, call)
            status = failure.status
        finally:
            deployment.metrics.requests[f"grpc {name}", status, source] += 1
            if name == "ModelInfer":
                desk.record(call, status, source)
        if failure is not None:
            code = self._grpc.StatusCode[_CODES.get(status, "UNKNOWN")]
            text = failure.message.encode()[:_MAX_MESSAGE_BYTES].decode(errors="ignore")
            told += _details(code.value[0], text, failure)
            await context.abort(code, text, tuple(told))
        if source:
            told.append(("x-headgate-source", source))
        context.set_trailing_metadata(tuple(told))
        return bytes(reply.SerializeToString())


def _details(code: int, text: str, error: HttpError) -> list[tuple[str, str | bytes]]:
    """Trailers that say in ``google.rpc`` messages what ``text`` says in words."""
    details = [RPC["ErrorInfo"](reason=error.code.upper(), domain="headgate")]
    if error.param is not None:
        # Items are counted in the one input that a model here has.
        field = "inputs[0]" if error.param == "input" else error.param
        violation = RPC["FieldViolation"](field=field, description=text)
        details.append(RPC["BadRequest"](field_violations=[violation]))
    told: list[tuple[str, str | bytes]] = []
    wait_ms = dict(error.headers).get(b"retry-after-ms")
    if wait_ms is not None:
        seconds, left_ms = divmod(int(wait_ms), 1_000)
        wait = RPC["Duration"](seconds=seconds, nanos=left_ms * 1_000_000)
        details.append(RPC["RetryInfo"](retry_delay=wait))
        told.append(("grpc-retry-pushback-ms", wait_ms.decode()))  # clients that retry heed this
    packed = [
        RPC["Any"](
            type_url=f"type.googleapis.com/{detail.DESCRIPTOR.full_name}",
            value=detail.SerializeToString(),
        )
        for detail in details
    ]
    status = RPC["Status"](code=code, message=text, details=packed)
    told.append(("grpc-status-details-bin", status.SerializeToString()))
    return told


# The methods: each takes its message and gives the reply, and what an inference came from


async def _server_live(desk: Desk, call: Call, message: bytes, context: Any) -> tuple[Any, str]:
    return INFERENCE["ServerLiveResponse"](live=not desk.deployment.beyond_repair), ""


async def _server_ready(desk: Desk, call: Call, message: bytes, context: Any) -> tuple[Any, str]:
    return INFERENCE["ServerReadyResponse"](ready=_ready(desk)), ""


async def _model_ready(desk: Desk, call: Call, message: bytes, context: Any) -> tuple[Any, str]:
    asked = v2_grpc.parsed("ModelReadyRequest", message)
    v2_grpc.check_model(desk.deployment, asked.name, asked.version)
    return INFERENCE["ModelReadyResponse"](ready=_ready(desk)), ""


async def _server_metadata(desk: Desk, call: Call, message: bytes, context: Any) -> tuple[Any, str]:
    return INFERENCE["ServerMetadataResponse"](name="headgate", version=__version__), ""


async def _model_metadata(desk: Desk, call: Call, message: bytes, context: Any) -> tuple[Any, str]:
    asked = v2_grpc.parsed("ModelMetadataRequest", message)
    v2_grpc.check_model(desk.deployment, asked.name, asked.version)
    return v2_grpc.metadata(desk.deployment), ""


async def _model_infer(desk: Desk, call: Call, message: bytes, context: Any) -> tuple[Any, str]:
    deployment = desk.deployment
    desk.admit(call)
    try:
        desk.hold(call, len(message))
        asked = v2_grpc.parsed("ModelInferRequest", message)
        v2_grpc.check_model(deployment, asked.model_name, asked.model_version, "model_")
        request = v2_grpc.parse_infer(asked, deployment.input, deployment.output, desk.limits)
        left_s = context.time_remaining()
        deadline_s = None if left_s is None else deployment.clock() + left_s
        answers = await desk.answer(
            call, request.items, truncate=request.truncate, deadline_s=deadline_s
        )
        return v2_grpc.infer_reply(request, answers.values, deployment), answers.source
    finally:
        desk.release(call)


def _ready(desk: Desk) -> bool:
    return not desk.draining and desk.deployment.ready


_Method = Callable[[Desk, Call, bytes, Any], Awaitable[tuple[Any, str]]]
_METHODS: dict[str, _Method] = {
    "ServerLive": _server_live,
    "ServerReady": _server_ready,
    "ModelReady": _model_ready,
    "ServerMetadata": _server_metadata,
    "ModelMetadata": _model_metadata,
    "ModelInfer": _model_infer,
}
