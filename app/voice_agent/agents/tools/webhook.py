"""A webhook as a tool: a signed POST to an address of the operator's, with an idempotency key.

What may have been done is never asked for under another key, and where there is an address to verify it, that is asked
first::

    POST ── whole answer ──> 2xx: what it gave; 4xx: refused, nothing was done
      └─ no connection, 408, 429 ──> not done ──> again, with the same key
      └─ cut, too slow, 409, 5xx ──> not known ──> verify ──> done: what it gave
                                                     ├─ not done ──> again, with the same key
                                                     └─ not known ──> verify later

Without an address to verify it, what is not known is asked for again at once. The model's arguments stand in the body,
and nowhere else.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import httpx
import orjson
import structlog

from voice_agent.agents.tools.exchange import AnswerCut, AnswerTooLong, NotSent, WebhookAnswer, exchange
from voice_agent.agents.tools.outcome import MAX_ERROR_CHARS, NOT_SHOWN, UNKNOWN
from voice_agent.agents.tools.webhook_settings import WebhookSettings
from voice_agent.kit.call import Call
from voice_agent.kit.tools import Tool, ToolError

FIRST_BACKOFF_S = 0.2
"""Before it is asked again; twice as long each time, with a jitter."""
NOT_DONE_STATUSES = frozenset({408, 429})
"""RFC 9110, 15.5.9; RFC 6585, 4: the request was not taken."""
IN_PROGRESS = 409
"""As the draft of the header Idempotency-Key has it: the same is being done at this moment."""

log = structlog.get_logger(__name__)


def _wall_s() -> float:
    """The receiver holds the timestamp against its own clock."""
    return time.time()  # noqa: TID251 no call depends on it; tests give another


class Verified(StrEnum):
    """What an address that verifies knows of a key."""

    DONE = "done"
    NOT_DONE = "not_done"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class _Attempts:
    """What has become of one call of the tool."""

    may_be_done: bool
    """Since it was last verified that it was not."""
    was_sent: bool
    wait_s: float | None = None
    """What the webhook asked for."""


def body_of(tool: str, call_id: str, arguments: Mapping[str, Any]) -> bytes:
    """What is sent: the same bytes whenever the same call of the tool is made again."""
    data = {"tool": tool, "call_id": call_id, "arguments": dict(arguments)}
    return orjson.dumps({"type": "tool.called", "data": data})


class WebhookTool(Tool):
    """One webhook; serves all calls of a pod. `http` is the pod's: `Kit.http`."""

    def __init__(
        self, settings: WebhookSettings, http: httpx.AsyncClient, *, wall_s: Callable[[], float] = _wall_s
    ) -> None:
        """`wall_s`: seconds since 1970 UTC, of which the timestamps are made."""
        super().__init__(
            name=settings.name,
            description=settings.description,
            parameters=settings.parameters,
            says=settings.says,
            says_after_ms=settings.says_after_ms,
            timeout_s=settings.timeout_s,
            read_only=settings.read_only,
        )
        self._settings = settings
        self._signer = settings.signer()
        self._http = http
        self._wall_s = wall_s
        self._headers = {name: value.get_secret_value() for name, value in settings.headers.items()}

    async def run(self, call: Call, arguments: Mapping[str, Any], idempotency_key: str) -> Any:
        """See `Tool`. Asks, verifies and asks again until it is known what became of it, or it has tried enough."""
        body = body_of(self.name, call.caller.id, arguments)
        is_repeat = bool(getattr(idempotency_key, "is_repeat", False))
        attempts = _Attempts(may_be_done=is_repeat, was_sent=is_repeat)
        for number in range(self._settings.retries + 1):
            if number:
                await asyncio.sleep(_backoff_s(number, attempts.wait_s))
            if attempts.may_be_done and self._settings.verify_url is not None:
                verified, result = await self._verify(idempotency_key)
                if verified is Verified.DONE:
                    return result
                if verified is Verified.UNKNOWN:
                    continue
                attempts.may_be_done = False
            answer = await self._post(body, idempotency_key, attempts)
            if answer is not None:
                return _given(answer)
        if attempts.may_be_done and self._settings.verify_url is not None:
            verified, result = await self._verify(idempotency_key)
            if verified is Verified.DONE:
                return result
        told = UNKNOWN if attempts.was_sent else "Nothing was done."
        raise ToolError(f"The service {self.name} cannot be reached at the moment. {told}")

    async def _post(self, body: bytes, key: str, attempts: _Attempts) -> WebhookAnswer | None:
        """What it gave, if that came whole; None: it may be asked again. Raises `ToolError` where it may not."""
        attempts.wait_s = None
        try:
            request = self._request("POST", self._settings.url, key, body)
            answer = await exchange(self._http, request, self._settings.attempt_timeout_s)
        except NotSent as error:
            self._tell("webhook cannot be reached", reason=str(error))
            return None
        except AnswerCut as error:
            attempts.may_be_done = attempts.was_sent = True
            self._tell("webhook gave no whole answer", reason=str(error))
            return None
        except AnswerTooLong as error:
            raise ToolError(NOT_SHOWN.format("it is too long")) from error
        if answer.is_success:
            return answer
        self._tell("webhook did not do it", status=answer.status)
        attempts.wait_s = answer.retry_after_s
        if answer.status in NOT_DONE_STATUSES:
            return None
        if answer.status == IN_PROGRESS or answer.status >= httpx.codes.INTERNAL_SERVER_ERROR:
            attempts.may_be_done = attempts.was_sent = True
            return None
        if answer.status < httpx.codes.BAD_REQUEST:
            raise ToolError(f"The service {self.name} answered elsewhere (HTTP {answer.status}). {UNKNOWN}")
        raise ToolError(_refusal(answer) or f"The service {self.name} refused it (HTTP {answer.status}).")

    async def _verify(self, key: str) -> tuple[Verified, Any]:
        """Whether it was done, and what it gave. What is no answer is unknown."""
        assert self._settings.verify_url is not None
        url = httpx.URL(self._settings.verify_url).copy_merge_params({"key": key})
        try:
            answer = await exchange(self._http, self._request("GET", url, key, b""), self._settings.attempt_timeout_s)
            told = answer.value() if answer.is_success else None
        except AnswerTooLong as error:
            raise ToolError(NOT_SHOWN.format("it is too long")) from error
        except (NotSent, AnswerCut, ValueError) as error:
            self._tell("webhook cannot be verified", reason=str(error))
            return Verified.UNKNOWN, None
        known = told if isinstance(told, dict) else {}
        status = str(known.get("status"))
        if status not in set(Verified):
            self._tell("webhook cannot be verified", status=answer.status)
            return Verified.UNKNOWN, None
        return Verified(status), known.get("result")

    def _request(self, method: str, url: str | httpx.URL, key: str, body: bytes) -> httpx.Request:
        """Made by itself, not by the client: so it has none of the client's cookies."""
        signed = self._signer.headers(key, int(self._wall_s()), body)
        headers = {
            **self._headers,
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": "voice-agent",
            "idempotency-key": key,
            **signed,
        }
        if body:
            headers["content-type"] = "application/json"
        return httpx.Request(method, url, headers=headers, content=body or None)

    def _tell(self, what: str, **facts: Any) -> None:
        log.warning(what, tool=self.name, **facts)


def _backoff_s(number: int, wait_s: float | None) -> float:
    if wait_s is not None:
        return wait_s
    full_s: float = FIRST_BACKOFF_S * 2 ** (number - 1)
    return full_s * random.uniform(0.5, 1.0)  # noqa: S311 spreads retries, hides nothing


def _given(answer: WebhookAnswer) -> Any:
    try:
        return answer.value()
    except ValueError as error:
        raise ToolError(NOT_SHOWN.format("it is no text")) from error


def _refusal(answer: WebhookAnswer) -> str:
    """What the webhook wants the model to know, if it says so: ``{"error": "…"}``."""
    try:
        told = answer.value()
    except ValueError:
        return ""
    error = told.get("error") if isinstance(told, dict) else None
    return error[:MAX_ERROR_CHARS] if isinstance(error, str) else ""
