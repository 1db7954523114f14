"""The ears that come with the server, at work in the speech workers."""

from __future__ import annotations

from typing import Any

from voice_agent.kit.clip import Clip
from voice_agent.kit.ear import Ear, Transcript
from voice_agent.speech.workers import SpeechWorkers, WorkersOpen

POCKETSPHINX = "pocketsphinx"
"""Understands what its grammar has: see `recognition`."""
WHISPER = "whisper"
"""Understands what is said freely: see `whisper`."""
NATURAL = "natural"
"""Whisper, with the grammar's second opinion: see `second_opinion`."""

DEFAULT_LANGUAGE = "en"


class WorkerEar(WorkersOpen, Ear):
    """Takes an utterance whole."""

    def __init__(self, workers: SpeechWorkers, name: str, **settings: Any) -> None:
        """`workers` may be shared with others. `name`: of an engine of `engines`, loaded with these settings."""
        self.name = name
        self.stops_soon = name in (WHISPER, NATURAL)
        super().__init__(workers)
        workers.use(name, **settings)

    async def transcribe(self, clip: Clip) -> Transcript:
        """What was said. Raises `SpeechFailed`."""
        language = clip.language.partition("-")[0].lower() or DEFAULT_LANGUAGE
        return await self._workers.transcribe(
            clip.audio, clip.format, self.name, language, yes_or_no=clip.yes_or_no, prompt=clip.prompt
        )
