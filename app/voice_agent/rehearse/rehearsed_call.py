"""A call over a client of a rehearsal: its events in order, what is lost sent again, and which pod served it when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Self

from voice_agent.client.sequence import Tally
from voice_agent.rehearse.clients import RehearsalClient
from voice_agent.rehearse.timeline import CallLine


class RehearsedCall:
    """What `client.connection.RealtimeCall` is over its own connections, over those of other people's clients.

    The two stay apart: who connects, and who learns first that a connection is lost, is not the same in both.
    """

    def __init__(self, client: RehearsalClient, line: CallLine, now_s: Callable[[], float]) -> None:
        """`line` is filled; `now_s`: the time for it, in seconds since the rehearsal began."""
        self.line = line
        self._client = client
        self._now_s = now_s
        self._sending = asyncio.Lock()
        self._is_connected = False
        client.on_lost = self._lost

    @property
    def call_id(self) -> str | None:
        """None until it is connected."""
        return self._client.position.call_id

    @property
    def tally(self) -> Tally:
        """What it has been through so far."""
        return self._client.position.tally

    async def __aenter__(self) -> Self:
        """Connect. Raises `CallFailed`."""
        await self._client.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.line.end_leg(self._now_s())
        await self._client.hang_up()

    async def send(self, event: dict[str, Any]) -> None:
        """Send a client event, now or once there is a connection again."""
        self._client.position.add(event)
        await self._send_pending()

    async def append_audio(self, audio: bytes) -> None:
        """Send audio, PCM16 24 000 Hz."""
        self._client.position.append_audio(audio)
        await self._send_pending()

    async def _send_pending(self) -> None:
        """Send what is not sent, in order. Without a connection it waits for the next greeting."""
        async with self._sending:
            while self._is_connected and (text := self._client.position.next_message()) is not None:
                await self._client.send(text)

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Server events, each once. Raises `CallFailed` if the call is lost."""
        catching_up: asyncio.Task[None] | None = None
        try:
            async for event in self._client.events():
                if event["type"] == "session.created":
                    self._greeted(event)
                    # Beside reading, or both ends could wait for each other with full buffers.
                    catching_up = asyncio.create_task(self._send_pending())
                elif self._client.position.is_new(event):
                    yield event
        finally:
            if catching_up is not None:
                catching_up.cancel()
            self._is_connected = False

    def _greeted(self, greeting: dict[str, Any]) -> None:
        position = self._client.position
        position.greeted(greeting)
        position.go_on()
        self.line.call_id = position.call_id or ""
        self.line.begin_leg(position.info["color"], position.info["pod"], self._now_s())
        self._is_connected = True

    def _lost(self, code: int) -> None:
        self._is_connected = False
        self.line.end_leg(self._now_s(), code)
