"""The voices that come with the server, at work in the speech workers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from voice_agent.call.audio import PCM
from voice_agent.kit.clip import VoicedAudio
from voice_agent.kit.voice import Utterance, Voice
from voice_agent.speech.workers import SpeechWorkers, WorkersOpen

ESPEAK = "espeak"
"""Small, and of many languages: see `synthesis`."""
HIBARI = "hibari"
"""Natural, and of English: see `hibari_engine`."""
PIPER = "piper"
"""Of a file: see `piper_engine`."""
DEFAULT_LANGUAGE = "en"


class WorkerVoice(WorkersOpen, Voice):
    """Makes a sentence in one piece, many times as fast as it is heard, and on every pod the same."""

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
        """One piece, or none of a text without anything to say. Raises `SpeechFailed`."""
        language = utterance.language.partition("-")[0].lower() or DEFAULT_LANGUAGE
        spoken = await self._workers.synthesize(
            utterance.text,
            utterance.voice,
            utterance.speed,
            engine=self._others if self._others and language not in self.languages else self.name,
            seed=utterance.seed,
            language=language,
        )
        if spoken.audio:
            yield VoicedAudio(spoken.audio, PCM, spoken.words)
