"""Errors as callers see them: a status and a JSON body of the shape that OpenAI's clients know."""

from __future__ import annotations

from collections.abc import Iterable

import orjson
from starlette.responses import Response
from starlette.types import Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from voice_agent.errors import ConnectionRefused

TYPES = {403: "permission_error", 429: "rate_limit_error", 500: "server_error", 503: "server_error"}
OTHER_TYPE = "invalid_request_error"

Headers = Iterable[tuple[bytes, bytes]]


def body(refusal: ConnectionRefused) -> bytes:
    """``{"error": {"type", "code", "message", "param"}}``, and details of what there is to say of it."""
    return orjson.dumps(
        {
            "error": {
                "type": TYPES.get(refusal.status, OTHER_TYPE),
                "code": refusal.code,
                "message": refusal.message,
                "param": refusal.param,
                **refusal.details,
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


def names_of(pod: str, color: str) -> list[tuple[bytes, bytes]]:
    """The headers that tell a caller which pod it reached."""
    return [(b"x-voice-color", color.encode()), (b"x-voice-pod", pod.encode())]


def response(refusal: ConnectionRefused) -> Response:
    """The refusal as an answer to a plain HTTP request."""
    made = Response(body(refusal), status_code=refusal.status)
    for name, value in headers(refusal):
        made.headers[name.decode()] = value.decode()
    return made


async def refuse_upgrade(send: Send, refusal: ConnectionRefused, more: Headers = ()) -> None:
    """Answer a WebSocket request with HTTP instead of an upgrade (ASGI extension ``websocket.http.response``)."""
    await send(
        {
            "type": "websocket.http.response.start",
            "status": refusal.status,
            "headers": [*headers(refusal), *more],
        }
    )
    await send({"type": "websocket.http.response.body", "body": body(refusal)})


def message(refusal: ConnectionRefused, more: Headers = ()) -> bytes:
    """The refusal as the bytes of a whole HTTP/1.1 response, behind which the connection is closed."""
    return response_bytes(refusal.status, [*headers(refusal), *more], body(refusal))


def response_bytes(status: int, named: Headers, content: bytes) -> bytes:
    """A whole HTTP/1.1 response, behind which the connection is closed."""
    lines = [STATUS_LINE[status]]
    for name, value in (*named, (b"content-length", b"%d" % len(content)), (b"connection", b"close")):
        lines += (name, b": ", value, b"\r\n")
    return b"".join((*lines, b"\r\n", content))
