"""The settings of a relay: ``VOICE_AGENT_RELAY_…``."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from voice_agent.agents.pipeline.settings import LastResortSettings
from voice_agent.agents.relay.address import upstream_endpoint
from voice_agent.agents.tools.webhook_settings import WebhookSettings
from voice_agent.providers.endpoint import Endpoint
from voice_agent.providers.keys import with_keys

OPENAI_LIMIT_S = 3600
"""How long a session lasts where nobody says it: OpenAI's."""
MAX_UPSTREAMS = 16
"""Stops a list that was pasted twice."""


class Upstream(BaseModel):
    """Where one is, and its own key."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: Annotated[str, Field(repr=False)]
    key: SecretStr | None = None
    model: Annotated[str, Field(max_length=256)] = ""

    def endpoint(self, model: str) -> Endpoint:
        """As a provider's. `model`: where nothing else names one. Raises `ValueError` in one line."""
        try:
            return upstream_endpoint(self.url, self.model or model, self.key)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            said = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {said}")


class RelaySettings(LastResortSettings):
    """What a relay takes."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    url: Annotated[list[str], Field(default_factory=list, max_length=MAX_UPSTREAMS)]
    """Of upstreams, the best first; the next is taken where one fails."""
    key: SecretStr | None = None
    """One is for the upstreams at the first one's host; several, with commas, are each upstream's own."""
    upstreams: Annotated[list[Upstream], Field(default_factory=list, max_length=MAX_UPSTREAMS)]
    """In place of `url`; in a TOML file, tables ``[[upstreams]]``."""
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

    @model_validator(mode="after")
    def _has_upstreams(self) -> Self:
        if bool(self.url) == bool(self.upstreams):
            raise ValueError("set either URL, to an address such as wss://api.openai.com/v1/realtime, or upstreams")
        _ = self.endpoints
        return self

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The upstreams, the best first."""
        upstreams = self.upstreams or [Upstream(url=url) for url in self.url]
        return with_keys([each.endpoint(self.model) for each in upstreams], self.key)
