"""The voice that comes with the server: espeak-ng, in the speech workers."""

from __future__ import annotations

from collections.abc import AsyncIterator

from voice_agent.call.audio import PCM
from voice_agent.kit.clip import VoicedAudio
from voice_agent.kit.voice import Utterance, Voice
from voice_agent.speech.workers import SpeechWorkers


class EspeakVoice(Voice):
    """Makes a sentence in one piece, 50 times as fast as it is heard: see `synthesis`."""

    name = "espeak"
    deterministic = True

    def __init__(self, workers: SpeechWorkers) -> None:
        """`workers` may be shared with others."""
        self._workers = workers
        workers.use(self.name)

    async def open(self) -> None:
        """Start the speech workers; a sentence that comes before they are warm waits for them."""
        await self._workers.open(self)

    async def ready(self) -> None:
        """Wait until the speech workers are warm. Raises `SpeechFailed` if one cannot start."""
        await self._workers.ready()

    async def close(self) -> None:
        """Stop the speech workers if nobody else has them open."""
        await self._workers.close(self)

    async def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
        """One piece, or none of a text without anything to say. Raises `SpeechFailed`."""
        spoken = await self._workers.synthesize(utterance.text, utterance.voice, utterance.speed, engine=self.name)
        if spoken.audio:
            yield VoicedAudio(spoken.audio, PCM, spoken.words)
