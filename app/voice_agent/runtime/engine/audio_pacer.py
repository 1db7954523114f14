"""Cuts, converts and paces an agent's audio.

Audio is cut into chunks of 100 ms and let out at most the agent's `lead_ms` ahead of real time: so the server knows
roughly what the caller has heard when barge-in cuts the reply, and a pod that dies has not sent what was not
listened to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from voice_agent.call.audio import AudioFormat, Converter
from voice_agent.call.inputs import Input
from voice_agent.call.response import Response
from voice_agent.call.response_output import STALL_MS
from voice_agent.runtime.engine.spoken_piece import SpokenPiece
from voice_agent.runtime.ports import Clock

CHUNK_MS = 100
PIECE_BYTES = 24 * 1024
"""Of an agent's audio: what is converted in one turn of the event loop, a millisecond's work."""


class AudioOutput(Protocol):
    """Where the audio goes."""

    def feed(self, event: Input) -> None:
        """Take a chunk."""

    async def wait_for_capacity(self) -> None:
        """Wait while too much is not durable yet."""


class PassedAudio(Protocol):
    """What of the audio that is made again is durable, and not sent once more."""

    held: bytearray
    """The audio of what is said now, as long as it is not known what of it is new."""
    held_from: int | None
    """The character of what is said now at which it begins to be new."""

    def audio(self, audio: bytes) -> bytes:
        """What of `audio` is new, as far as that is known yet."""

    def begin_piece(self) -> None:
        """Text comes after audio: other audio will say it."""

    def end_piece(self) -> None:
        """No more audio comes for what is said now."""


class AudioPacer:
    """One reply's. Audio belongs to the text that was begun last."""

    def __init__(
        self,
        sink: AudioOutput,
        response: Response,
        target: AudioFormat,
        passed: PassedAudio,
        clock: Clock,
        *,
        lead_ms: int,
    ) -> None:
        """`lead_ms`: how far ahead of real time audio may be sent."""
        self.on_piece: Callable[[int], None] = lambda from_chars: None
        """Called before the first audio of a piece, which says its text from a character on."""
        self._sink = sink
        self._response_id = response.response_id
        self._target = target
        self._passed = passed
        self._lead_s = lead_ms / 1000
        self._clock = clock
        self._sent_bytes = response.said.audio_bytes
        self._chunk_bytes = target.size(CHUNK_MS)
        self._converters: dict[str, Converter] = {}
        self._pending = bytearray()
        self._piece = SpokenPiece(target)
        self._began_s: float | None = None

    def drop(self) -> None:
        """What was begun is not said to its end; what of its audio was not sent is not."""
        self._pending.clear()
        self._begin_piece()

    async def begin(self, text: str) -> None:
        """More text comes. If there was audio for the text before it, that is complete."""
        await self.finish()
        if self._piece.is_said:
            self._begin_piece()
        self._piece.chars += len(text)

    async def begin_again(self, text: str) -> None:
        """What was begun before this pacer, or with another voice, is said again: `text` is all of the piece."""
        await self.finish()
        self._piece = SpokenPiece(self._target, chars=len(text))
        self._converters.clear()

    def _begin_piece(self) -> None:
        self._piece = SpokenPiece(self._target)
        # A piece alone can be made again on another pod: it must not depend on what was converted before it.
        self._converters.clear()
        self._passed.begin_piece()

    async def write(
        self, audio: bytes, source: AudioFormat, words: Sequence[Sequence[int]] = (), *, is_partial: bool = False
    ) -> None:
        """Send audio at its time, and tell the call how much there is of it; `is_partial`: so far, until `finish`."""
        self._piece.is_partial = is_partial
        self._piece.add(source.ms(len(audio)), words, is_heard=bool(audio))
        converter = self._converters.setdefault(source.name, Converter(source, self._target))
        for at in range(0, len(audio), PIECE_BYTES):
            if at:
                await asyncio.sleep(0)
            self._pending += self._passed.audio(converter.convert(audio[at : at + PIECE_BYTES]))
            while len(self._pending) >= self._chunk_bytes:
                await self._send(self._chunk_bytes)

    async def finish(self) -> None:
        """Send what is left of the audio that was given, however short."""
        self._passed.end_piece()
        if self._passed.held_from is not None:
            self._take_held(self._passed.held_from)
        tells = self._piece.complete() and self._piece.from_chars is None
        if tells and not self._pending:
            self._sink.feed(self._piece.part(self._response_id, b""))
        while self._pending:
            await self._send(min(self._chunk_bytes, len(self._pending)))

    def _take_held(self, from_chars: int) -> None:
        """Of audio that was held, what says the text from a character on is to be sent."""
        held = bytes(self._passed.held)
        self._passed.held.clear()
        self._passed.held_from = None
        self._pending += held[self._piece.cut(from_chars, len(held)) :]
        self._piece.made_bytes = len(self._pending)

    async def _send(self, size_bytes: int) -> None:
        played_s = self._target.ms(self._sent_bytes) / 1000
        now_s = self._clock.monotonic_s()
        if self._began_s is None or now_s - played_s - self._began_s > STALL_MS / 1000:
            # It begins here, or goes on after a pause: the caller hears it from now on.
            self._began_s = now_s - played_s
        if (wait_s := self._began_s + played_s - self._lead_s - now_s) > 0:
            await self._clock.sleep(wait_s)
        piece = self._piece
        if piece.from_chars is not None:
            self.on_piece(piece.from_chars)
            piece.from_chars = None
        chunk = bytes(self._pending[:size_bytes])
        del self._pending[:size_bytes]
        self._sent_bytes += len(chunk)
        self._sink.feed(piece.part(self._response_id, chunk))
        await self._sink.wait_for_capacity()
