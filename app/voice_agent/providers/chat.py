"""Asking a language model over the chat API of OpenAI, which most others speak: `POST {url}/chat/completions`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from voice_agent.kit.usage import MeteredRequest, metered
from voice_agent.providers.chat_chunks import ChatChunks, ChatDelta, ChatUsage, StreamError, WrongChunk
from voice_agent.providers.client import ProviderClient, ProviderResponse
from voice_agent.providers.endpoint import Endpoint
from voice_agent.providers.errors import FailureKind
from voice_agent.providers.sse import EventParser, EventTooLong

MAX_ANSWER_BYTES = 8 << 20
"""Of one answer with all that stands around its text: stops a stream of nothing that never ends."""
MAX_WHOLE_BYTES = 1 << 20
"""Of one that comes whole."""
OPENAI_HOST = "api.openai.com"


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What a model is asked."""

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: str | Mapping[str, Any] = "auto"
    parallel_tool_calls: bool = True
    temperature: float | None = None
    """None: the model's own."""
    max_tokens: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Beside all that in the body."""

    def body(self, endpoint: Endpoint) -> dict[str, Any]:
        """As the endpoint takes it."""
        found: dict[str, Any] = {
            "messages": list(self.messages),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if endpoint.model:
            found["model"] = endpoint.model
        if self.tools:
            found["tools"] = list(self.tools)
            if self.tool_choice != "auto":
                found["tool_choice"] = self.tool_choice
            if not self.parallel_tool_calls:
                found["parallel_tool_calls"] = False
        if self.temperature is not None:
            found["temperature"] = self.temperature
        if self.max_tokens is not None:
            found[_limit_name(endpoint)] = self.max_tokens
        return {**found, **self.extra}


async def stream_chat(
    client: ProviderClient,
    endpoint: Endpoint,
    request: ChatRequest,
    begun: Callable[[MeteredRequest], None] = lambda _: None,
) -> AsyncGenerator[ChatDelta, None]:
    """What the model answers, as it comes: `ChatBegan` first, `ChatDone` once, perhaps `ChatUsage` behind it.

    Raises `ProviderFailed`, also for a stream that ends before the answer does. `begun` is told of the request as it is
    counted.
    """
    async with metered(endpoint.name, endpoint.model) as counted:
        begun(counted)
        headers = {"Accept": "text/event-stream", "X-Client-Request-Id": counted.id}
        async with (
            client.stream(
                endpoint, "POST", "chat/completions", json=request.body(endpoint), headers=headers
            ) as response,
            aclosing(_deltas(response)) as deltas,
        ):
            async for delta in deltas:
                if isinstance(delta, ChatUsage):
                    counted.tokens(
                        input=delta.input,
                        output=delta.output,
                        cached_input=delta.cached_input,
                        input_audio=delta.input_audio,
                        output_audio=delta.output_audio,
                    )
                yield delta


async def _deltas(response: ProviderResponse) -> AsyncGenerator[ChatDelta, None]:
    chunks = ChatChunks()
    try:
        async with aclosing(_events(response)) as events:
            async for data in events:
                for delta in chunks.feed(data):
                    yield delta
                if chunks.is_over:
                    return
    except WrongChunk as error:
        raise response.failed(FailureKind.INVALID, f"gave a chunk that makes no sense: {error}") from None
    except StreamError as error:
        raise response.failed(FailureKind.FAILING, f"broke its answer off: {error}") from None
    except EventTooLong as error:
        raise response.failed(FailureKind.INVALID, str(error)) from None
    if not chunks.is_done:
        raise response.failed(FailureKind.CUT, "ended before its answer did")


async def _events(response: ProviderResponse) -> AsyncGenerator[str, None]:
    """The data of each event; of an answer that does not come as a stream, all of it."""
    if "application/json" in response.headers.get("content-type", "").lower():
        yield (await response.read(MAX_WHOLE_BYTES)).decode(errors="replace")
        return
    parser = EventParser()
    async with aclosing(response.pieces(MAX_ANSWER_BYTES)) as pieces:
        async for piece in pieces:
            for event in parser.feed(piece):
                if event.data:
                    yield event.data


def _limit_name(endpoint: Endpoint) -> str:
    """What the most tokens of an answer are called: OpenAI has renamed it, others have not."""
    is_openai = endpoint.is_azure or urlsplit(endpoint.url).hostname == OPENAI_HOST
    return "max_completion_tokens" if is_openai else "max_tokens"
