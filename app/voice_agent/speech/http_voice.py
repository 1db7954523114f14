"""A voice over HTTP, as OpenAI has it: ``POST {url}/audio/speech``, whose answer is the audio while it is made."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from voice_agent.call.audio import PCM
from voice_agent.kit.clip import VoicedAudio
from voice_agent.kit.usage import metered
from voice_agent.kit.voice import Utterance, Voice
from voice_agent.providers.client import ProviderClient, ProviderResponse
from voice_agent.providers.endpoint import Endpoint
from voice_agent.providers.errors import FailureKind
from voice_agent.speech.pcm_stream import NotPcm, PcmStream

MODEL = "gpt-4o-mini-tts"
"""Unless another is set; what servers that are not OpenAI's have is their own."""
MAX_INPUT_CHARS = 4000
"""Of one request; OpenAI takes 4096. A longer text is said in several."""
MAX_AUDIO_BYTES = 64 << 20
"""Of one request: stops a voice without an end. Twenty minutes."""
SAYS_SOMETHING = re.compile(r"\w")
CUT = re.compile(r"[\s\S]*(?:[.!?…。！？]\s+|\s)", re.UNICODE)


class VoiceEndpoint(Endpoint):
    """Where a voice is."""

    voice: str = ""
    """Which of the model's voices speaks; "": the one that the session asks for."""
    instructions: str = ""
    """How it is to speak, for models that heed it."""


class HttpVoice(Voice):
    """One endpoint's. Not deterministic: providers make a sentence otherwise each time."""

    def __init__(self, client: Callable[[], ProviderClient], endpoint: VoiceEndpoint) -> None:
        """`client`: had when it is first needed, not before the server starts."""
        self.name = endpoint.name
        self.endpoint = endpoint if endpoint.model else endpoint.model_copy(update={"model": MODEL})
        self._client = client

    @property
    def admits(self) -> bool:
        """Whether its provider does well, as far as is known."""
        return self._client().health(self.endpoint).admits

    def overtaken(self, seconds: float) -> None:
        """See `preference.Rated`."""
        self._client().health(self.endpoint).overtaken(seconds)

    async def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
        """PCM, 24 000 Hz, as it comes. Raises `ProviderFailed`. Nothing of a text without a letter or digit."""
        for text in _parts(utterance.text):
            async with (
                metered(self.endpoint.name, self.endpoint.model) as request,
                self._client().stream(
                    self.endpoint,
                    "POST",
                    "/audio/speech",
                    json=self._asked(text, utterance),
                    headers={"X-Client-Request-Id": request.id},
                ) as response,
            ):
                request.characters(len(text))
                async for samples in _samples(response):
                    yield VoicedAudio(samples, PCM)

    def _asked(self, text: str, utterance: Utterance) -> dict[str, Any]:
        asked: dict[str, Any] = {
            "model": self.endpoint.model,
            "voice": self.endpoint.voice or utterance.voice,
            "input": text,
            "response_format": "pcm",
        }
        if utterance.speed != 1.0:
            asked["speed"] = utterance.speed
        if self.endpoint.instructions:
            asked["instructions"] = self.endpoint.instructions
        return asked


async def _samples(response: ProviderResponse) -> AsyncIterator[bytes]:
    has_any = False
    try:
        stream = PcmStream(response.headers.get("content-type", ""))
        async for piece in response.pieces(MAX_AUDIO_BYTES):
            if samples := stream.feed(piece):
                has_any = True
                yield samples
    except NotPcm as error:
        raise response.failed(FailureKind.INVALID, str(error)) from None
    if not has_any:
        raise response.failed(FailureKind.INVALID, "gave no audio")


def _parts(text: str) -> Iterator[str]:
    """A text as it is said, in requests that are not too long: cut behind a sentence, else behind a word."""
    while len(text) > MAX_INPUT_CHARS:
        cut = CUT.match(text, 0, MAX_INPUT_CHARS)
        end = cut.end() if cut else MAX_INPUT_CHARS
        if SAYS_SOMETHING.search(text, 0, end):
            yield text[:end]
        text = text[end:]
    if SAYS_SOMETHING.search(text):
        yield text
