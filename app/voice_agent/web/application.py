"""The ASGI application of a pod: FastAPI's routes, and WebSockets past them."""

from __future__ import annotations

from importlib.resources import files

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from voice_agent.errors import ConnectionRefused, RecordUnreadable, StoreError
from voice_agent.runtime.pod.admission import record_unreadable, store_failed
from voice_agent.settings import Settings
from voice_agent.web import admin, health, realtime, refusals
from voice_agent.web.access import Access
from voice_agent.web.ports import CallPod, MetricsPage
from voice_agent.web.reading import READ, options, upgrade_needed

PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
    "frame-ancestors 'none'"
)


def build_app(pod: CallPod, settings: Settings, metrics: MetricsPage, secret: bytes) -> ASGIApp:
    """All routes over one pod. `secret` checks resume tokens. Opening and closing the pod is the caller's task."""
    app = FastAPI(
        title="voice-agent",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    access = Access(settings)
    content = files("voice_agent.web").joinpath("page.html").read_text(encoding="utf-8")

    @app.api_route("/", methods=READ)
    async def page() -> Response:
        return HTMLResponse(content, headers={"Content-Security-Policy": PAGE_POLICY})

    app.include_router(health.routes(pod, metrics))
    app.include_router(admin.routes(pod, access, settings))
    app.include_router(options(("/",)))
    app.include_router(upgrade_needed(realtime.PATHS))
    app.add_exception_handler(ConnectionRefused, _refused)
    app.add_exception_handler(StoreError, _store_failed)
    app.add_exception_handler(RecordUnreadable, _unreadable)
    app.add_exception_handler(HTTPException, _not_served)
    socket = realtime.RealtimeSocket(pod, access, secret)

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        # Five layers of middleware, and a look at every route, are a tenth of what a resume costs.
        await (socket if scope["type"] == "websocket" else app)(scope, receive, send)

    return served


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, ConnectionRefused)  # registered for this class only
    return refusals.response(error)


async def _store_failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, StoreError)  # registered for this class only
    return refusals.response(store_failed(error))


async def _unreadable(request: Request, error: Exception) -> Response:
    assert isinstance(error, RecordUnreadable)  # registered for this class only
    return refusals.response(record_unreadable(error))


async def _not_served(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # registered for this class only
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
    made = refusals.response(ConnectionRefused(error.status_code, code, str(error.detail)))
    made.headers.update(error.headers or {})
    return made
