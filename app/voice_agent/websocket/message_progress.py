"""Whether an incomplete message grows: half a message could be held for ever, a byte at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from voice_agent.websocket.frame_reader import FrameReader

MESSAGE_S = 30.0
MESSAGE_PROGRESS_BYTES = 32 * 1024
"""An incomplete message grows by so much every `MESSAGE_S`, or the peer is closed."""

_TOO_SLOW = "message_progress: an incomplete message must grow by %d bytes in %g s"


class MessageProgress:
    """Of one connection's messages. No timer runs while all of them come whole."""

    __slots__ = ("_is_reading", "_message_s", "_reader", "_seen", "_timer", "_too_slow")

    def __init__(
        self,
        reader: FrameReader,
        message_s: float,
        is_reading: Callable[[], bool],
        too_slow: Callable[[str], None],
    ) -> None:
        """`too_slow`: called with the reason to close with. A message grows by nothing while `is_reading` is false."""
        self._reader = reader
        self._message_s = message_s
        self._is_reading = is_reading
        self._too_slow = too_slow
        self._timer: asyncio.TimerHandle | None = None
        """Exists while there is an incomplete message, or there was one not long ago."""
        self._seen = (0, 0)
        """Of the incomplete message when it was looked at last: which it was (`FrameReader.begun`), and its bytes."""

    @property
    def is_watched(self) -> bool:
        """Whether it will be looked at."""
        return self._timer is not None

    def watch(self) -> None:
        """There is an incomplete message: look at it from now on, until there is none."""
        if self._timer is None:
            self._seen = (self._reader.begun, self._reader.held_bytes)
            self._timer = asyncio.get_running_loop().call_later(self._message_s, self.look)

    def stop(self) -> None:
        """Nothing that comes matters any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def look(self) -> None:
        """Whether the message has grown by enough since the last time."""
        reader = self._reader
        self.stop()
        if reader.is_idle:
            return
        begun, held_bytes = self._seen
        is_slow = reader.begun == begun and reader.held_bytes < held_bytes + MESSAGE_PROGRESS_BYTES
        if is_slow and self._is_reading():
            self._too_slow(_TOO_SLOW % (MESSAGE_PROGRESS_BYTES, self._message_s))
        else:
            self.watch()
