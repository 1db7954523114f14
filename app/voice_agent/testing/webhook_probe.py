"""Asks a webhook as the server does, and breaks connections at any byte, as a network does."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from voice_agent.agents.tools.exchange import WebhookAnswer, exchange
from voice_agent.agents.tools.signing import Signer
from voice_agent.agents.tools.webhook import body_of

ANSWERS_WITHIN_S = 30.0
ASKS_AGAIN = 50
"""So often what is in progress is asked for again."""
ASKS_AGAIN_AFTER_S = 0.1
IN_PROGRESS = 409
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on and 0 seconds: closing sends RST, as from a host that is gone."""


def fresh_key() -> str:
    """One that no webhook has seen."""
    return f"trial_{uuid.uuid4().hex}"


@dataclass(frozen=True, slots=True)
class WebhookProbe:
    """One webhook. Where no headers are given, requests are signed as they should be."""

    url: str
    secret: str
    verify_url: str | None = None
    tool: str = "trial"
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        """What is sent."""
        return body_of(self.tool, "call_trial", self.arguments)

    def headers(self, key: str, body: bytes | None = None, *, age_s: int = 0) -> dict[str, str]:
        """Of a request that is `age_s` old."""
        signed = Signer(self.secret).headers(key, int(_wall_s()) - age_s, self.body if body is None else body)
        return {"content-type": "application/json", "idempotency-key": key, **signed}

    async def ask(self, key: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> WebhookAnswer:
        """A whole POST and its whole answer. Raises `AssertionError` where there is none."""
        sent = self.body if body is None else body
        request = httpx.Request("POST", self.url, headers=dict(headers or self.headers(key, sent)), content=sent)
        return await _exchanged(request)

    async def ask_until_done(self, key: str) -> WebhookAnswer:
        """Ask as long as it is in progress. Raises `AssertionError` for an answer that is no success."""
        answer = await self.ask(key)
        for _ in range(ASKS_AGAIN):
            if answer.status != IN_PROGRESS:
                break
            await asyncio.sleep(ASKS_AGAIN_AFTER_S)
            answer = await self.ask(key)
        assert answer.is_success, f"asked again with the same key, it answers {answer.status}"
        return answer

    async def verify(self, key: str) -> Any:
        """What the address that verifies tells of a key."""
        assert self.verify_url is not None
        url = httpx.URL(self.verify_url).copy_merge_params({"key": key})
        answer = await _exchanged(httpx.Request("GET", url, headers=self.headers(key, b"")))
        assert answer.is_success, f"asked to verify, it answers {answer.status}"
        return answer.value()

    async def answer_bytes(self) -> int:
        """How long an answer is, with its head, to a request that is done for the first time."""
        reader, writer = await self._connected()
        async with asyncio.timeout(ANSWERS_WITHIN_S):
            writer.write(self._request(fresh_key()))
            answer = await reader.read(-1)
        await _reset(writer)
        return len(answer)

    @property
    def request_bytes(self) -> int:
        """How long a request is, with its head."""
        return len(self._request(fresh_key()))

    async def break_answer(self, key: str, at: int) -> None:
        """Send a request; the connection breaks when so many bytes of its answer have come."""
        reader, writer = await self._connected()
        async with asyncio.timeout(ANSWERS_WITHIN_S):
            writer.write(self._request(key))
            await writer.drain()
            got = 0
            while got < at and (part := await reader.read(at - got)):
                got += len(part)
        await _reset(writer)

    async def break_request(self, key: str, at: int) -> None:
        """The connection breaks when so many bytes of a request have been sent."""
        _, writer = await self._connected()
        async with asyncio.timeout(ANSWERS_WITHIN_S):
            writer.write(self._request(key)[:at])
            await writer.drain()
        await _reset(writer)

    def _request(self, key: str) -> bytes:
        """A POST as it is sent; its answer ends with the connection."""
        parts = urlsplit(self.url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        body = self.body
        headers = {"host": parts.netloc, "connection": "close", "content-length": str(len(body)), **self.headers(key)}
        lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(self.url)
        is_tls = parts.scheme == "https"
        port = parts.port or (443 if is_tls else 80)
        tls = ssl.create_default_context() if is_tls else None
        async with asyncio.timeout(ANSWERS_WITHIN_S):
            return await asyncio.open_connection(parts.hostname, port, ssl=tls)


def _wall_s() -> float:
    """The webhook holds the timestamp against its own clock."""
    return time.time()


async def _exchanged(request: httpx.Request) -> WebhookAnswer:
    async with httpx.AsyncClient() as http:
        return await exchange(http, request, ANSWERS_WITHIN_S)


async def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
    try:
        await writer.wait_closed()
    except OSError:
        return
