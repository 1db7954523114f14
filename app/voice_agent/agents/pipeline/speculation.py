"""Asking a model in a pause that may end the caller's turn: by the time the turn is over, the answer has begun.

One call's. Nothing of it is said, and no tool runs, before a reply is due that asks the same of a model. If the caller
goes on, or said something else than was understood in the pause, it is thrown away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from voice_agent.agents.pipeline.reading import AnswerReader
from voice_agent.kit.hearing import Hearing, HearingKind
from voice_agent.providers.chat import ChatRequest

Begins = Callable[[ChatRequest], AnswerReader]


class Speculation:
    """At most one answer is being read."""

    def __init__(self, request_of: Callable[[str], ChatRequest | None], begins: Begins) -> None:
        """`request_of`: what would be asked if the caller's turn ended with this text; None: nothing."""
        self._request_of = request_of
        self._begins = begins
        self._request: ChatRequest | None = None
        self._reader: AnswerReader | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def watch(self, hearings: AsyncIterator[Hearing]) -> None:
        """Begin and throw away as the caller speaks; ends with the hearings."""
        async for hearing in hearings:
            match hearing.kind:
                case HearingKind.PAUSED:
                    self._paused(hearing.text or "")
                case HearingKind.STARTED | HearingKind.RESUMED | HearingKind.PARTIAL:
                    self.drop()
                case HearingKind.STOPPED:
                    if hearing.item_id is None:
                        self.drop()

    def take(self, request: ChatRequest) -> AnswerReader | None:
        """The reader of the answer to this very request, if there is one; another is thrown away."""
        if self._reader is None or self._request != request:
            self.drop()
            return None
        reader, self._reader, self._request = self._reader, None, None
        return reader

    def drop(self) -> None:
        """It is not wanted."""
        if self._reader is not None:
            task = asyncio.create_task(self._reader.close(), name="drop speculation")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        self._reader = self._request = None

    async def close(self) -> None:
        """Throw away what there is; no request is left open."""
        self.drop()
        if self._closing:
            await asyncio.wait(self._closing)

    def _paused(self, text: str) -> None:
        request = self._request_of(text) if text.strip() else None
        if request == self._request:
            return
        self.drop()
        if request is not None:
            self._request, self._reader = request, self._begins(request)
