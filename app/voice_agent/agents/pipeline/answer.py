"""What a model answered: one round of a reply, whole, and its sentences while it is not."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

from voice_agent.providers.chat_chunks import ToolCall

FAILED = "failed"
"""As the reason why an answer ends: no model was there to end it."""
FILTERED = "content_filter"
CUT_SHORT = "length"
ANNOUNCED = 2
"""So many pieces ahead a voice is told of what it is to say."""


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """One round's."""

    text: str
    """All of it, as it is said: what was said before a model was asked to go on included."""
    calls: tuple[ToolCall, ...] = ()
    reason: str = "stop"
    """Why it ends: as of `ChatDone`, or `FAILED`."""

    def packed(self) -> dict[str, Any]:
        """As it is kept under a key."""
        calls = [[call.id, call.name, call.arguments] for call in self.calls]
        return {"text": self.text, "calls": calls, "reason": self.reason}

    @classmethod
    def unpacked(cls, packed: Mapping[str, Any]) -> Self:
        """What `packed` gave, here or on another pod."""
        calls = tuple(ToolCall(*call) for call in packed["calls"])
        return cls(packed["text"], calls, packed["reason"])


class Sentences:
    """The pieces of an answer on their way from who reads the model to who speaks. An answer's length bounds them."""

    def __init__(self) -> None:
        self.starved: Callable[[], None] = lambda: None
        """Called when a piece begins to be waited for."""
        self.announce: Callable[[str], None] = lambda _: None
        """Told of a piece that will be taken soon."""
        self.chars = 0
        """Of all pieces that were put."""
        self._waiting: deque[str] = deque()
        self._is_closed = False
        self._came = asyncio.Event()

    @property
    def is_starved(self) -> bool:
        """Whether all that came has been taken, and more is due."""
        return not self._waiting and not self._is_closed

    @property
    def waiting(self) -> Iterable[str]:
        """Those that nobody has taken."""
        return self._waiting

    def put(self, *pieces: str) -> None:
        """More of them."""
        for piece in pieces[: max(0, ANNOUNCED - len(self._waiting))]:
            self.announce(piece)
        self._waiting += pieces
        self.chars += sum(map(len, pieces))
        self._came.set()

    def close(self) -> None:
        """That was all."""
        self._is_closed = True
        self._came.set()

    async def get(self) -> str | None:
        """The next one; None: that was all. Those behind it are announced."""
        if self.is_starved:
            self.starved()
        while not self._waiting:
            if self._is_closed:
                return None
            self._came.clear()
            await self._came.wait()
        piece = self._waiting.popleft()
        for coming in islice(self._waiting, ANNOUNCED):
            self.announce(coming)
        return piece
