"""The settings of a relay: ``VOICE_AGENT_RELAY_…``."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, SecretStr, field_validator

from voice_agent.agents.pipeline.settings import LastResortSettings
from voice_agent.agents.relay.address import upstream_endpoint
from voice_agent.agents.tools.webhook_settings import WebhookSettings
from voice_agent.providers.endpoint import Endpoint

OPENAI_LIMIT_S = 3600
"""How long a session lasts where nobody says it: OpenAI's."""


class RelaySettings(LastResortSettings):
    """What a relay takes."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    url: Annotated[list[str], Field(min_length=1, max_length=16)]
    """Of upstreams, the best first; the next is taken where one fails."""
    key: SecretStr | None = None
    """Of all of them."""
    model: Annotated[str, Field(max_length=256)] = ""
    """Where the URL names none."""
    upstream_voice: Annotated[str, Field(max_length=256)] = ""
    """What the upstream speaks with; else what the client asks for."""
    instructions: Annotated[str, Field(max_length=64 * 1024)] = ""
    """Before those of the client."""
    greeting: Annotated[str, Field(max_length=4096)] = ""
    """What the upstream is told to say when a call begins; "": it waits for the caller."""
    transcription: Annotated[str, Field(max_length=256)] = "gpt-4o-mini-transcribe"
    """The upstream's model that transcribes the caller; "": nobody does. Not used with an ear."""
    tools: list[WebhookSettings] = Field(default_factory=list, max_length=128)
    """Webhooks that the model may have called; in a TOML file, tables ``[[tools]]``."""
    session_limit_s: Annotated[float, Field(gt=1, le=24 * 3600)] | None = None
    """How long a session of the upstream lasts; else what it says, or `OPENAI_LIMIT_S`."""
    renew_before_s: Annotated[float, Field(gt=0, le=600)] | None = None
    """So long before that the next one is opened; else a fifth of it, a minute at most."""

    @field_validator("url")
    @classmethod
    def _are_addresses(cls, urls: list[str]) -> list[str]:
        for url in urls:
            upstream_endpoint(url)
        return urls

    def endpoints(self) -> list[Endpoint]:
        """The upstreams."""
        return [upstream_endpoint(url, self.model, self.key) for url in self.url]
