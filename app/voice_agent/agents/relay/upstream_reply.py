"""What an upstream sends of one response, in order, until it is over."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any

from voice_agent.agents.relay.upstream_events import AudioDelta, FunctionCalled, TextDelta, UpstreamError, UpstreamEvent

MAX_UNREAD_BYTES = 1024 * 1024
"""Of a response: with more of it unread its connection is not read, and the upstream has to wait."""
EVENT_BYTES = 512
"""About what an event takes in memory beside its text and audio."""


class UpstreamLost(Exception):
    """An upstream is gone, or does not do what it is asked."""

    def __init__(self, upstream: str, why: str) -> None:
        super().__init__(upstream, why)
        self.upstream = upstream
        self.why = why

    def __str__(self) -> str:
        return f"The upstream {self.upstream} is lost: {self.why}."


class UpstreamReply:
    """One response's."""

    def __init__(self, event_id: str, *, in_conversation: bool) -> None:
        self.event_id = event_id
        """Of the event that asks for it."""
        self.in_conversation = in_conversation
        self.response_id: str | None = None
        """None until the upstream has begun it."""
        self.is_over = False
        """Nothing more comes."""
        self.items_begun = 0
        self.usage: Mapping[str, Any] = {}
        """What it used, once it is over; {}: that is not known."""
        self._is_wanted = True
        self._events: deque[UpstreamEvent] = deque()
        self._bytes = 0
        self._lost: UpstreamLost | None = None
        self._came = asyncio.Event()
        self._read = asyncio.Event()
        self._over = asyncio.Event()

    def put(self, event: UpstreamEvent) -> None:
        """It comes next."""
        if not self._is_wanted:
            return
        self._events.append(event)
        self._bytes += size_of(event)
        self._came.set()

    def refuse(self, error: UpstreamError) -> None:
        """Something was refused: if it is this response, nothing comes of it."""
        if error.about == self.event_id:
            self.put(error)
            self.end()

    def lose(self, lost: UpstreamLost) -> None:
        """Nothing more comes, for its upstream is lost; what came is still read."""
        self._lost = self._lost or lost
        self._came.set()
        self.end()

    def drop(self) -> None:
        """What came, and what comes, is not wanted."""
        self._is_wanted = False
        self._events.clear()
        self._bytes = 0
        self._read.set()

    @property
    def is_full(self) -> bool:
        """Whether so much is unread that no more is to come."""
        return self._bytes >= MAX_UNREAD_BYTES and not self.is_over

    async def wait_for_room(self) -> None:
        """Wait until it is not full."""
        while self.is_full:
            self._read.clear()
            await self._read.wait()

    def end(self) -> None:
        """Nothing more comes; what came is still read."""
        self.is_over = True
        self._over.set()
        self._read.set()

    async def wait_over(self, within_s: float | None) -> None:
        """Wait until nothing more comes. Raises `TimeoutError`; None: however long that takes."""
        async with asyncio.timeout(within_s):
            await self._over.wait()

    async def next(self, within_s: float) -> UpstreamEvent:
        """The next event. Raises `UpstreamLost`, and `TimeoutError` when none comes."""
        if not self._events:
            async with asyncio.timeout(within_s):
                while not self._events:
                    if self._lost is not None:
                        raise self._lost
                    self._came.clear()
                    await self._came.wait()
        event = self._events.popleft()
        self._bytes -= size_of(event)
        self._read.set()
        return event


def size_of(event: UpstreamEvent) -> int:
    """About what it takes in memory."""
    match event:
        case AudioDelta(audio=audio):
            return EVENT_BYTES + len(audio)
        case TextDelta(text=text):
            return EVENT_BYTES + 4 * len(text)
        case FunctionCalled(arguments=arguments):
            return EVENT_BYTES + 4 * len(arguments)
        case _:
            return EVENT_BYTES
