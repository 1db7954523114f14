"""Counting what is asked of a provider: a language model, a speech-to-text or text-to-speech service.

`metered` is for agents, ears, voices and tools alike. Which call a request belongs to is known by itself, in the
agent's run, in its ear and its voice, and in the tasks that they make; elsewhere nothing is counted. ::

    async with metered("openai", "gpt-5-mini") as request:
        answer = await ask(headers={"X-Client-Request-Id": request.id})
        request.tokens(input=answer.usage.input_tokens, output=answer.usage.output_tokens)
"""

from __future__ import annotations

import re
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from types import TracebackType
from typing import Protocol
from uuid import uuid4

from voice_agent.call.usage import (
    AUDIO_MS,
    CACHED_INPUT_TOKENS,
    CHARACTERS,
    INPUT_AUDIO_TOKENS,
    INPUT_TOKENS,
    MAX_FIGURE,
    MAX_MODEL_CHARS,
    MAX_PROVIDER_CHARS,
    OUTPUT_AUDIO_TOKENS,
    OUTPUT_TOKENS,
    Figures,
)

UNNAMED = "unnamed"
"""What a provider or a model is called that has no name."""


class Meter(Protocol):
    """Counts the requests of one call; the runtime brings it."""

    async def begin(self, request_id: str, provider: str, model: str) -> None:
        """A request is about to be sent: returns once that is durable, or the store is given up for now.

        Raises `CancelledError` for a call that this pod has lost. If it raises, nothing is counted.
        """

    def end(self, request_id: str, figures: Figures) -> None:
        """It is over, and used so much; {}: that is not known."""

    def attribute(self, request_id: str, response_id: str) -> None:
        """It is made for this response."""

    def without_responses(self) -> Meter:
        """One of the same call whose requests are made for no response."""


METER: ContextVar[Meter | None] = ContextVar("voice_agent.meter", default=None)
"""That of the call for which the current task works; None: for none."""


def metered(provider: str, model: str) -> AbstractAsyncContextManager[MeteredRequest]:
    """One request to a provider's model, counted for the call it is made for.

    Entered, it is durable that the request begins: so no request is sent of which the call's record does not know. Left
    without figures, by an error, a cancellation, or because the pod has died, what it used is *unknown*, never 0. A try
    again is another request. Names are shortened, and what cannot stand in a metric's label is replaced by ``_``.
    """
    return _Metered(_name(provider, r"[^A-Za-z0-9_.:-]", MAX_PROVIDER_CHARS), _name(model, r"[^!-~]", MAX_MODEL_CHARS))


class MeteredRequest:
    """A request under way. What is told of it counts when it is left; told again, the later figure counts.

    A figure that is None, negative, no whole number or absurdly large is not known: it may come from a provider as
    it is.
    """

    def __init__(self, meter: Meter | None) -> None:
        self.id = f"req_{uuid4().hex}"
        """Unique; to be sent as ``X-Client-Request-Id``, so that the provider's log can be compared."""
        self.figures: dict[str, int] = {}
        """What was told, by the names of `call.usage.UNITS`."""
        self._meter = meter

    def tokens(
        self,
        *,
        input: int | None = None,  # noqa: A002 the word that providers have for it
        output: int | None = None,
        cached_input: int | None = None,
        input_audio: int | None = None,
        output_audio: int | None = None,
    ) -> None:
        """Of a model. `input` and `output` are all tokens, those that were cached or are audio among them."""
        self._tell(INPUT_TOKENS, input)
        self._tell(OUTPUT_TOKENS, output)
        self._tell(CACHED_INPUT_TOKENS, cached_input)
        self._tell(INPUT_AUDIO_TOKENS, input_audio)
        self._tell(OUTPUT_AUDIO_TOKENS, output_audio)

    def characters(self, count: int | None) -> None:
        """Of a voice: so many it was given to say."""
        self._tell(CHARACTERS, count)

    def audio_ms(self, duration_ms: int | None) -> None:
        """Of an ear: so long was what it was given to hear."""
        self._tell(AUDIO_MS, duration_ms)

    def for_response(self, response_id: str) -> None:
        """It is made for this response: for a request that was begun before its response was.

        One that an agent begins while a response is open is made for that one; of an ear or a voice, for none.
        """
        if self._meter is not None:
            self._meter.attribute(self.id, response_id)

    def _tell(self, unit: str, figure: object) -> None:
        if isinstance(figure, int) and not isinstance(figure, bool) and 0 <= figure <= MAX_FIGURE:
            self.figures[unit] = figure


class _Metered(AbstractAsyncContextManager[MeteredRequest]):
    """See `metered`; to be entered once."""

    def __init__(self, provider: str, model: str) -> None:
        self._provider = provider
        self._model = model
        self._meter: Meter | None = None
        self._request: MeteredRequest | None = None

    async def __aenter__(self) -> MeteredRequest:
        if self._request is not None:
            raise RuntimeError("A request is metered once; a try again is another one.")
        self._meter = METER.get()
        self._request = MeteredRequest(self._meter)
        if self._meter is not None:
            await self._meter.begin(self._request.id, self._provider, self._model)
        return self._request

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Without an `await`: a task that is being cancelled tells what is known, too.
        if self._meter is not None and self._request is not None:
            self._meter.end(self._request.id, self._request.figures)


def _name(given: str, unfit: str, max_chars: int) -> str:
    return re.sub(unfit, "_", given[:max_chars]) or UNNAMED
