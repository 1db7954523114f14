"""Whether a WebSocket's peer is still there: pings at intervals, and a ping on request."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from voice_agent.websocket.frame_writer import FrameWriter

PING_S = 20.0
"""Pings keep load balancers from taking a silent connection for dead (an ALB's idle timeout is 60 s by default); a
peer that has not answered one by the time of the next is dead."""
PROBE = b"?"
"""Content of the ping that is sent on request; those at intervals have none."""
MAX_ASKED = 16
"""So many requests wait for one ping; of more the oldest are not answered, for which hardly anybody waits."""


class Probe:
    """Pings on request. Who asks is told of the answer to a ping that was sent after that, and to no earlier one.

    One answer is awaited at a time, so that a peer that reads nothing is sent one ping: they all look alike.
    """

    __slots__ = ("_asked", "_awaited", "_ping")

    def __init__(self, ping: Callable[[], None]) -> None:
        """`ping`: sends one."""
        self._ping = ping
        self._awaited: list[Callable[[], None]] = []
        """To be told of the answer to the ping that was sent."""
        self._asked: deque[Callable[[], None]] = deque(maxlen=MAX_ASKED)
        """To be told of the answer to the next."""

    def ask(self, answered: Callable[[], None]) -> None:
        """Have `answered` called once the peer has answered a ping that is sent now or later."""
        if not self._awaited:
            self._awaited.append(answered)
            self._ping()
        else:
            self._asked.append(answered)

    def answer(self) -> None:
        """The ping is answered. Raises what `answered` of `ask` raises."""
        awaited, self._awaited = self._awaited, list(self._asked)
        self._asked.clear()
        if self._awaited:
            self._ping()
        for answered in awaited:
            answered()


class Keepalive:
    """Of one connection; runs until `stop`."""

    __slots__ = ("_is_unanswered", "_on_dead", "_period_s", "_probe", "_reads", "_timer", "_writer")

    def __init__(
        self, writer: FrameWriter, period_s: float, reads: Callable[[], bool], on_dead: Callable[[], None]
    ) -> None:
        """`on_dead` is called once, for a peer that answers no ping although `reads` says that answers are read."""
        self._writer = writer
        self._period_s = period_s
        self._reads = reads
        self._on_dead = on_dead
        self._is_unanswered = False
        self._probe = Probe(lambda: writer.ping(PROBE))
        self._timer = asyncio.get_running_loop().call_later(period_s, self._ping)

    def probe(self, answered: Callable[[], None]) -> None:
        """Send a ping that can be told from the others, as soon as the last such one is answered: see `Probe`."""
        if self._writer.is_open:
            self._probe.ask(answered)

    def pong_received(self, content: bytes) -> None:
        """Any answer is a sign of life, whichever ping it belongs to. Raises what `answered` of `probe` raises."""
        self._is_unanswered = False
        if content == PROBE:
            self._probe.answer()

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
