"""The ASGI application: routes, one request's way, and draining. Thin: protocol in, protocol out.

No framework: routes are a table, and every layer would cost each request processor time that is
the model's.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import msgspec
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from headgate import __version__
from headgate.errors import EngineError, RequestError, TooLong
from headgate.runtime import Answers, Deployment, Rejected
from headgate.server import openai, predict, rerank, v2
from headgate.server.bodies import Bodies
from headgate.server.call import Call
from headgate.server.desk import Desk
from headgate.server.http import (
    CONNECTION,
    Exchange,
    HttpError,
    Limits,
    Receive,
    Reply,
    Scope,
    Send,
)
from headgate.server.openapi import document
from headgate.server.routes import Identify, Operation, Route

__all__ = ["App", "as_http"]

_CLIENT_CLOSED = 499
"""In metrics and traces alone, as nginx has it: nobody is left to be told."""
_ASK_NO_MORE = ((b"x-should-retry", b"false"),)
"""OpenAI's clients ask again after a 500 unless they are told not to. What hung one engine may hang
the next."""
_V2_MODEL = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(/ready|/infer)?")
_log = logging.getLogger("headgate.server")

_HEALTH = replace(v2.READY, errors=openai.ERRORS)
_OPENAPI = Operation("This document.", openai.ERRORS, gives=(dict[str, Any],))
_METRICS = Operation(
    "Metrics in Prometheus' text format.", openai.ERRORS, media=CONTENT_TYPE_PLAIN_0_0_4
)


class App:
    """The ASGI callable that serves one deployment to ``Connection``s. ``drain`` refuses what is
    new and waits for what was accepted.

    With ``identify`` an API key is asked for at every route that is not open.
    """

    def __init__(
        self, deployment: Deployment, limits: Limits, identify: Identify | None = None
    ) -> None:
        self._deployment = deployment
        self._limits = limits
        self.desk = Desk(deployment, limits)
        self._bodies = Bodies(limits.body_timeout_s)
        self._release = (b"x-headgate-release", deployment.release.encode())
        self._created_s = int(time.time())
        every = self._all_routes()
        if identify is not None:
            every = tuple(route.keyed(identify) for route in every)
        self.routes = tuple(route for route in every if route.fits)
        """What this deployment answers to."""
        self._routes: dict[str, dict[str, Route]] = {}
        for route in self.routes:
            self._routes.setdefault(route.path, {})[route.method] = route
        version = f"/versions/{deployment.generation}"  # of which there will be many
        self._labels = {route.path: route.path.replace(version, "") for route in every}
        self._forms = {route.path: route.operation.errors.reply for route in every}

    def _all_routes(self) -> tuple[Route, ...]:
        """Those that do not fit are known too: whoever asks is told where to go instead."""
        d, limits = self._deployment, self._limits
        task, accepts, gives = d.build.task, d.input, d.output
        embeds = task == "embed" and len(gives.shape) == 1
        predicts = task == "predict" or (task == "classify" and predict.gives_scores(gives))
        embed = openai.embeddings_operation(d.endpoint, gives.shape[0] if embeds else 0, limits)
        answer = predict.predict_operation(task, accepts, gives, limits)
        infer = v2.infer_operation(accepts, gives, limits)
        routes = [
            Route("POST", "/v1/embeddings", self._embeddings, embed, fits=embeds),
            Route("POST", "/predict", self._predict, answer, fits=predicts),
            *(
                Route(
                    "POST",
                    path,
                    functools.partial(self._rerank, form=form),
                    form.operation(d.endpoint, limits),
                    fits=task == "rerank",
                )
                for path, form in rerank.FORMS.items()
            ),
            Route("GET", "/v1/models", self._models, openai.MODELS),
            Route("GET", f"/v1/models/{d.endpoint}", self._model, openai.MODEL),
            Route("GET", "/v2", self._v2_server, v2.SERVER),
            Route("GET", "/v2/health/live", self._live, v2.LIVE, open=True),
            Route("GET", "/v2/health/ready", self._ready, v2.READY, open=True),
        ]
        for path in self._v2_paths():
            routes += [
                Route("GET", path, self._v2_model, v2.METADATA),
                Route("GET", f"{path}/ready", self._ready, v2.READY, open=True),
                Route("POST", f"{path}/infer", self._infer, infer),
            ]
        return (
            *routes,
            Route("GET", "/health", self._ready, _HEALTH, open=True),
            Route("GET", "/metrics", self._metrics, _METRICS, open=True),
            Route("GET", "/openapi.json", self._openapi, _OPENAPI, open=True),
        )

    def _v2_paths(self) -> tuple[str, str]:
        model = f"/v2/models/{self._deployment.endpoint}"
        return model, f"{model}/versions/{self._deployment.generation}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def drain(self) -> bool:
        """From now on readiness is 503 and so are new requests, and those whose bodies have not
        come yet; then ``finish``."""
        self.desk.draining = True
        self._bodies.refuse(_shutting_down())
        return await self.finish()

    async def finish(self) -> bool:
        """Waits for what was accepted; nothing new may come. True once all of it is answered,
        False if that took longer than ``limits.drain_timeout_s``."""
        return await self.desk.finish()

    # One request's way

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        deployment = self._deployment
        headers = dict(scope["headers"])
        exchange = Exchange(
            method=scope["method"],
            path=scope["path"],
            headers=headers,
            receive=receive,
            limits=self._limits,
            connection=scope["extensions"][CONNECTION],
            request_id=self.desk.request_id(headers),
            started_s=deployment.clock(),
        )
        reply = await self._reply(exchange)
        if not exchange.gone:
            await self._send(send, exchange, reply)
        route = self._labels.get(exchange.path, "none")
        deployment.metrics.requests[route, reply.status, reply.source] += 1
        if exchange.method == "POST":
            self.desk.record(exchange, reply.status, reply.source)

    async def _send(self, send: Send, exchange: Exchange, reply: Reply) -> None:
        head = [
            (b"content-type", reply.content_type),
            (b"content-length", b"%d" % len(reply.body)),
            self._release,
            (b"x-request-id", exchange.request_id.encode()),
            *reply.headers,
        ]
        if reply.source:
            head.append((b"x-headgate-source", reply.source.encode()))
        if self.desk.draining:
            head.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": reply.status, "headers": head})
        body = b"" if exchange.method == "HEAD" else reply.body
        await send({"type": "http.response.body", "body": body})

    async def _reply(self, exchange: Exchange) -> Reply:
        try:
            handler = self._route(exchange).handler
            if exchange.method != "POST":
                return await handler(exchange)
            self.desk.admit(exchange)
            try:
                return await handler(exchange)
            finally:
                self.desk.release(exchange)
        except asyncio.CancelledError:
            if not exchange.gone and exchange.given_up is None:
                raise
            if exchange.task is not None:
                exchange.task.uncancel()
            if exchange.given_up is not None:
                return self._form(exchange.path)(exchange.given_up)
            return Reply(b"", status=_CLIENT_CLOSED)
        except Exception as error:
            return self._form(exchange.path)(as_http(error, exchange))

    def _route(self, exchange: Exchange) -> Route:
        methods = self._routes.get(exchange.path)
        if methods is None:
            raise self._not_found(exchange.path)
        route = methods.get("GET" if exchange.method == "HEAD" else exchange.method)
        if route is None:
            allow = ", ".join(methods)
            raise HttpError(
                405,
                f"{exchange.method} is not allowed here; use {allow}",
                code="method_not_allowed",
                headers=((b"allow", allow.encode()),),
            )
        return route

    def _form(self, path: str) -> Callable[[HttpError], Reply]:
        """How errors at ``path`` are told, where nothing is there too."""
        default = v2.error_reply if path.startswith("/v2") else openai.error_reply
        return self._forms.get(path, default)

    def _not_found(self, path: str) -> HttpError:
        deployment = self._deployment
        if path in self._forms:
            instead = (
                r.path for r in self.routes if r.method == "POST" and "/versions/" not in r.path
            )
            what = f"{deployment.endpoint}'s task is {deployment.build.task}"
            return HttpError(404, f"{what}; use {' or '.join(instead)}", code="not_found")
        if match := _V2_MODEL.fullmatch(path):
            name, version = match[1], match[2]
            if name != deployment.endpoint:
                what = f"there is no model {name!r}; it is {deployment.endpoint!r}"
            else:
                what = f"there is no version {version!r}; it is {deployment.generation}"
            return HttpError(404, what, code="model_not_found")
        if path.startswith("/v1/models/"):
            return self._no_model(path.removeprefix("/v1/models/"))
        return HttpError(404, f"there is nothing at {path}", code="not_found")

    def _no_model(self, name: str) -> HttpError:
        return HttpError(
            404,
            f"model: there is no model {name!r}; it is {self._deployment.endpoint!r}",
            code="model_not_found",
            param="model",
        )

    # Inference

    async def _embeddings(self, exchange: Exchange) -> Reply:
        deployment = self._deployment
        asked = openai.parse_embeddings(await self._body(exchange), self._limits)
        if asked.model != deployment.endpoint:
            raise self._no_model(asked.model)
        (dimensions,) = deployment.output.shape
        if asked.dimensions not in (None, dimensions):
            raise HttpError(
                400,
                f"dimensions: the model gives {dimensions}, not {asked.dimensions}",
                code="invalid_value",
                param="dimensions",
            )
        answers = await self._answer(
            exchange, asked.items, truncate=asked.truncate, token_ids=asked.token_ids
        )
        return openai.embeddings_reply(
            asked, answers.values, tokens=exchange.tokens, source=answers.source
        )

    async def _rerank(self, exchange: Exchange, *, form: rerank.Form) -> Reply:
        asked = form.parse(await self._body(exchange), self._limits)
        if asked.model not in (None, self._deployment.endpoint):
            raise self._no_model(asked.model)
        answers = await self._answer(exchange, asked.pairs, truncate=asked.truncate)
        answer = rerank.RerankAnswer.of(
            answers.values,
            request_id=exchange.request_id,
            tokens=exchange.tokens,
            source=answers.source,
        )
        return form.reply(asked, answer)

    async def _predict(self, exchange: Exchange) -> Reply:
        deployment = self._deployment
        asked = predict.parse_predict(await self._body(exchange), deployment.input, self._limits)
        answers = await self._answer(exchange, asked.items, truncate=asked.truncate)
        if deployment.build.task == "predict":
            return predict.values_reply(asked, answers.values, source=answers.source)
        return predict.predictions_reply(
            asked, answers.values, deployment.labels, source=answers.source
        )

    async def _infer(self, exchange: Exchange) -> Reply:
        deployment = self._deployment
        asked = v2.parse_infer(
            await self._body(exchange),
            deployment.input,
            deployment.output,
            self._limits,
            exchange.headers.get(b"inference-header-content-length"),
        )
        answers = await self._answer(exchange, asked.items, truncate=asked.truncate)
        return v2.infer_reply(
            asked,
            answers.values,
            endpoint=deployment.endpoint,
            version=deployment.generation,
            gives=deployment.output,
            source=answers.source,
        )

    async def _body(self, exchange: Exchange) -> bytes:
        exchange.task = asyncio.current_task()
        self._bodies.begin(exchange)
        try:
            return await exchange.body(functools.partial(self.desk.hold, exchange))
        finally:
            self._bodies.end(exchange)

    async def _answer(
        self,
        exchange: Exchange,
        items: Sequence[object],
        *,
        truncate: bool,
        token_ids: bool = False,
    ) -> Answers:
        # What a caller who hangs up waited for is taken back.
        exchange.connection.hung_up = exchange.hang_up
        try:
            return await self.desk.answer(exchange, items, truncate=truncate, token_ids=token_ids)
        finally:
            exchange.connection.hung_up = None

    # About the server

    async def _models(self, exchange: Exchange) -> Reply:
        return _json(openai.Models(data=[self._model_body()]))

    async def _model(self, exchange: Exchange) -> Reply:
        return _json(self._model_body())

    def _model_body(self) -> openai.Model:
        owner = self._deployment.owner or "headgate"
        return openai.Model(id=self._deployment.endpoint, created=self._created_s, owned_by=owner)

    async def _v2_server(self, exchange: Exchange) -> Reply:
        return _json(v2.ServerMetadata("headgate", __version__))

    async def _v2_model(self, exchange: Exchange) -> Reply:
        d = self._deployment
        platform = f"{d.build.engine}_{d.build.precision}"
        return _json(v2.metadata(d.endpoint, d.generation, platform, d.input, d.output))

    async def _live(self, exchange: Exchange) -> Reply:
        if self._deployment.beyond_repair:  # orchestrators restart what is not live, and only that
            raise HttpError(503, self._deployment.unready or "", code="not_live")
        return _json(v2.Live(True))

    async def _ready(self, exchange: Exchange) -> Reply:
        if self.desk.draining:
            raise _shutting_down()
        reason = self._deployment.unready
        if reason is not None:
            raise HttpError(503, reason, code="not_ready")
        return _json(v2.Ready(True, self._deployment.endpoint))

    async def _metrics(self, exchange: Exchange) -> Reply:
        text = generate_latest(self._deployment.metrics.registry)
        return Reply(text, content_type=CONTENT_TYPE_PLAIN_0_0_4.encode())

    async def _openapi(self, exchange: Exchange) -> Reply:
        return Reply(self._document)

    @cached_property
    def _document(self) -> bytes:
        deployment = self._deployment
        return msgspec.json.encode(document(deployment.endpoint, deployment.release, self.routes))

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                if not self._deployment.started:
                    await self._deployment.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self._deployment.close()
                await send({"type": "lifespan.shutdown.complete"})
                return


def _shutting_down() -> HttpError:
    return HttpError(503, "the server is shutting down", code="draining")


def as_http(error: Exception, call: Call) -> HttpError:
    """What a caller is told of ``error``; other protocols translate it by its status."""
    if isinstance(error, HttpError):
        return error
    if isinstance(error, TooLong):
        hint = (
            'shorten it, or send "truncate": true (to /v2 among the parameters) or the header '
            "X-Headgate-Truncate: true"
        )
        what = f"{error.where}: {error.what}; {hint}"
        return HttpError(422, what, code=error.reason, param="input")
    if isinstance(error, RequestError):
        what = f"{error.where}: {error.what}" if error.where else error.what
        return HttpError(400, what, code=error.reason, param="input")
    if isinstance(error, Rejected):
        if error.reason in ("draining", "no_engine"):
            return HttpError(503, error.what, code=error.reason)
        if error.reason == "deadline":
            return HttpError(504, error.what, code=error.reason)
        if error.reason == "too_large":
            return HttpError(413, error.what, code=error.reason)
        return HttpError.busy(error.reason, error.what, error.retry_after_s)
    if isinstance(error, EngineError):
        _log.error("request %s: %s", call.request_id, error)
        if error.reason == "engine_hung":
            return HttpError(500, error.what, code=error.reason, headers=_ASK_NO_MORE)
        item = error.where or "the input"
        what = f"{item}: the model failed on it: {error.what}"
        return HttpError(500, what, code=error.reason, param="input")
    _log.exception("request %s failed", call.request_id, exc_info=error)
    return HttpError(500, "an unexpected error of the server", code="internal")


def _json(body: object) -> Reply:
    return Reply(msgspec.json.encode(body))
