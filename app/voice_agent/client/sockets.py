"""Opening a WebSocket to a realtime server, and what can go wrong with that."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol
from urllib.parse import urlsplit

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidStatus, InvalidURI

from voice_agent.call.closing import CloseCode
from voice_agent.client.addresses import address, check
from voice_agent.client.refusals import CallFailed, CallRefused, Unreachable
from voice_agent.settings import is_loopback

MAX_MESSAGE_BYTES = 32 * 1024 * 1024
HANDSHAKE_S = 10.0
PING_EVERY_S = 5.0
SILENT_FOR_S = 10.0
"""A peer that answers no ping for so long is gone: a pod's host may vanish without a word."""
CLOSING_S = 2.0


class ClientSocket(Protocol):
    """The part of a connection below the protocol."""

    def abort(self) -> None:
        """Drop the connection at once, without a close frame."""


class Socket(Protocol):
    """What is used of a `websockets` connection; every method raises `ConnectionClosed` once it is gone."""

    @property
    def transport(self) -> ClientSocket: ...
    @property
    def close_code(self) -> int | None: ...
    @property
    def close_reason(self) -> str | None: ...
    async def recv(self) -> str | bytes: ...
    async def send(self, message: str) -> None: ...
    async def close(self, code: int = CloseCode.NORMAL_CLOSURE) -> None: ...


OpenSocket = Callable[[str, Mapping[str, str]], Awaitable[Socket]]
"""Connects to a URL with headers.

Raises `OSError`, `CallRefused`, `Unreachable`, or `CallFailed` for a useless address.
"""


async def open_socket(url: str, headers: Mapping[str, str]) -> Socket:
    """A connection by the `websockets` library; proxies of the environment are for hosts beyond this one."""
    check(url)
    try:
        return await connect(
            url,
            additional_headers=headers,
            max_size=MAX_MESSAGE_BYTES,
            compression=None,
            proxy=None if is_loopback(urlsplit(url).hostname or "") else True,
            open_timeout=HANDSHAKE_S,
            close_timeout=CLOSING_S,
            ping_interval=PING_EVERY_S,
            ping_timeout=SILENT_FOR_S,
        )
    except InvalidStatus as refusal:
        wait = refusal.response.headers.get("Retry-After", "")
        status, body = refusal.response.status_code, bytes(refusal.response.body or b"")
        raise CallRefused(status, body, float(wait) if wait.isdecimal() else None) from refusal
    except InvalidMessage as error:
        # A load balancer hangs up like this when the pod behind it has just died.
        raise Unreachable(f"{address(url)} broke off the handshake") from error
    except ssl.SSLCertVerificationError:
        raise  # It is a ValueError, too.
    except (InvalidURI, InvalidHandshake, ValueError) as error:
        reason = error.msg if isinstance(error, InvalidURI) else error
        raise CallFailed(f"{address(url)} is not an address that works: {reason}") from error
