"""The connection to an upstream: events go out, messages come in, and once anything is wrong it is lost for good."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from voice_agent.agents.relay.upstream_reply import UpstreamLost

SEND_S = 5.0
"""So long an upstream may not read: one that stalls without closing is lost."""
CLOSE_S = 1.0
"""So long an upstream may take to close: one that does not read would take for ever."""
PING_EVERY_S = 10.0
PONG_WITHIN_S = 10.0
"""An upstream that has gone without closing is found out between replies, not by the caller who waits for one."""


class UpstreamSocket:
    """One connection. All that waits raises `UpstreamLost`."""

    def __init__(self, socket: ClientConnection, name: str, is_paused: Callable[[], bool]) -> None:
        """`name`: of the upstream. `is_paused`: whether nothing is read now, so that no pong can come."""
        self.lost: UpstreamLost | None = None
        self.on_lost: Callable[[UpstreamLost], None] = lambda lost: None
        self._socket = socket
        self._name = name
        self._is_paused = is_paused
        self._pinging = asyncio.create_task(self._ping(), name=f"relay pings {name}")

    async def send(self, event: Mapping[str, Any] | str) -> None:
        """Send an event."""
        if self.lost is not None:
            raise self.lost
        try:
            async with asyncio.timeout(SEND_S):
                await self._socket.send(event if isinstance(event, str) else orjson.dumps(event), text=True)
        except TimeoutError as error:
            raise self.lose("it does not read") from error
        except ConnectionClosed as error:
            raise self.lose(_closed(error)) from error

    async def receive(self) -> str | bytes:
        """The next message."""
        try:
            return await self._socket.recv()
        except ConnectionClosed as error:
            raise self.lose(_closed(error)) from error

    def lose(self, why: str) -> UpstreamLost:
        """It is not to be used any more. Returns what says why, the first time that it was lost."""
        if self.lost is None:
            self.lost = UpstreamLost(self._name, why)
            self.on_lost(self.lost)
        return self.lost

    async def close(self) -> None:
        """Close it; after `CLOSE_S`, or cancelled, it is aborted."""
        self.lose("it was closed")
        self._pinging.cancel()
        try:
            # The library's own limit begins once what was sent before has gone out.
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await self._socket.close()
        finally:
            self._socket.transport.abort()
        await asyncio.wait((self._pinging,))

    async def _ping(self) -> None:
        """Find out that it is gone."""
        while self.lost is None:
            await asyncio.sleep(PING_EVERY_S)
            try:
                if not self._is_paused():
                    async with asyncio.timeout(PONG_WITHIN_S):
                        await (await self._socket.ping())
            except (ConnectionClosed, TimeoutError):
                if not self._is_paused():
                    self.lose("it does not answer")


def _closed(error: ConnectionClosed) -> str:
    return "the connection broke" if error.rcvd is None else f"it closed with {error.rcvd.code}"
