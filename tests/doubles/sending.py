"""How an answer goes out, and what of it goes wrong."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from tests.doubles.answers import Body, Piece
from tests.doubles.request_log import Request

GARBAGE = b"\xff<!-- \x00"
SENTENCE = re.compile(r"[.!?](?=\s|$)")
ERRORS = {400: "invalid_request_error", 401: "invalid_request_error", 404: "invalid_request_error"}
CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}

SET_IN = ("cut", "short", "stall", "garbage")
"""Faults that set in behind some bytes of the body."""


class Pace(Protocol):
    """How fast a provider is."""

    now_s: Callable[[], float]

    def pause_before(self, is_first: bool, request: Request, lasts_s: float) -> float:
        """How long it takes to make a piece of an answer, which takes so long to be said."""


async def disconnected(receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> None:
    """Wait until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


class Sender:
    """The answer to one request."""

    def __init__(
        self,
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
        request: Request | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._send = send
        self._request = request
        self._pace = pace
        self._text = ""
        """What of a model's answer has been sent."""
        self._has_set_in = False
        """The fault."""
        self._is_garbled = False

    async def json(self, body: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """An answer in one piece."""
        await self._start(status, "application/json", headers or {})
        await self._body(json.dumps(body, default=str).encode(), more=False)

    async def error(
        self, status: int, message: str, param: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        """A refusal, as OpenAI's."""
        kind = ERRORS.get(status, "requests" if status == 429 else "server_error")
        error = {"message": message, "type": kind, "param": param, "code": CODES.get(status)}
        await self.json({"error": error}, status, headers)

    async def reply(self, reply: Body) -> None:
        """All of an answer, or what the request's fault leaves of it."""
        assert self._request is not None
        assert self._pace is not None
        fault = self._request.fault
        if fault is not None and fault.kind == "status":
            self._request.usage = {}
            retry = {} if fault.retry_after_s is None else {"Retry-After": f"{fault.retry_after_s:g}"}
            await self.error(fault.status, "This fault was planned.", headers=retry)
            return
        if fault is not None and fault.kind == "timeout":
            await asyncio.sleep(fault.seconds)  # Cancelled when its client has gone.
        await self._start(200, reply.content_type, {"x-request-id": f"req_{self._request.number}"})
        for at, piece in enumerate(reply.pieces):
            if pause_s := self._pace.pause_before(at == 0, self._request, piece.lasts_s):
                await asyncio.sleep(pause_s)  # What makes an answer takes its time.
            if not await self._piece(piece):
                return
        await self._body(b"", more=False)
        self._request.is_complete = not self._is_garbled

    async def _piece(self, piece: Piece) -> bool:
        """The next part of a body; False if it was the last."""
        assert self._request is not None
        fault, body = self._request.fault, piece.body
        if self._is_garbled:
            body = _garbage(len(body))
        elif fault is not None and (at := self._sets_in(len(body))) is not None:
            self._has_set_in = True
            await self._body(body[:at])
            body = body[at:]
            match fault.kind:
                case "cut":
                    return False
                case "short":
                    await self._body(b"", more=False)
                    return False
                case "stall":
                    await asyncio.sleep(fault.seconds)  # So long it is silent.
                case _:
                    self._is_garbled, body = True, _garbage(len(body))
        await self._body(body)
        self._note(piece.text)
        return True

    def _sets_in(self, size: int) -> int | None:
        """Behind how many of the next bytes the fault sets in, if it does there."""
        assert self._request is not None
        fault = self._request.fault
        if fault is None or fault.kind not in SET_IN or self._has_set_in:
            return None
        left = fault.after_bytes - self._request.sent_bytes
        return left if left <= size else None

    def end(self) -> None:
        """Nothing more is sent."""
        if self._request is not None:
            self._request.ended_at = self._now_s()

    def _note(self, text: str) -> None:
        assert self._request is not None
        self._text += text
        if self._request.first_sentence_at is None and SENTENCE.search(self._text):
            self._request.first_sentence_at = self._now_s()

    def _now_s(self) -> float:
        return 0.0 if self._pace is None else self._pace.now_s()

    async def _start(self, status: int, content_type: str, headers: dict[str, str]) -> None:
        if self._request is not None:
            self._request.status = status
        sent = [(b"content-type", content_type.encode())]
        sent += [(name.encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": sent})

    async def _body(self, body: bytes, *, more: bool = True) -> None:
        if self._request is not None:
            if body and self._request.first_byte_at is None:
                self._request.first_byte_at = self._now_s()
            self._request.sent_bytes += len(body)
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


def _garbage(size: int) -> bytes:
    return (GARBAGE * (size // len(GARBAGE) + 1))[:size]
