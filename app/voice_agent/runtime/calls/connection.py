"""One caller's connection: what is durable goes out, in order, at the socket's own pace.

While the caller keeps up, events are written where they become durable, without a task
switch. What the socket does not take at once is queued, and sent by `run`'s task.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import structlog

from voice_agent.call.changes import OutboxEntry
from voice_agent.call.closing import REASONS, CloseCode
from voice_agent.protocol.realtime import frame
from voice_agent.runtime.calls.receipts import Receipts
from voice_agent.runtime.ports import ClientOptions, Observer, Transport

CLOSE_FLUSH_S = 2.0
"""How long a connection that is to be closed may take to send what is queued."""
SENT_IN_TURN_BYTES = 256 * 1024
"""So much is sent in one turn of the event loop, about a millisecond of work, even to a caller who reads all at once:
the replay of a long outbox must not make others wait."""
EVENT_COST_BYTES = 1024
"""What an event costs beside its bytes, as if it were bytes."""
MAX_PUSHED = 64
"""More events than this at once are sent in the turns of `run`."""
MAX_UNSENT_BYTES = 8 * 1024 * 1024
"""A caller who reads so slowly that more than this waits is closed with 1013, and resumes from the outbox."""

log = structlog.get_logger(__name__)


class Connection:
    """Created when a call is attached, before its upgrade: events gather until `run` has a transport."""

    def __init__(self, observer: Observer, client: ClientOptions, *, resumable: bool) -> None:
        self.client = client
        self.receipts = Receipts(self.tell) if client.received else None
        self.resumable = resumable
        self.closing: tuple[int, str] | None = None
        """Set once this side decided to close: the code and the reason."""
        self.reading_paused = False
        """While nothing more may be taken from the caller, who may be about to be handed off; see `pause_reading`."""
        self._reading = asyncio.Event()
        self._observer = observer
        self._frames = observer.frames
        self._unsent: deque[OutboxEntry] = deque()
        self._unsent_bytes = 0
        self._wake = asyncio.Event()
        self._open: Transport | None = None
        """Where events can be written at once, because none waits to be sent before them."""
        self._transport: Transport | None = None
        """Set while `run` sends."""
        self._closer: asyncio.Task[None] | None = None
        self._limit: asyncio.Timeout | None = None
        """How long `run` may go on sending."""

    def push(self, events: Sequence[OutboxEntry]) -> None:
        """Send durable events, or queue them; many are always queued."""
        if self.closing is not None:
            return
        sent = 0
        if self._open is not None and len(events) <= MAX_PUSHED:
            for entry in events:
                if not self._open.write(frame(*entry)):
                    break
                sent += 1
                if entry.audio:
                    self._frames.went += 1
        if sent < len(events):
            self._queue(events[sent:])

    def tell(self, text: bytes) -> bool:
        """Send what has no number, if the caller keeps up; else nothing, for what is told next is newer."""
        return self._open is not None and self._open.write(text)

    @property
    def unsent_bytes(self) -> int:
        """What waits to be sent."""
        return self._unsent_bytes

    def _queue(self, events: Sequence[OutboxEntry]) -> None:
        self._open = None
        # The backlog counts, not the news: a single large event must be able to go out.
        if self._unsent_bytes > MAX_UNSENT_BYTES:
            self._observer.limit_reached("unsent_bytes")
            self.close(
                CloseCode.TRY_AGAIN_LATER, f"too slow: over {MAX_UNSENT_BYTES} bytes wait to be read", at_once=True
            )
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
        self._open = None
        self._wake.set()
        self._limit_close_flush()
        self.resume_reading()

    def close_after(self, flush: Callable[[], Awaitable[None]], code: int, reason: str) -> None:
        """Close as `close` does, once `flush` has returned: the last events are pushed by then."""
        self._closer = asyncio.create_task(self._close_after(flush, code, reason), name="close")

    async def _close_after(self, flush: Callable[[], Awaitable[None]], code: int, reason: str) -> None:
        await flush()
        self.close(code, reason)

    def pause_reading(self) -> None:
        """Take none of the client's messages until `resume_reading`."""
        self.reading_paused = True
        self._reading.clear()

    def resume_reading(self) -> None:
        """Take the client's messages from now on."""
        self.reading_paused = False
        self._reading.set()

    async def reading(self) -> None:
        """Wait while reading is paused."""
        if self.reading_paused:
            await self._reading.wait()

    def _limit_close_flush(self) -> None:
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time() + CLOSE_FLUSH_S)

    def probe(self, answered: Callable[[], None]) -> None:
        """See `Transport.probe`."""
        if self._transport is not None and self.closing is None:
            self._transport.probe(answered)

    async def run(self, transport: Transport, greeting: bytes) -> None:
        """Send the greeting, then events as they come, until the connection is to be closed; then close it.

        A caller who does not read what is left within `CLOSE_FLUSH_S` is cut off.
        """
        self._transport = transport
        try:
            async with asyncio.timeout(None) as self._limit:
                if self.closing is not None:
                    self._limit_close_flush()
                await self._send(transport, greeting)
        except TimeoutError:
            log.info("caller did not read the last events")
        except Exception:
            # The root of a task: the caller comes back for what was not sent.
            log.exception("sending failed")
        finally:
            self._limit = self._open = self._transport = None
            if self.receipts is not None:
                self.receipts.stop()
        self.close(CloseCode.INTERNAL_ERROR)  # Unless it is closing already.
        assert self.closing is not None
        await transport.close(*self.closing)

    async def _send(self, transport: Transport, greeting: bytes) -> None:
        await transport.send(greeting)
        while True:
            cost_bytes = 0
            while self._unsent:
                entry = self._unsent.popleft()
                size_bytes = len(entry.head) + len(entry.audio)
                self._unsent_bytes -= size_bytes
                await transport.send(frame(*entry))
                if entry.audio:
                    self._frames.went += 1
                cost_bytes += EVENT_COST_BYTES + size_bytes
                if cost_bytes > SENT_IN_TURN_BYTES:
                    cost_bytes = 0
                    await asyncio.sleep(0)
            if self.closing is not None:
                return
            self._open = transport
            self._wake.clear()
            await self._wake.wait()
