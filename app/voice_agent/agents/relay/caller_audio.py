"""Sends up what the caller says, while it is said, so that the upstream has all of it when the turn is over.

Frames come one by one (`Call.frames`), and where an utterance begins is heard a little later (`Call.hearing`): what
came just before goes up with it. Whatever of it is lost here is sent when the turn is answered.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from voice_agent.agents.relay.session import UpstreamSession
from voice_agent.agents.relay.upstream_reply import UpstreamLost
from voice_agent.kit.call import Call
from voice_agent.kit.clip import Clip
from voice_agent.kit.hearing import Hearing, HearingKind

BEFORE_MS = 600
"""Of audio that goes up with the beginning of an utterance: what turn detection takes to hear it, and its padding."""


class CallerAudio:
    """One call's, as long as its tasks run."""

    def __init__(self, call: Call, using: Callable[[], UpstreamSession | None], changed: Callable[[], None]) -> None:
        """`using`: the session that it is sent to. `changed` is told of each change of `is_speaking`."""
        self._call = call
        self._using = using
        self._changed = changed
        self._before: deque[Clip] = deque()
        self._before_ms = 0
        self.is_speaking = False
        """An utterance is under way."""
        self._session: UpstreamSession | None = None
        """That has the utterance under way from its beginning."""
        self._tasks = [asyncio.create_task(self._pass_frames()), asyncio.create_task(self._follow())]

    def stop(self) -> None:
        """Send nothing more."""
        for task in self._tasks:
            task.cancel()

    async def _pass_frames(self) -> None:
        async for frame in self._call.frames():
            if self.is_speaking:
                await self._send(frame.audio)
            else:
                self._keep(frame)

    async def _follow(self) -> None:
        async for heard in self._call.hearing():
            await self._heed(heard)

    async def _heed(self, heard: Hearing) -> None:
        if heard.kind is HearingKind.STARTED and not self.is_speaking:
            self.is_speaking = True
            self._changed()
            self._session = self._using()
            before = b"".join(frame.audio for frame in self._before)
            self._before.clear()
            self._before_ms = 0
            if self._session is not None:
                try:
                    await self._session.clear()
                    self._session.appended.item_id = heard.item_id
                except UpstreamLost:
                    self._session = None
            await self._send(before)
        elif heard.kind is HearingKind.STOPPED:
            if self._session is not None:
                self._session.appended.item_id = heard.item_id
            self.is_speaking, self._session = False, None
            self._changed()

    def _keep(self, frame: Clip) -> None:
        if self._before and self._before[0].format != frame.format:
            self._before.clear()
            self._before_ms = 0
        self._before.append(frame)
        self._before_ms += frame.format.ms(len(frame.audio))
        while self._before_ms > BEFORE_MS and len(self._before) > 1:
            first = self._before.popleft()
            self._before_ms -= first.format.ms(len(first.audio))

    async def _send(self, audio: bytes) -> None:
        session = self._session
        if session is None or session is not self._using() or not audio:
            return
        try:
            await session.append(audio)
        except UpstreamLost:
            self._session = None
