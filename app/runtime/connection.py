"""One caller's connection: what is durable goes out, in order, at the socket's own pace."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

import structlog

from app.call.changes import OutboxEntry
from app.call.closing import INTERNAL_ERROR, REASONS, TRY_AGAIN_LATER
from app.runtime.ports import Observer, Transport
from app.wire.realtime import frame

LAST_WORDS_S = 2.0
"""How long a connection that is to be closed may take to send what is queued."""
MAX_UNSENT_BYTES = 8 * 1024 * 1024
"""A caller who reads so slowly that more than this waits is closed with 1013, and resumes from the outbox."""

log = structlog.get_logger(__name__)


class Connection:
    """Created when a call is attached, before its upgrade: events gather until `run` has a transport."""

    def __init__(self, observer: Observer, *, going_away: bool, resumable: bool) -> None:
        self.going_away = going_away
        self.resumable = resumable
        self.closing: tuple[int, str] | None = None
        """Set once this side decided to close: the code and the reason."""
        self.listens = asyncio.Event()
        """Cleared while nothing more may be taken from the caller, who may be about to be handed off."""
        self.listens.set()
        self._observer = observer
        self._unsent: deque[OutboxEntry] = deque()
        self._unsent_bytes = 0
        self._wake = asyncio.Event()
        self._to_close = asyncio.Event()

    def push(self, events: Iterable[OutboxEntry]) -> None:
        """Queue durable events."""
        if self.closing is not None:
            return
        # The backlog counts, not the news: a single large event must be able to go out.
        if self._unsent_bytes > MAX_UNSENT_BYTES:
            self.close(TRY_AGAIN_LATER, "too slow: events wait to be read", at_once=True)
            return
        for entry in events:
            self._unsent.append(entry)
            self._unsent_bytes += len(entry.head) + len(entry.audio)
        self._wake.set()

    def close(self, code: int, reason: str = "", *, at_once: bool = False) -> None:
        """Close after what is queued has been sent, or before it."""
        if self.closing is not None:
            return
        self.closing = (code, reason or REASONS.get(code, ""))
        if at_once:
            self._unsent.clear()
            self._unsent_bytes = 0
        self._wake.set()
        self._to_close.set()
        self.listens.set()

    async def run(self, transport: Transport, greeting: str) -> None:
        """Send the greeting, then events as they come, until the connection is to be closed; then close it.

        A caller who does not read what is left within `LAST_WORDS_S` is cut off.
        """
        sending = asyncio.create_task(self._send(transport, greeting))
        asked = asyncio.create_task(self._to_close.wait())
        try:
            await asyncio.wait({sending, asked}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({sending}, timeout=LAST_WORDS_S)
            if sending.done() and sending.exception() is not None:
                log.error("sending failed", exc_info=sending.exception())
                self.close(INTERNAL_ERROR)
        finally:
            sending.cancel()
            asked.cancel()
            await asyncio.gather(sending, asked, return_exceptions=True)
        assert self.closing is not None
        await transport.close(*self.closing)

    async def _send(self, transport: Transport, greeting: str) -> None:
        await transport.send(greeting)
        while self._unsent or self.closing is None:
            await self._wake.wait()
            self._wake.clear()
            spoken = 0
            while self._unsent:
                entry = self._unsent.popleft()
                self._unsent_bytes -= len(entry.head) + len(entry.audio)
                spoken += bool(entry.audio)
                await transport.send(frame(*entry))
            if spoken:
                self._observer.frames_out(spoken)
