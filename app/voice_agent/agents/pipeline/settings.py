"""What may be set for a `Pipeline`: three addresses and a key are enough."""

from __future__ import annotations

import wave
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from voice_agent.agents.tools.webhook_settings import WebhookSettings
from voice_agent.providers.endpoint import Endpoint
from voice_agent.providers.keys import with_keys

MAX_APOLOGY_BYTES = 5 * 1024 * 1024
"""Of a recording: a minute and three quarters; it is kept in memory."""
WAV_FORMAT = (1, 2, 24_000)
"""Channels, bytes a sample, samples a second."""

INSTRUCTIONS = (
    "You are on the telephone. Answer in the caller's language, in one to three short sentences, as people speak: no "
    "lists, no markup, no emoji, numbers and dates in words."
)
APOLOGY = "Sorry, I cannot answer just now. Please say that again in a moment."


Made = TypeVar("Made", bound=BaseModel)


class Continuation(StrEnum):
    """How a model is asked to go on with an answer that has been begun."""

    INSTRUCTION = "instruction"
    """In words. Every model takes that."""
    PREFIX = "prefix"
    """Its last message is marked ``prefix``: Mistral, DeepSeek."""
    CONTINUE_FINAL_MESSAGE = "continue_final_message"
    """As a parameter: vLLM, SGLang."""


class Model(Endpoint):
    """A language model."""

    continuation: Continuation | None = None
    """None: as is set for all."""


class ModelSettings(BaseModel):
    """Which models are asked, and how."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), hide_input_in_errors=True)

    model: str = ""
    """The model's address, such as ``https://api.openai.com/v1``; several, with commas, are asked in this order."""
    model_name: str = ""
    model_key: SecretStr | None = None
    """One is for the models at the first one's host; several, with commas, are each model's own."""
    key: SecretStr | None = None
    """In its place, and of the ear and the voice."""
    models: tuple[Model, ...] = ()
    """In place of `model`, where one line is not enough."""
    continuation: Continuation = Continuation.INSTRUCTION
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Of one answer."""
    context_tokens: Annotated[int, Field(ge=256, le=10_000_000)] = 32_000
    """Of the conversation, as far as a model is given it."""
    hedge_ms: Annotated[int, Field(ge=20, le=60_000)] | None = None
    """After so long without an answer the next model is asked as well; None: as each usually takes."""
    speculate: bool = True
    """Whether a model is asked in a pause that may end the caller's turn. It may be asked in vain."""

    @model_validator(mode="after")
    def _has_a_model(self) -> Self:
        if bool(self.model.strip()) == bool(self.models):
            raise ValueError("set either MODEL, to an address such as https://api.openai.com/v1, or models")
        _ = self.endpoints
        return self

    @property
    def endpoints(self) -> tuple[Model, ...]:
        """The models, in the order in which they are asked."""
        addresses = [address.strip() for address in self.model.split(",") if address.strip()]
        models = self.models or tuple(_made(Model, url=address, model=self.model_name) for address in addresses)
        return with_keys(models, self.model_key or self.key)

    def continuation_of(self, endpoint: Endpoint) -> Continuation:
        """How this one is asked to go on."""
        return (endpoint.continuation if isinstance(endpoint, Model) else None) or self.continuation


class LastResortSettings(BaseModel):
    """What a caller hears when no model answers."""

    apology: str = APOLOGY
    apology_audio: Path | None = None
    """A recording of it, PCM16 mono at 24 000 Hz, for then the voice may be gone, too."""
    refusal: str = "I am sorry, I cannot help you with that."
    """Said where a provider's filter left nothing of an answer."""
    person: str = ""
    """Whom the caller is put through to, if they want: ``sip:…`` or ``tel:…``."""
    person_offer: str = "If you would like to talk to a person, say yes, or press one."
    yes: str = "yes, yes please, yeah, please, ok, okay, sure"
    """What takes the offer, with commas."""
    putting_through: str = "I am putting you through. "
    call_back: str = ""
    """Who is told that the caller wants to be called back: the address of a webhook, as of a tool."""
    call_back_secret: SecretStr | None = None
    """``whsec_…``, with which it is signed."""
    call_back_offer: str = "To be called back, press two."
    calling_back: str = "You will be called back. "

    @model_validator(mode="after")
    def _can_call_back(self) -> Self:
        _ = self.call_back_webhook
        return self

    @property
    def call_back_webhook(self) -> WebhookSettings | None:
        """What is asked for it."""
        if not self.call_back:
            return None
        if self.call_back_secret is None:
            raise ValueError("CALL_BACK wants CALL_BACK_SECRET, with which its requests are signed")
        return _made(WebhookSettings, name="call_back", url=self.call_back, secret=self.call_back_secret)

    @field_validator("apology_audio")
    @classmethod
    def _is_recording(cls, path: Path | None) -> Path | None:
        if path is not None:
            recording(path)
        return path


class PipelineSettings(ModelSettings, LastResortSettings):
    """See `docs/models.md`."""

    instructions: str = INSTRUCTIONS
    greeting: str = ""
    tools: tuple[WebhookSettings, ...] = ()
    """Webhooks that the model may call."""


def recording(path: Path) -> bytes:
    """PCM16 of a WAV file. Raises `ValueError`."""
    try:
        if path.stat().st_size > MAX_APOLOGY_BYTES:
            raise ValueError(f"has more than {MAX_APOLOGY_BYTES} bytes")
        with wave.open(str(path), "rb") as file:
            if (file.getnchannels(), file.getsampwidth(), file.getframerate()) != WAV_FORMAT:
                raise ValueError("is no recording in PCM16, mono, at 24 000 Hz")
            return file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        reason = getattr(error, "strerror", None) or str(error) or "it is no WAV file"
        raise ValueError(f"cannot be read: {reason}") from None


def _made(what: type[Made], **fields: Any) -> Made:
    """Raises `ValueError` with what is wrong with it."""
    try:
        return what(**fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}") from None
