"""Errors as callers see them: a status and a JSON body of the shape that OpenAI's clients know."""

from __future__ import annotations

from collections.abc import Iterable

import orjson
from starlette.responses import Response
from starlette.types import Scope, Send

from app.errors import ConnectionRefused

TYPES = {403: "permission_error", 429: "rate_limit_error", 500: "server_error", 503: "server_error"}
OTHER_TYPE = "invalid_request_error"

ANSWERED = "voice.answered"
"""The ASGI extension by which our server learns that a refusal is complete (see `web.server`)."""

Headers = Iterable[tuple[bytes, bytes]]


def body(refusal: ConnectionRefused) -> bytes:
    """``{"error": {"type", "code", "message", "param"}}``."""
    return orjson.dumps(
        {
            "error": {
                "type": TYPES.get(refusal.status, OTHER_TYPE),
                "code": refusal.code,
                "message": refusal.message,
                "param": refusal.param,
            }
        }
    )


def headers(refusal: ConnectionRefused) -> list[tuple[bytes, bytes]]:
    """Content type, ``Retry-After`` where it is due, and the scheme that a 401 must name."""
    found = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    if refusal.retry_after_s is not None:
        found.append((b"retry-after", b"%d" % refusal.retry_after_s))
    if refusal.status == 401:
        found.append((b"www-authenticate", b"Bearer"))
    return found


def response(refusal: ConnectionRefused) -> Response:
    """The refusal as an answer to a plain HTTP request."""
    made = Response(body(refusal), status_code=refusal.status)
    for name, value in headers(refusal):
        made.headers[name.decode()] = value.decode()
    return made


async def refuse_upgrade(scope: Scope, send: Send, refusal: ConnectionRefused, more: Headers = ()) -> None:
    """Answer a WebSocket request with HTTP instead of an upgrade (ASGI extension ``websocket.http.response``)."""
    await send(
        {
            "type": "websocket.http.response.start",
            "status": refusal.status,
            "headers": [*headers(refusal), *more],
        }
    )
    await send({"type": "websocket.http.response.body", "body": body(refusal)})
    scope.get("extensions", {}).get(ANSWERED, _not_needed)()


def _not_needed() -> None:
    """Another server than ours runs the app."""
