"""An agent that never says anything twice in the same words, and a voice that never takes as long for them twice.

What a caller hears of it can be read: each word is a run of one value, and ends with a click, so that a word of which
a part is missing can be told from a whole one.
"""

from __future__ import annotations

import re
import struct
from collections.abc import AsyncGenerator, AsyncIterator
from itertools import groupby
from random import SystemRandom
from typing import NamedTuple

from voice_agent.agents.scripted import Scripted, ScriptedTurn
from voice_agent.call.audio import PCM
from voice_agent.kit.clip import VoicedAudio
from voice_agent.kit.voice import Utterance, Voice

SENTENCES = 6
WORDS = (3, 6)
"""So few and so many words a sentence has."""
WORD_MS = 320
"""Slow enough for the longest word: audio that would say its text too fast for a voice is taken for a part of it."""
VARIES = 0.25
CLICK = 20_000
"""Louder than any word."""
WORD = re.compile(r"[a-j]+(\d+)\.? ?")
CHANCE = SystemRandom()


class Varying(Scripted):
    """Says sentences whose words end with their place; the rest of them is drawn."""

    name = "varying"

    def __init__(self) -> None:
        self.voice = Readable()

    async def answer(self, turn: ScriptedTurn) -> AsyncGenerator[str, None]:
        for number in range(1, SENTENCES + 1):
            yield sentence(number)


def sentence(number: int) -> str:
    """Another one each time; its word with the position p ends with 100 times its number + p."""
    places = range(100 * number, 100 * number + CHANCE.randint(*WORDS))
    return (
        " ".join("".join(CHANCE.choices("abcdefghij", k=CHANCE.randint(1, 3))) + str(place) for place in places) + ". "
    )


class Readable(Voice):
    """Says a word as a run of the number with which it ends."""

    name = "readable"

    async def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
        said_ms = 0
        for word in WORD.finditer(utterance.text):
            size_ms = round(WORD_MS * CHANCE.uniform(1 - VARIES, 1 + VARIES))
            # What ends with a chunk of 100 ms can all be sent before the next word is told of, and then is not over.
            size_ms += (said_ms + size_ms) % 100 == 0
            said_ms += size_ms
            samples = PCM.size(size_ms) // PCM.sample_bytes
            audio = struct.pack("<h", int(word[1])) * (samples - 1) + struct.pack("<h", CLICK)
            yield VoicedAudio(audio, PCM, [[0, word.start()]])


class HeardWord(NamedTuple):
    """A run that was heard. A word that was broken off and said again is one run."""

    place: int
    is_whole: bool = True


def written_words(text: str) -> list[HeardWord]:
    """What is to be heard of a text."""
    return [HeardWord(int(word[1])) for word in WORD.finditer(text)]


def heard_words(audio: bytes | bytearray) -> list[HeardWord]:
    """What was heard, in the order in which it came."""
    samples = struct.unpack(f"<{len(audio) // 2}h", audio)
    runs = [value for value, _ in groupby(samples)]
    return [
        HeardWord(value, runs[at + 1 : at + 2] == [CLICK]) for at, value in enumerate(runs) if value not in {0, CLICK}
    ]
