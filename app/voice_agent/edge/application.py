"""The edge's ASGI application: callers' WebSockets, health and metrics, and what else callers ask of pods."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import asdict

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from websockets.http11 import Response as PodResponse

from voice_agent.call.closing import CloseCode
from voice_agent.edge.caller_messages import CallerMessages
from voice_agent.edge.caller_socket import CallerSocket
from voice_agent.edge.dialing import Answered, PodRefused, PodUnreachable
from voice_agent.edge.edge import Edge
from voice_agent.edge.edge_call import EdgeCall
from voice_agent.edge.event_ids import EventIds
from voice_agent.edge.pod_socket import PodSocket
from voice_agent.edge.requests import CallerRequest
from voice_agent.edge.resuming import Resuming
from voice_agent.errors import ConnectionRefused
from voice_agent.web.health import PROMETHEUS_TEXT, UNCACHED
from voice_agent.web.realtime import ADDRESS, TAKE_OVER
from voice_agent.web.refusals import refuse_upgrade

TAG_BYTES = 4
HOP_BY_HOP = frozenset(
    "connection upgrade keep-alive proxy-authenticate te trailer transfer-encoding content-length "
    "sec-websocket-accept sec-websocket-extensions sec-websocket-protocol date server".split()
)
"""Headers of a pod's answer that do not go on to the caller."""

log = structlog.get_logger(__name__)


class CallerEndpoint:
    """Every WebSocket request: a pod decides about it."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one caller to the end."""
        await receive()  # "websocket.connect", which says nothing
        request = CallerRequest(
            path=scope["raw_path"],
            query=scope["query_string"],
            headers=tuple(scope["headers"]),
            subprotocols=tuple(scope["subprotocols"]),
            address=scope["extensions"][ADDRESS],
            is_secure=scope["scheme"] == "wss",
            is_directed=self._edge.upstreams.dialer.direct,
        )
        try:
            self._edge.admission.take(may_resume=request.may_resume)
        except ConnectionRefused as refusal:
            await self._refuse(send, refusal)
            return
        try:
            await self._serve(request, scope, send)
        finally:
            self._edge.give_back()

    async def _serve(self, request: CallerRequest, scope: Scope, send: Send) -> None:
        pod = await self._connect(request, send)
        if pod is None:
            return
        take_over: Callable[[], CallerSocket] = scope["extensions"][TAKE_OVER]
        try:
            await self._hold(take_over(), pod, request)
        finally:
            pod.close(CloseCode.GOING_AWAY)

    async def _connect(self, request: CallerRequest, send: Send) -> PodSocket | None:
        """A pod that said yes, and the caller was told so; None if the caller was refused, or left."""
        try:
            answered = await self._edge.upstreams.dialer.dial_any(request.first())
        except PodRefused as refusal:
            await _pass_refusal(send, refusal.response)
            return None
        except PodUnreachable as error:
            log.warning("no pod for a caller", error=str(error))
            await self._refuse(send, ConnectionRefused(503, "no_pod", "No pod answers; try again.", retry_after_s=1))
            return None
        try:
            await send(_accepted(answered))
        except OSError:
            answered.socket.close(CloseCode.GOING_AWAY)  # The caller left.
            return None
        except BaseException:
            answered.socket.close(CloseCode.GOING_AWAY)
            raise
        return answered.socket

    async def _hold(self, caller: CallerSocket, pod: PodSocket, request: CallerRequest) -> None:
        edge = self._edge

        async def resume(call_id: str, token: str, last_event: int, address: str) -> PodSocket:
            again = await edge.upstreams.dialer.dial(request.resume(call_id, token, last_event), at=address)
            return again.socket

        call = EdgeCall(
            caller,
            pod,
            CallerMessages(EventIds(secrets.token_hex(TAG_BYTES)), wants_received=request.wants_received),
            Resuming(resume, edge.patience_s),
            edge.observer,
            acknowledges=not request.comes_back,
        )
        caller.charge(edge.budget.holder(request.address))
        edge.hold(call, comes_back=request.comes_back)
        try:
            await call.run()
        except Exception:
            # The root of the connection: a fault of ours ends this one alone, and the call is parked.
            log.exception("connection failed", call_id=call.call_id)
            edge.observer.lost("error")
            await caller.close(CloseCode.INTERNAL_ERROR, "internal error")
        finally:
            edge.remove(call)
            caller.leave()

    async def _refuse(self, send: Send, refusal: ConnectionRefused) -> None:
        self._edge.observer.refused(refusal.status, refusal.code)
        await refuse_upgrade(send, refusal)


def build_app(edge: Edge, page: Callable[[], bytes], plain: ASGIApp) -> Starlette:
    """All routes. `page`: the metrics; `plain` answers what is none of the edge's own."""

    async def realtime(request: Request) -> Response:
        status = edge.status()
        return JSONResponse(asdict(status), status_code=200 if edge.serves else 503, headers=UNCACHED)

    async def live(request: Request) -> Response:
        return JSONResponse({"status": "ok"}, headers=UNCACHED)

    async def metrics(request: Request) -> Response:
        return Response(page(), media_type=PROMETHEUS_TEXT)

    return Starlette(
        routes=[
            Route("/healthz/realtime", realtime),
            Route("/healthz/live", live),
            Route("/metrics", metrics),
            Route("/{path:path}", plain),
            WebSocketRoute("/{path:path}", CallerEndpoint(edge)),
        ]
    )


def _accepted(answered: Answered) -> dict[str, object]:
    """The pod's yes, for the caller."""
    headers = _passed(answered.response)
    return {"type": "websocket.accept", "subprotocol": answered.subprotocol, "headers": headers}


async def _pass_refusal(send: Send, refusal: PodResponse) -> None:
    """The pod's no, as it came."""
    await send(
        {
            "type": "websocket.http.response.start",
            "status": refusal.status_code,
            "headers": _passed(refusal),
        }
    )
    await send({"type": "websocket.http.response.body", "body": bytes(refusal.body or b"")})


def _passed(answer: PodResponse) -> list[tuple[bytes, bytes]]:
    return [
        (name.lower().encode(), value.encode("latin-1"))
        for name, value in answer.headers.raw_items()
        if name.lower() not in HOP_BY_HOP
    ]
