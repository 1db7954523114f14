"""Tells a client that asked for it what of its own is durable (`call.received`), at most once a second.

Such a client keeps what it sent until then, and sends it again to the next owner of the call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from voice_agent.call.audio import AudioFormat
from voice_agent.protocol.realtime import received
from voice_agent.runtime.durability.call_writer import SavedInput

TELL_S = 1.0


class Receipts:
    """One connection's. `send` gives False while the client does not keep up."""

    def __init__(self, send: Callable[[bytes], bool]) -> None:
        self._send = send
        self._saved: SavedInput | None = None
        self._told: SavedInput | None = None
        self._is_stopped = False
        self._timer: asyncio.TimerHandle | None = None
        """Exists for `TELL_S` after something was told, or could not be."""

    def saved(self, saved: SavedInput, *, counts_in: AudioFormat) -> None:
        """So much is durable now.

        Where the call counts in another format by now, nothing is told until that is durable: while the store is given
        up the client sees the change before, and would take the bytes for those of the new format.
        """
        self._saved = saved if saved.audio_format is counts_in else None
        if self._timer is None and not self._is_stopped:
            self._tell()

    def stop(self) -> None:
        """The connection is over: nothing is told any more."""
        self._is_stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _tell(self) -> None:
        self._timer = None
        if self._saved is None or self._saved == self._told:
            return
        if self._send(received(self._saved.input_audio_bytes, self._saved.last_client_event_id)):
            self._told = self._saved
        self._timer = asyncio.get_running_loop().call_later(TELL_S, self._tell)
