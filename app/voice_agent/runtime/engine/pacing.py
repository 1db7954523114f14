"""The audio of one response on its way to the client: paced, and without what another pod has sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from voice_agent.call.inputs import Input, ResponseDiverged
from voice_agent.call.response import Response
from voice_agent.call.session_config import ResponseSettings
from voice_agent.runtime.engine.audio_pacer import AudioPacer
from voice_agent.runtime.engine.sent_audio import PieceAgain, said_chars
from voice_agent.runtime.ports import Clock


class PacedCall(Protocol):
    """The work that the audio is of."""

    clock: Clock
    feed: Callable[[Input], None]

    async def wait_for_capacity(self) -> None:
        """Wait while too much is not durable yet."""

    def tell_divergence(self, what: str, count: int = 1) -> None:
        """What an agent does again on this pod is not what it did on another."""


class Pacing:
    """One response's, on this pod."""

    def __init__(self, work: PacedCall, response: Response, settings: ResponseSettings, lead_ms: int) -> None:
        self._settings = settings
        self.response_id = response.response_id
        self._work = work
        self._passed = PieceAgain()
        self._again_from: int | None = None
        """Where in the response's text the piece begins that is said again."""
        self.pacer = AudioPacer(self, response, settings.output_format, self._passed, work.clock, lead_ms=lead_ms)
        self.pacer.on_piece = self._piece_begins

    def feed(self, event: Input) -> None:
        """See `audio_pacer.AudioOutput`."""
        self._work.feed(event)

    async def wait_for_capacity(self) -> None:
        """See `audio_pacer.AudioOutput`."""
        await self._work.wait_for_capacity()

    def said_chars(self, response: Response) -> int:
        """See `sent_audio.said_chars`."""
        return said_chars(response, self._settings.output_format, self._settings.speed)

    def drop(self) -> None:
        """What is written is not said to its end."""
        self._passed.expect_new()
        self._again_from = None
        self.pacer.drop()

    async def begin(self, text: str) -> None:
        """What is written now is new, and says this text."""
        await self.pacer.begin(text)
        self._again_from = None
        self._passed.expect_new()

    async def begin_again(self, text: str, sent_bytes: int, response: Response) -> None:
        """What is written now says this text, the response's last piece, of whose audio so much was sent."""
        await self.pacer.begin_again(text)
        self._again_from = response.said.piece.text_from
        self._passed.expect_again(sent_bytes, response.said.checksum, self.said_chars(response))

    async def pass_over(self, text: str) -> None:
        """What is written now was sent, all of it."""
        await self.pacer.begin_again(text)
        self._again_from = None
        self._passed.expect_past()

    def _piece_begins(self, from_chars: int) -> None:
        """The audio is another than what was sent: it goes on with a word, and the call is told with which."""
        if self._again_from is not None and self._passed.differs:
            self._work.tell_divergence("audio")
            self._work.feed(ResponseDiverged(self.response_id, self._again_from + from_chars))
