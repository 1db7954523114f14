"""Paths that are only read: what `HEAD` and `OPTIONS` say there, and plain HTTP where a WebSocket is wanted.

Uptime checks ask with `HEAD`, browsers and gateways with `OPTIONS`, people with curl.
"""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter, Response

from voice_agent.errors import ConnectionRefused
from voice_agent.web.refusals import response

READ = ["GET", "HEAD"]
"""Methods of a route that is only read; the server leaves the body of a `HEAD` out."""
ALLOWED = "GET, HEAD, OPTIONS"
HINT = (
    "This is a WebSocket: connect with ws:// or wss://, for example by 'voice-agent call', or 'websocat'. "
    "A proxy in between must pass the headers Upgrade and Connection on."
)


def options(paths: Iterable[str]) -> APIRouter:
    """`OPTIONS` of paths that are only read."""
    router = APIRouter()

    async def allowed() -> Response:
        return Response(status_code=204, headers={"Allow": ALLOWED})

    for path in paths:
        router.add_api_route(path, allowed, methods=["OPTIONS"])
    return router


def upgrade_needed(paths: Iterable[str]) -> APIRouter:
    """426 with a hint where a request without an upgrade comes to a path of calls (RFC 9110, section 15.5.22)."""
    router = APIRouter()

    async def hint() -> Response:
        made = response(ConnectionRefused(426, "upgrade_required", HINT))
        made.headers.update({"Upgrade": "websocket", "Connection": "Upgrade"})
        return made

    for path in paths:
        router.add_api_route(path, hint, methods=READ)
    return router
