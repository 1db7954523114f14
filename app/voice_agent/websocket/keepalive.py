"""Whether a WebSocket's peer is still there: pings at intervals, and a ping on request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from voice_agent.websocket.frame_writer import FrameWriter

PING_S = 20.0
"""Pings keep load balancers from taking a silent connection for dead (an ALB's idle timeout is 60 s by default); a
peer that has not answered one by the time of the next is dead."""
PROBE = b"?"
"""Content of the ping that is sent on request; those at intervals have none."""


class Keepalive:
    """Of one connection; runs until `stop`."""

    __slots__ = ("_is_unanswered", "_on_answer", "_on_dead", "_period_s", "_reads", "_timer", "_writer")

    def __init__(
        self, writer: FrameWriter, period_s: float, reads: Callable[[], bool], on_dead: Callable[[], None]
    ) -> None:
        """`on_dead` is called once, for a peer that answers no ping although `reads` says that answers are read."""
        self._writer = writer
        self._period_s = period_s
        self._reads = reads
        self._on_dead = on_dead
        self._is_unanswered = False
        self._on_answer: Callable[[], None] | None = None
        """Called once the ping is answered that was sent on request."""
        self._timer = asyncio.get_running_loop().call_later(period_s, self._ping)

    def probe(self, answered: Callable[[], None]) -> None:
        """Send a ping that can be told from the others; nothing while an earlier one is not answered."""
        if self._on_answer is None and self._writer.is_open:
            self._on_answer = answered
            self._writer.ping(PROBE)

    def pong_received(self, content: bytes) -> None:
        """Any answer is a sign of life, whichever ping it belongs to. Raises what `answered` of `probe` raises."""
        self._is_unanswered = False
        if content == PROBE and self._on_answer is not None:
            answered, self._on_answer = self._on_answer, None
            answered()

    def stop(self) -> None:
        """Send no more pings."""
        self._timer.cancel()

    def _ping(self) -> None:
        if self._is_unanswered and self._reads():
            self._on_dead()
            return
        self._is_unanswered = True
        self._writer.ping(b"")
        self._timer = asyncio.get_running_loop().call_later(self._period_s, self._ping)
