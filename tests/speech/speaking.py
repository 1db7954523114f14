"""Voices and ears of a provider on a port, and what their requests are counted as."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.doubles.serving import Served
from voice_agent.call.usage import Figures
from voice_agent.kit.clip import VoicedAudio
from voice_agent.kit.usage import Meter
from voice_agent.kit.voice import Utterance, Voice
from voice_agent.providers.client import ProviderClient
from voice_agent.speech.http_ear import EarEndpoint, HttpEar
from voice_agent.speech.http_voice import HttpVoice, VoiceEndpoint


@dataclass
class RecordingMeter:
    """`kit.usage.Meter`."""

    figures: dict[str, Figures | None] = field(default_factory=dict)
    """By provider and model; None while it runs."""
    ids: list[str] = field(default_factory=list)

    async def begin(self, request_id: str, provider: str, model: str) -> None:
        """Notes it."""
        self.ids.append(request_id)
        self.figures[f"{provider}/{model}"] = None

    def end(self, request_id: str, figures: Figures) -> None:
        """Notes it."""
        (name,) = [name for name, known in self.figures.items() if known is None]
        self.figures[name] = dict(figures)

    def attribute(self, request_id: str, response_id: str) -> None:
        """Nothing."""

    def without_responses(self) -> Meter:
        """This one."""
        return self


def voice_at(client: ProviderClient, double: Served, **more: object) -> HttpVoice:
    """Its voice."""
    return HttpVoice(lambda: client, VoiceEndpoint.model_validate({"url": double.url, **more}))


def ear_at(client: ProviderClient, double: Served, **more: object) -> HttpEar:
    """Its ear."""
    return HttpEar(lambda: client, EarEndpoint.model_validate({"url": double.url, **more}))


async def said(voice: Voice, text: str, speed: float = 1.0) -> list[VoicedAudio]:
    """All pieces."""
    return [piece async for piece in voice.say(Utterance(text, "alloy", speed))]


def joined(pieces: list[VoicedAudio]) -> bytes:
    """Their audio."""
    return b"".join(piece.audio for piece in pieces)
