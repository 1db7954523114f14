"""The ear that comes with the server: PocketSphinx, in the speech workers."""

from __future__ import annotations

from voice_agent.kit.clip import Clip
from voice_agent.kit.ear import Ear
from voice_agent.speech.workers import SpeechWorkers


class PocketsphinxEar(Ear):
    """Takes an utterance whole and understands what its grammar has: see `recognition`."""

    name = "pocketsphinx"

    def __init__(self, workers: SpeechWorkers) -> None:
        """`workers` may be shared with others."""
        self._workers = workers
        workers.use(self.name)

    async def open(self) -> None:
        """Start the speech workers; an utterance that comes before they are warm waits for them."""
        await self._workers.open(self)

    async def ready(self) -> None:
        """Wait until the speech workers are warm. Raises `SpeechFailed` if one cannot start."""
        await self._workers.ready()

    async def close(self) -> None:
        """Stop the speech workers if nobody else has them open."""
        await self._workers.close(self)

    async def transcribe(self, clip: Clip) -> str | None:
        """What was said, in small letters. Raises `SpeechFailed`."""
        return (await self._workers.transcribe(clip.audio, clip.format, self.name)).text
