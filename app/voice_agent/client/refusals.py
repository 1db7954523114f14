"""Why a call cannot go on, as the caller should read it."""

from __future__ import annotations

import contextlib
from http import HTTPStatus
from typing import Any

import orjson

from voice_agent.call.closing import CloseCode
from voice_agent.call.endings import transfer_event
from voice_agent.errors import VoiceAgentError

ADVICE = {
    400: "check the URL's parameters",
    401: "pass a key: --api-key or VOICE_API_KEY",
    403: "the resume token or call key belongs to another call or key",
    404: "the call's record has expired or the path is wrong",
    410: "start a new call",
    429: "end another call first",
    CloseCode.INVALID_DATA: "the server could not read a message",
    CloseCode.POLICY_VIOLATION: "the server does not allow this; its log says why",
    CloseCode.MESSAGE_TOO_BIG: "send audio in smaller pieces",
    CloseCode.ATTACHED_ELSEWHERE: "another client resumed this call; only one may hold it",
    CloseCode.CALL_TIMED_OUT: "start a new call",
    CloseCode.CALL_ENDED: "start a new call",
}
LONGEST = 200
"""So many characters of a server's message are shown."""
WORTH_RETRYING = frozenset({408, 425, 500, 502, 503, 504})


class CallFailed(VoiceAgentError):
    """The call cannot be started or cannot go on; `str()` is one line that says what to do."""


class CallRefused(CallFailed):
    """The server answered with an HTTP status instead of an upgrade."""

    def __init__(self, status: int, body: bytes, retry_after_s: float | None) -> None:
        self.status = status
        self.retry_after_s = retry_after_s
        self.last_event = _last_event(status, body)
        """The call's last event, which the client may not have seen: whom to call next; None unless it is told that."""
        advice = ADVICE.get(status)
        if advice is None and self.retryable:
            advice = "try again later" if retry_after_s is None else f"try again in {retry_after_s:g} s"
        super().__init__(f"refused with {_said(status, body)}" + (f" ({advice})" if advice else ""))

    @property
    def retryable(self) -> bool:
        """Whether trying again can help."""
        return self.status in WORTH_RETRYING


class Unreachable(CallFailed):
    """There was no connection, or it broke before the greeting: trying again can help."""


def closed(code: int, reason: str) -> CallFailed:
    """The server closed the connection and does not want the caller back."""
    advice = ADVICE.get(code)
    return CallFailed(f"closed with {code}" + (f": {reason}" if reason else "") + (f" ({advice})" if advice else ""))


def _last_event(status: int, body: bytes) -> dict[str, Any] | None:
    if status == HTTPStatus.GONE:
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            return transfer_event(orjson.loads(body)["error"])
    return None


def _said(status: int, body: bytes) -> str:
    """The server's own words; of a load balancer's page, which is HTML, only what its status means."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        parsed: Any = orjson.loads(body)
        return f"{status}: {' '.join(str(parsed['error']['message']).split())[:LONGEST]}"
    with contextlib.suppress(ValueError):
        return f"{status} {HTTPStatus(status).phrase}"
    return str(status)
