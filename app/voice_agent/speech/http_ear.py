"""An ear over HTTP, as OpenAI has it: ``POST {url}/audio/transcriptions``, of a WAV file in a form."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

from voice_agent.kit.clip import Clip
from voice_agent.kit.ear import Ear, Transcript
from voice_agent.kit.usage import MeteredRequest, metered
from voice_agent.providers.client import ProviderClient, ProviderResponse
from voice_agent.providers.endpoint import Endpoint
from voice_agent.providers.errors import FailureKind
from voice_agent.speech.wav_upload import multipart, wav_file, wav_stream

MODEL = "gpt-4o-mini-transcribe"
"""Unless another is set; what servers that are not OpenAI's have is their own."""


class EarEndpoint(Endpoint):
    """Where an ear is."""

    language: str = ""
    """Which one callers speak, as ISO 639-1; "": the model finds out."""
    prompt: str = ""
    """Words that it is to expect, such as names."""
    streams: bool = False
    """Whether speech is sent while it is said, chunked (RFC 9112): then a slow line costs no time at its end."""


class HttpEar(Ear):
    """One endpoint's."""

    def __init__(self, client: Callable[[], ProviderClient], endpoint: EarEndpoint) -> None:
        """`client`: had when it is first needed, not before the server starts."""
        self.name = endpoint.name
        self.streams = endpoint.streams
        self.endpoint = endpoint if endpoint.model else endpoint.model_copy(update={"model": MODEL})
        self._client = client

    @property
    def admits(self) -> bool:
        """Whether its provider does well, as far as is known."""
        return self._client().health(self.endpoint).admits

    def overtaken(self, seconds: float) -> None:
        """See `preference.Rated`."""
        self._client().health(self.endpoint).overtaken(seconds)

    async def transcribe(self, clip: Clip) -> str | None:
        """What was said. Raises `ProviderFailed`."""
        if not clip.audio:
            return ""

        head, tail, content_type = multipart(self._fields(clip.language, clip.prompt), uuid4().hex)
        async with metered(self.endpoint.name, self.endpoint.model) as request:
            content = head + wav_file(clip) + tail
            return await self._heard(request, content, content_type, lambda: clip.format.ms(len(clip.audio)))

    async def listen(self, frames: AsyncIterator[Clip]) -> AsyncIterator[Transcript]:
        """One transcript, the final one. Raises `ProviderFailed`."""
        if not self.streams:
            async for transcript in super().listen(frames):
                yield transcript
            return
        heard_ms = 0
        first = await anext(frames, None)
        if first is None:
            yield Transcript("")
            return
        head, tail, content_type = multipart(self._fields(first.language, first.prompt), uuid4().hex)

        async def counted() -> AsyncIterator[Clip]:
            nonlocal heard_ms
            heard_ms += first.format.ms(len(first.audio))
            yield first
            async for frame in frames:
                heard_ms += frame.format.ms(len(frame.audio))
                yield frame

        async def content() -> AsyncIterator[bytes]:
            yield head
            async for piece in wav_stream(counted()):
                yield piece
            yield tail

        async with metered(self.endpoint.name, self.endpoint.model) as request:
            text = await self._heard(request, content(), content_type, lambda: heard_ms)
        yield Transcript(text)

    async def _heard(
        self,
        request: MeteredRequest,
        content: bytes | AsyncIterator[bytes],
        content_type: str,
        heard_ms: Callable[[], int],
    ) -> str | None:
        async with self._client().stream(
            self.endpoint,
            "POST",
            "/audio/transcriptions",
            content=content,
            headers={"Content-Type": content_type, "X-Client-Request-Id": request.id},
        ) as response:
            request.audio_ms(heard_ms())
            return _text(response, await response.read(), request)

    def _fields(self, spoken: str = "", prompt: str = "") -> dict[str, str]:
        """`spoken`: the caller's language where the setting names none; `prompt`: the call's, likewise."""
        fields = {"model": self.endpoint.model, "response_format": "json"}
        more = {
            "language": self.endpoint.language or spoken.partition("-")[0],
            "prompt": self.endpoint.prompt or prompt,
        }
        return fields | {name: value for name, value in more.items() if value}


def _text(response: ProviderResponse, body: bytes, request: MeteredRequest) -> str:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise response.failed(FailureKind.INVALID, "gave what is no JSON") from None
    if not isinstance(found, dict) or not isinstance(found.get("text"), str):
        raise response.failed(FailureKind.INVALID, "gave JSON without a text")
    _count(found.get("usage"), request)
    text: str = found["text"]
    return text.strip()


def _count(usage: Any, request: MeteredRequest) -> None:
    if isinstance(usage, dict):
        details = usage.get("input_token_details")
        request.tokens(
            input=usage.get("input_tokens"),
            output=usage.get("output_tokens"),
            input_audio=details.get("audio_tokens") if isinstance(details, dict) else None,
        )
