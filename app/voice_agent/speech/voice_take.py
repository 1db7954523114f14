"""What one voice gives of a text: received ahead of what is said of it, and cut at a word if the voice fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from voice_agent.call.alignment import FASTEST_CHARS_PER_S
from voice_agent.call.audio import PCM, AudioFormat, Converter
from voice_agent.kit.clip import VoicedAudio
from voice_agent.kit.voice import VoiceFailed
from voice_agent.speech.word_boundaries import WINDOW_MS, Boundary, known, levels, locate, pace_of

AHEAD_BYTES = 1 << 20
"""Of audio that has come and is not said yet: beyond it the voice waits. Some twenty seconds."""
HELD_MS = 300
"""So much of what has come is held back until more has: a word that is cut off is not begun, as a rule."""
HELD_LATER_MS = 50
"""Of a voice that goes on after another: the caller hears nothing until it begins."""
SLICE_MS = 100
"""Of audio that is said at a time."""
CLEAR_PAUSE_MS = 80
"""Silence where a pause is due is one if it lasts so long: there, what comes from another voice sounds least odd."""
KEPT_PAUSE_MS = 120
"""Of the silence at a cut; what follows has its own."""
LONGEST_MS = 60_000
"""A word is looked for in so much audio at most: finding it takes time that grows with it."""


@dataclass(frozen=True, slots=True)
class TakeEnd:
    """Up to where a voice is heard that failed, and the character with which another goes on."""

    at_bytes: int
    chars: int


class VoiceTake:
    """One voice's. PCM16, 24 000 Hz; positions count from its own beginning, characters in its own text."""

    def __init__(self, text: str, speed: float, held_ms: int = HELD_MS) -> None:
        self._text = text
        self._speed = speed
        self._held_bytes = PCM.size(held_ms)
        self._ahead = bytearray()
        self._said_bytes = 0
        self._came_bytes = 0
        self._marks: list[tuple[int, int]] = []
        """Where words begin, in milliseconds and characters, if the voice tells."""
        self._told = 0
        """So many of them have been said."""
        self._levels: list[int] = []
        self._unheard = b""
        """What is left of less than a window."""
        self._ends_at: int | None = None
        """In bytes: behind it nothing is said."""
        self._changed = asyncio.Event()
        self._taken = asyncio.Event()
        self.error: Exception | None = None
        self.is_over = False

    @property
    def is_complete(self) -> bool:
        """Whether all of it has come, and was taken."""
        return self.is_over and self.error is None and not self._ahead

    @property
    def has_audio(self) -> bool:
        """Whether any has come."""
        return self._came_bytes > 0

    async def receive(self, pieces: AsyncGenerator[VoicedAudio, None]) -> None:
        """Take all that the voice gives; raises what it raises."""
        converter: Converter | None = None
        source: AudioFormat | None = None
        async for piece in pieces:
            if converter is None or piece.format != source:
                source, converter = piece.format, Converter(piece.format, PCM)
            at_ms = PCM.ms(self._came_bytes)
            self._marks += [(at_ms + ms, min(chars, len(self._text))) for ms, chars in piece.words]
            self._add(converter.convert(piece.audio))
            while len(self._ahead) >= AHEAD_BYTES:
                self._taken.clear()
                await self._taken.wait()

    def end(self, error: Exception | None, voice: str = "") -> None:
        """The voice gives nothing more; `error`: it has failed. So has one that was faster than anybody speaks."""
        due_ms = len(self._text) * 1000 / (FASTEST_CHARS_PER_S * self._speed)
        if error is None and PCM.ms(self._came_bytes) < due_ms:
            error = VoiceFailed(voice, "silent", "ended early")
        self.error, self.is_over = error, True
        self._changed.set()

    def pace(self) -> float | None:
        """How fast the voice speaks at speed 1, in milliseconds for each unit of `word_boundaries`; None: not known."""
        found = pace_of(self._text, self._levels) if self.is_complete else None
        return None if found is None else found * self._speed

    async def next_slice(self, patience_s: Callable[[], float]) -> VoicedAudio | None:
        """What is to be said next; None if there is nothing more, or nothing more came for so long.

        `patience_s`: asked once there was some.
        """
        while not self.is_over and len(self._ahead) < self._held_bytes + PCM.size(SLICE_MS):
            self._changed.clear()
            try:
                async with asyncio.timeout(patience_s() if self.has_audio else None):
                    await self._changed.wait()
            except TimeoutError:
                return None
        return None if self.error is not None else self.slice()

    def slice(self) -> VoicedAudio | None:
        """The next of what is there; None if there is nothing, or it is behind the cut."""
        left = len(self._ahead) if self._ends_at is None else self._ends_at - self._said_bytes
        size = min(left, PCM.size(SLICE_MS))
        if size <= 0:
            return None
        audio = bytes(self._ahead[:size])
        del self._ahead[:size]
        from_ms = PCM.ms(self._said_bytes)
        self._said_bytes += size
        self._taken.set()
        is_last = size == left and self.is_over
        words = []
        while self._told < len(self._marks):
            ms, chars = self._marks[self._told]
            if ms - from_ms >= PCM.ms(size) and not is_last:
                break
            words.append([max(0, min(ms - from_ms, PCM.ms(size))), chars])
            self._told += 1
        return VoicedAudio(audio, PCM, words)

    async def cut(self, pace: float | None = None) -> TakeEnd:
        """Where another voice is to go on: at the end of a word of which nothing has been said yet, if there is any.

        Without words from the voice they are looked for in its audio, in a thread. `pace`: as the method tells it.
        """
        self.is_over = True
        if not self.has_audio:
            return TakeEnd(0, 0)
        ms_per_unit = None if pace is None else pace / self._speed
        if self._marks:
            found = self._at_mark(ms_per_unit)
        else:
            found = await asyncio.to_thread(self._at_boundary, ms_per_unit)
        self._ends_at = max(found.at_bytes, self._said_bytes)
        self._marks = [(ms, chars) for ms, chars in self._marks if chars <= found.chars]
        return found

    def _add(self, audio: bytes) -> None:
        self._ahead += audio
        self._came_bytes += len(audio)
        if len(self._levels) * WINDOW_MS < LONGEST_MS:
            unheard = self._unheard + audio
            found = levels(unheard)
            self._levels += found
            self._unheard = unheard[len(found) * PCM.size(WINDOW_MS) :]
        self._changed.set()

    def _at_mark(self, ms_per_unit: float | None) -> TakeEnd:
        """At the last word that has begun: what was before it has been said."""
        said_ms, came_ms = PCM.ms(self._said_bytes), PCM.ms(self._came_bytes)
        begun = [(ms, chars) for ms, chars in self._marks if ms <= came_ms]
        unsaid = [(ms, chars) for ms, chars in begun if ms >= said_ms]
        if unsaid:
            return TakeEnd(PCM.size(unsaid[-1][0]), unsaid[-1][1])
        at_ms, at_chars = begun[-1] if begun else (0, 0)
        return TakeEnd(self._came_bytes, known(self._text, at_ms, at_chars, ms_per_unit).position(came_ms))

    def _at_boundary(self, ms_per_unit: float | None) -> TakeEnd:
        said_ms, came_ms = PCM.ms(self._said_bytes), PCM.ms(self._came_bytes)
        located = locate(self._text, self._levels, speed=self._speed, ms_per_unit=ms_per_unit)
        unsaid = [each for each in located.boundaries if each.from_ms >= said_ms]
        clear = [each for each in unsaid if each.is_pause and each.to_ms - each.from_ms >= CLEAR_PAUSE_MS]
        if unsaid:
            best: Boundary = (clear or unsaid)[-1]
            return TakeEnd(PCM.size(min(best.to_ms, best.from_ms + KEPT_PAUSE_MS)), best.chars)
        if not self._said_bytes:
            return TakeEnd(0, 0)  # Nobody has heard any of it: said from its beginning, no word is guessed.
        return TakeEnd(self._came_bytes, located.position(came_ms))
