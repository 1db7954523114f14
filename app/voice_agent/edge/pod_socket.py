"""The edge's connection to a pod, after its upgrade.

::

    GREETING --the first frame--> OPEN --close frame, broken frame, connection lost--> GONE
"""

from __future__ import annotations

import asyncio
import os
from typing import Protocol

from websockets.frames import CloseCode

from voice_agent.edge.pod_frames import BrokenFrame, PodFrames
from voice_agent.websocket.frames import (
    BINARY,
    CLOSE,
    FINAL,
    MASK_BYTES,
    PING,
    PONG,
    TEXT,
    close_frame,
    control_frame,
    masked,
    payload_start,
)
from voice_agent.websocket.keepalive import PROBE

CLOSING_S = 1.0
"""How long a pod has to answer a close frame before the connection is cut."""
SILENT_S = 1.0
"""After so long without a byte the pod is asked for a sign of life, every time it is looked at."""
DEAD_S = 3.0
"""After so long it is taken for gone: its host may have vanished without a word. A pod answers from its event loop,
however busy; if that stands still for so long its callers have lost it already, and a move costs them less."""

_MESSAGES = (FINAL | TEXT, FINAL | BINARY)
_CLOSE = FINAL | CLOSE
_PING = FINAL | PING


class PodListener(Protocol):
    """What is done with what a pod sends."""

    def frames_came(self, frames: list[bytes]) -> None:
        """Whole messages, each in its frame."""

    def pod_gone(self, code: int, reason: str) -> None:
        """The connection is over; nothing comes any more."""

    def pod_keeps_up(self) -> None:
        """It takes what is sent again."""

    def pod_asks(self) -> None:
        """Whether the caller is there: to be answered with `PodSocket.answer`, or by nobody."""


