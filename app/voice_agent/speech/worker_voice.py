"""The voices that come with the server, at work in the speech workers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from voice_agent.call.audio import PCM
from voice_agent.kit.clip import VoicedAudio
from voice_agent.kit.voice import Utterance, Voice
from voice_agent.speech.spoken import SynthesizedSpeech
from voice_agent.speech.workers import SpeechWorkers, WorkersOpen

ESPEAK = "espeak"
"""Small, and of many languages: see `synthesis`."""
HIBARI = "hibari"
"""Natural, and of English: see `hibari_engine`."""
PIPER = "piper"
"""Of a file: see `piper_engine`."""
DEFAULT_LANGUAGE = "en"
LONG_CHARS = 60
"""A sentence from this on is made in two pieces, if there is a place for a breath in it: by hibari one of 92 characters
takes 140 ms, and its first clause 40 ms."""
LEAST_CLAUSE_CHARS = 15
_BREATH = re.compile(r"(?<=[^\W\d])[,;:] +(?=[^\W\d])")
"""Between words; in numbers and times such marks mean something else."""


class WorkerVoice(WorkersOpen, Voice):
    """Makes a sentence many times as fast as it is heard, and on every pod the same.

    In one piece, a long one in two, of which the second is made while the first is heard.
    """

    deterministic = True

    def __init__(
        self, workers: SpeechWorkers, name: str, *, languages: Sequence[str] = (), others: str = "", **settings: Any
    ) -> None:
        """`workers` may be shared with others. `name`: of an engine of `engines`, loaded with these settings.

        `languages`: those that it speaks; none: all that it is given. `others`: the engine that speaks any other.
        """
        self.name = name
        self.languages = frozenset(languages)
        super().__init__(workers)
        self._others = others
        workers.use(name, **settings)
        if others:
            workers.use(others)

    @property
    def is_loading(self) -> bool:
        """See `Voice.is_loading`."""
        return self._workers.is_loading

    async def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
        """One piece or two, or none of a text without anything to say. Raises `SpeechFailed`."""
        text, language = utterance.text, utterance.language.partition("-")[0].lower() or DEFAULT_LANGUAGE
        engine = self._others if self._others and language not in self.languages else self.name
        cut = len(text) if engine == ESPEAK else clause_end(text)
        first = await self._spoken(replace(utterance, text=text[:cut]), engine, language)
        if cut == len(text):
            if first.audio:
                yield VoicedAudio(first.audio, PCM, first.words)
            return
        # Made at once: who is given the first piece comes for the second when most of the first has been heard.
        rest = asyncio.create_task(self._spoken(replace(utterance, text=text[cut:]), engine, language))
        rest.add_done_callback(lambda task: task.cancelled() or task.exception())  # Nobody may come for it.
        try:
            yield VoicedAudio(first.audio, PCM, first.words)
            spoken = await rest
            yield VoicedAudio(spoken.audio, PCM, [[ms, cut + chars] for ms, chars in spoken.words])
        finally:
            rest.cancel()

    async def _spoken(self, part: Utterance, engine: str, language: str) -> SynthesizedSpeech:
        return await self._workers.synthesize(
            part.text, part.voice, part.speed, engine=engine, seed=part.seed, language=language
        )


def clause_end(text: str) -> int:
    """Where the first clause of a long sentence ends, so that it can be said while the rest is made; else its end."""
    if len(text) < LONG_CHARS:
        return len(text)
    ends = (breath.end() for breath in _BREATH.finditer(text))
    return next((end for end in ends if LEAST_CLAUSE_CHARS <= end <= len(text) - LEAST_CLAUSE_CHARS), len(text))
