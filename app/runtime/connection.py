"""One caller's connection: what is durable goes out, in order, at the socket's own pace."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from app.call.changes import OutboxEntry
from app.call.closing import REASONS, TRY_AGAIN_LATER
from app.runtime.ports import Observer, Transport
from app.wire.realtime import frame

MAX_UNSENT_BYTES = 8 * 1024 * 1024
"""A caller who reads so slowly that more than this waits is closed with 1013, and resumes from the outbox."""


class Connection:
    """Created when a call is attached, before its upgrade: events gather until `run` has a transport."""

    def __init__(self, observer: Observer, *, going_away: bool, resumable: bool) -> None:
        self.going_away = going_away
        self.resumable = resumable
        self.closing: tuple[int, str] | None = None
        """Set once this side decided to close: the code and the reason."""
        self._observer = observer
        self._unsent: deque[OutboxEntry] = deque()
        self._unsent_bytes = 0
        self._wake = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._transport: Transport | None = None

    def push(self, events: Iterable[OutboxEntry]) -> None:
        """Queue durable events."""
        if self.closing is not None:
            return
        for entry in events:
            self._unsent.append(entry)
            self._unsent_bytes += len(entry.head) + len(entry.audio)
        if self._unsent_bytes > MAX_UNSENT_BYTES:
            self.close(TRY_AGAIN_LATER, "too slow: events wait to be read", at_once=True)
        if self._unsent:
            self._drained.clear()
        self._wake.set()

    def close(self, code: int, reason: str = "", *, at_once: bool = False) -> None:
        """Close after what is queued has been sent, or before it."""
        if self.closing is not None:
            return
        self.closing = (code, reason or REASONS.get(code, ""))
        if at_once:
            self._unsent.clear()
        self._wake.set()

    async def drained(self) -> None:
        """Wait until everything queued has been sent."""
        await self._drained.wait()

    async def run(self, transport: Transport, greeting: str) -> None:
        """Send the greeting, then events as they come, until the connection is to be closed."""
        await transport.send(greeting)
        while True:
            await self._wake.wait()
            self._wake.clear()
            sent = 0
            while self._unsent:
                entry = self._unsent.popleft()
                self._unsent_bytes -= len(entry.head) + len(entry.audio)
                sent += bool(entry.audio)
                await transport.send(frame(*entry))
            self._drained.set()
            if sent:
                self._observer.frames_out(sent)
            if self.closing is not None:
                await transport.close(*self.closing)
                return
