"""One request to a webhook and its answer, bounded in bytes and time, and whether the answer came whole."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from voice_agent.agents.tools.outcome import MAX_OUTPUT_BYTES

CONNECTS_WITHIN_S = 2.0
MAX_RETRY_AFTER_S = 5.0
"""A caller waits meanwhile."""
SELF_DELIMITING = (b"{", b"[", b'"')
"""How JSON begins of which a part is no JSON: of numbers, and of nothing at all, a part may be taken for the whole."""


class NotSent(Exception):
    """No byte of the request has gone out: nothing was done."""


class AnswerCut(Exception):
    """The request may have been understood, and no whole answer came: whether anything was done is not known."""


class AnswerTooLong(Exception):
    """A whole answer of this status began, and is too long to be read."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True, slots=True)
class WebhookAnswer:
    """A whole one."""

    status: int
    body: bytes
    retry_after_s: float | None = None

    @property
    def is_success(self) -> bool:
        """2xx."""
        return 200 <= self.status < 300

    def value(self) -> Any:
        """The body: JSON, or else text; None where it is empty. Raises `ValueError` for what is neither."""
        if not self.body.strip():
            return None
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return self.body.decode()


async def exchange(http: httpx.AsyncClient, request: httpx.Request, timeout_s: float) -> WebhookAnswer:
    """Send it. Follows no redirect, keeps no cookie. Raises `NotSent`, `AnswerCut` and `AnswerTooLong`."""
    limits = httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECTS_WITHIN_S))
    request.extensions["timeout"] = limits.as_dict()
    try:
        async with asyncio.timeout(timeout_s):
            response = await http.send(request, stream=True, follow_redirects=False)
            try:
                body = await _body(response)
            finally:
                await response.aclose()
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol) as error:
        raise NotSent(f"{type(error).__name__}: {error}") from error
    except (httpx.HTTPError, httpx.StreamError, TimeoutError, OSError) as error:
        raise AnswerCut(f"{type(error).__name__}: {error}") from error
    return WebhookAnswer(response.status_code, body, _retry_after_s(response.headers.get("retry-after", "")))


async def _body(response: httpx.Response) -> bytes:
    """Raises `AnswerCut` for one whose end cannot be told from a connection that broke, and is no whole JSON."""
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise AnswerCut("it is compressed, which was not asked for")
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        if len(body) > MAX_OUTPUT_BYTES:
            raise AnswerTooLong(response.status_code)
    if response.status_code != httpx.codes.NO_CONTENT and not _is_framed(response):
        if not bytes(body).lstrip().startswith(SELF_DELIMITING):
            raise AnswerCut("it has no length")
        try:
            orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise AnswerCut("it has no length, and is no whole JSON") from error
    return bytes(body)


def _is_framed(response: httpx.Response) -> bool:
    """Whether an answer that is cut is noticed: RFC 9112, 6.3. One without a length ends with its connection."""
    return "content-length" in response.headers or "transfer-encoding" in response.headers


def _retry_after_s(value: str) -> float | None:
    """RFC 9110, 10.2.3, in seconds, at most `MAX_RETRY_AFTER_S`; None also of a date, for clocks differ."""
    return min(float(value), MAX_RETRY_AFTER_S) if value.isascii() and value.isdigit() else None