class PodSocket(asyncio.Protocol):
    """Takes a connected transport over. Reading stops behind the first message until `begin`."""

    def __init__(self, transport: asyncio.Transport, early: bytes) -> None:
        """`early`: what came behind the answer to the upgrade."""
        loop = asyncio.get_running_loop()
        self.greeting: asyncio.Future[bytes] = loop.create_future()
        """The frame of the first message; `ConnectionError` if there is none."""
        self.is_congested = False
        """Whether it takes no more than it has been sent."""
        self.closed: tuple[int, str] | None = None
        """The close frame that came, or what stands for it; set once it is gone."""
        self._loop = loop
        self._transport = transport
        self._frames = PodFrames()
        self._listener: PodListener | None = None
        self._waiting: list[bytes] = []
        """Frames that came before `begin`."""
        self._heard_s = loop.time()
        self._asked_of_s = -1.0
        """`_heard_s` when the pod was last asked for a sign of life."""
        self.lost_s = 0.0
        """When the pod was there last, once it is gone: of one that fell silent, when its last byte came."""
        self._cut: asyncio.TimerHandle | None = None
        transport.set_protocol(self)
        if early:
            self.data_received(early)

    @property
    def has_greeted(self) -> bool:
        """Whether its first message is there."""
        return self.greeting.done() and not self.greeting.exception()

    def begin(self, listener: PodListener) -> None:
        """Give the listener what comes behind the first message."""
        self._listener = listener
        waiting, self._waiting = self._waiting, []
        listener.frames_came(waiting)
        if self.closed is not None:
            listener.pod_gone(*self.closed)
        else:
            self.pause(paused=False)

    def write(self, frame: bytes) -> None:
        """Send a frame, masked as a client's is."""
        if self.closed is None:
            self._transport.write(frame)

    def answer(self) -> None:
        """The caller is there, and all that it said before is sent."""
        if self.closed is None:
            self._transport.write(_masked(control_frame(PONG, PROBE)))

    def pause(self, *, paused: bool) -> None:
        """Leave what the pod sends to the kernel, or read it again."""
        if self._transport.is_closing() or self._transport.is_reading() is not paused:
            return
        if paused:
            self._transport.pause_reading()
        else:
            self._heard_s = self._loop.time()
            self._transport.resume_reading()

    def look(self) -> None:
        """See whether the pod is still there; to be called once a second."""
        if self.closed is not None or not self._transport.is_reading():
            return
        silent_s = self._loop.time() - self._heard_s
        # An edge that stood still itself has heard nothing either: no pod is given up that was not asked before.
        if silent_s >= DEAD_S and self._asked_of_s == self._heard_s:
            self._end(CloseCode.ABNORMAL_CLOSURE, f"silent for {silent_s:.0f} s", self._heard_s)
            self._transport.abort()
        elif silent_s >= SILENT_S:
            self._asked_of_s = self._heard_s
            self._transport.write(_masked(control_frame(PING, b"")))

    def close(self, code: int, reason: str = "") -> None:
        """Say that the connection is over; cut it if the pod does not answer."""
        if self.closed is None and self._cut is None:
            self._transport.write(_masked(close_frame(code, reason)))
            self._listener = None
            self._cut = self._loop.call_later(CLOSING_S, self._transport.abort)
            self.pause(paused=False)

    def abort(self) -> None:
        """Cut the connection; the listener is told nothing more."""
        self._listener = None
        self._transport.abort()

    # --- asyncio.Protocol -------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Whatever the kernel had; most often one event."""
        self._heard_s = self._loop.time()
        try:
            frames = self._frames.feed(data)
        except BrokenFrame as broken:
            self._end(CloseCode.ABNORMAL_CLOSURE, str(broken))
            self._transport.abort()
            return
        for frame in frames:
            if frame[0] not in _MESSAGES or self._listener is None:
                self._each_came(frames)
                return
        if self._listener is not None:
            self._listener.frames_came(frames)

    def eof_received(self) -> None:
        """The transport closes by itself."""

    def pause_writing(self) -> None:
        """The pod does not keep up."""
        self.is_congested = True

    def resume_writing(self) -> None:
        """It does again."""
        self.is_congested = False
        if self._listener is not None:
            self._listener.pod_keeps_up()

    def connection_lost(self, error: Exception | None) -> None:
        """The end, however it came."""
        if self._cut is not None:
            self._cut.cancel()
        self._end(CloseCode.ABNORMAL_CLOSURE, "")

    # --- inside -----------------------------------------------------------------

    def _each_came(self, frames: list[bytes]) -> None:
        listener = self._listener
        for frame in frames:
            if frame[0] not in _MESSAGES:
                self._control_came(frame)
            elif listener is not None:
                listener.frames_came([frame])
            elif self._cut is None:
                self._came_early(frame)

    def _came_early(self, frame: bytes) -> None:
        if self.greeting.done():
            self._waiting.append(frame)
        else:
            self.greeting.set_result(frame)
            self.pause(paused=True)

    def _control_came(self, frame: bytes) -> None:
        first, payload = frame[0], frame[payload_start(frame) :]
        if first == _PING and payload == PROBE and self._listener is not None:
            self._listener.pod_asks()
        elif first == _PING:
            self._transport.write(_masked(control_frame(PONG, payload)))
        elif first == _CLOSE:
            code = int.from_bytes(payload[:2], "big") if len(payload) > 1 else CloseCode.NO_STATUS_RCVD
            self._transport.write(_masked(close_frame(code, "")))
            self._end(code, payload[2:].decode(errors="replace"))
            self._transport.close()

    def _end(self, code: int, reason: str, lost_s: float | None = None) -> None:
        if self.closed is not None:
            return
        self.closed = (code, reason)
        self.lost_s = self._loop.time() if lost_s is None else lost_s
        if not self.greeting.done():
            self.greeting.set_exception(ConnectionError(f"closed with {code} before the greeting"))
            self.greeting.exception()  # It may be that nobody waits for it.
        if self._listener is not None:
            self._listener.pod_gone(code, reason)


def _masked(frame: bytes) -> bytes:
    return masked(frame, os.urandom(MASK_BYTES))
