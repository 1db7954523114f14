"""Speech that carries its words: what a simulated caller says, the ear that hears it, and the voice that answers.

To voice activity detection it sounds like speech. The low byte of each sample holds the text, over and over::

    sample   high byte               low byte
    0        the sound at 0          0xFF 0x00   where a text begins
    2        the sound at 2, 3, …    length of the text in UTF-8, 2 bytes, little-endian
    4        …                       its checksum, 4 bytes
    8                                the text
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from zlib import crc32

from voice_agent.call.audio import PCM
from voice_agent.kit.clip import Clip, VoicedAudio
from voice_agent.kit.ear import Ear, Transcript
from voice_agent.kit.voice import Utterance, Voice

MARK = b"\xff\x00"
"""Stands in no UTF-8, and in front of every text."""
HEADER_BYTES = 8
CHAR_MS = 60
"""How long a character takes: about 165 words a minute."""
SHORTEST_MS = 300
"""What voice activity detection surely hears."""
PIECE_MS = 100
_PITCH_SAMPLES = 160
"""Of one period of the sound: 150 Hz."""
_LOUDNESS = 60
"""Of the high byte, of 127."""


def _vowel() -> bytes:
    """High bytes of one period of a vowel: the harmonics of a voice, the ones near 700 and 1200 Hz the loudest."""
    waves = {1: 0.3, 3: 0.5, 5: 1.0, 8: 0.8, 12: 0.2}
    total = sum(waves.values())
    return bytes(
        round(
            _LOUDNESS * sum(loud * math.sin(2 * math.pi * n * at / _PITCH_SAMPLES) for n, loud in waves.items()) / total
        )
        & 0xFF
        for at in range(_PITCH_SAMPLES)
    )


SYLLABLE_MS, GAP_MS = 300, 60
"""A steady sound would be taken for noise."""
SOUND = _vowel() * (SYLLABLE_MS * 24 // _PITCH_SAMPLES) + bytes(GAP_MS * 24)


def speech_of(text: str, *, least_ms: int = SHORTEST_MS) -> bytes:
    """Somebody saying `text`: PCM16 little-endian mono, 24 000 Hz, at an even pace, at least so long."""
    said = text.encode()
    message = MARK + len(said).to_bytes(2, "little") + crc32(said).to_bytes(4, "little") + said
    samples = max(PCM.size(max(least_ms, CHAR_MS * len(text))) // 2, len(message))
    audio = bytearray(2 * samples)
    audio[1::2] = (SOUND * (samples // len(SOUND) + 1))[:samples]
    repeated = message * (samples // len(message))
    audio[0 : 2 * len(repeated) : 2] = repeated
    return bytes(audio)


def words_in(audio: bytes) -> str:
    """All that `speech_of` has put into a stretch of audio, joined by blanks; "" if there is nothing."""
    low = audio[0::2]
    found: list[str] = []
    at = low.find(MARK)
    while at >= 0:
        size = int.from_bytes(low[at + 2 : at + 4], "little")
        end = at + HEADER_BYTES + size
        message, said = low[at:end], low[at + HEADER_BYTES : end]
        if said and len(said) == size and low[at + 4 : at + HEADER_BYTES] == crc32(said).to_bytes(4, "little"):
            found.append(said.decode())
            while low.startswith(message, end):
                end += len(message)
        else:
            end = at + 1  # Cut off.
        at = low.find(MARK, end)
    return " ".join(found)


class WordEar(Ear):
    """Understands `speech_of`, and takes `thinks_s` for it."""

    name = "words"

    def __init__(self, thinks_s: float = 0.05) -> None:
        self.thinks_s = thinks_s

    async def transcribe(self, clip: Clip) -> Transcript | str | None:
        """The words in it, exactly."""
        if self.thinks_s:
            await asyncio.sleep(self.thinks_s)
        return words_in(clip.audio)


class WordVoice(Voice):
    """Says what it is given as `speech_of` has it; two pods say the same."""

    name = "words"
    deterministic = True

    async def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
        """Its audio in pieces of 100 ms, with every word's place."""
        text = utterance.text
        audio = speech_of(text, least_ms=PIECE_MS)
        words = [[CHAR_MS * at, at] for at in word_starts(text)]
        size = PCM.size(PIECE_MS)
        for at in range(0, len(audio), size):
            from_ms = PCM.ms(at)
            here = [[ms - from_ms, chars] for ms, chars in words if from_ms <= ms < from_ms + PIECE_MS]
            yield VoicedAudio(audio[at : at + size], PCM, here)


def word_starts(text: str) -> list[int]:
    """At which characters words begin."""
    return [at for at, char in enumerate(text) if not char.isspace() and (at == 0 or text[at - 1].isspace())]
