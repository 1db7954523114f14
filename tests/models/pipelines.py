"""A pipeline whose ear and voice are those of simulated providers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from voice_agent.agents.pipeline import Pipeline
from voice_agent.kit.agent import Kit
from voice_agent.providers.client import ProviderClient
from voice_agent.speech.fallback_ear import FallbackEar
from voice_agent.speech.fallback_voice import FallbackVoice
from voice_agent.speech.http_ear import EarEndpoint, HttpEar
from voice_agent.speech.http_voice import HttpVoice, VoiceEndpoint

HOSTS = ("first", "second")


def http_settings(hosts: Sequence[str] = HOSTS) -> Mapping[str, Any]:
    """Of the pipeline, with a model at each."""
    return {"model": ",".join(map(_url, hosts)), "model_name": "counting"}


def _url(host: str) -> str:
    return f"http://{host}/v1"


class HttpPipeline(Pipeline):
    """As the server makes one of addresses."""

    hosts: Sequence[str] = HOSTS

    async def open(self, kit: Kit) -> None:
        """See `Agent.open`."""

        def client() -> ProviderClient:
            return kit.shared(ProviderClient)

        self.ear = FallbackEar([HttpEar(client, EarEndpoint(url=_url(host), model="whisper-1")) for host in self.hosts])
        self.voice = FallbackVoice(
            [HttpVoice(client, VoiceEndpoint(url=_url(host), model="tones")) for host in self.hosts]
        )
        await super().open(kit)
