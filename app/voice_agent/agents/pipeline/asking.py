"""What a model is asked: the body of a request, out of a conversation and settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from voice_agent.agents.pipeline.context import fitting
from voice_agent.agents.pipeline.continuation import END_MARK
from voice_agent.agents.pipeline.messages import Message, choice, functions, messages_of
from voice_agent.agents.pipeline.settings import Continuation, PipelineSettings
from voice_agent.kit.events import Asked
from voice_agent.kit.tools import Tool
from voice_agent.providers.chat import ChatRequest
from voice_agent.providers.endpoint import Endpoint

GO_ON = (
    "Your answer was broken off where your last message ends; the caller has heard all of it. Go on with the very next "
    "word. Repeat nothing, do not say that you go on. If nothing is missing, write only "
    f"{END_MARK}"
)
NO_TOOLS = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is to be answered, whoever is asked. Two that are equal are asked the same."""

    instructions: Sequence[str]
    items: Sequence[Mapping[str, Any]]
    kept: Mapping[str, Sequence[Message]]
    """Rounds of tools in earlier turns."""
    tools: Sequence[Mapping[str, Any]]
    """The agent's own, and the client's."""
    tool_choice: str | Mapping[str, Any]
    parallel_tool_calls: bool
    max_tokens: int | None
    truncation: str | Mapping[str, Any]

    def request(self, settings: PipelineSettings, rounds: Sequence[Message] = ()) -> ChatRequest:
        """As any endpoint is asked. `rounds`: what came of this reply so far. Raises `ContextTooLong`."""
        messages = fitting(messages_of(self.items, self.kept), settings.context_tokens, self.truncation)
        system = "\n\n".join(text for text in self.instructions if text.strip())
        head: list[Message] = [{"role": "system", "content": system}] if system else []
        return ChatRequest(
            messages=[*head, *messages, *rounds],
            tools=functions(self.tools),
            # A tool that must be called is called once: the round behind it is to say what came of it.
            tool_choice="auto" if rounds and self.tool_choice != NO_TOOLS else choice(self.tool_choice),
            parallel_tool_calls=self.parallel_tool_calls,
            temperature=settings.temperature,
            max_tokens=self.max_tokens or settings.max_tokens,
        )


def question(
    asked: Asked,
    items: Sequence[Mapping[str, Any]],
    instructions: str,
    tools: Sequence[Tool],
    kept: Mapping[str, Sequence[Message]],
) -> Question:
    """Of a reply that is due; `instructions` and `tools` of the agent, `items` of the conversation the newest."""
    own = [tool.described() for tool in tools]
    names = {tool["name"] for tool in own}
    return Question(
        instructions=(instructions, asked.instructions),
        items=items,
        kept={} if asked.out_of_band else kept,
        tools=[*own, *(tool for tool in asked.tools if tool.get("name") not in names)],
        tool_choice=asked.tool_choice,
        parallel_tool_calls=asked.parallel_tool_calls,
        max_tokens=asked.max_output_tokens,
        truncation=asked.truncation,
    )


def going_on(request: ChatRequest, said: str, way: Continuation) -> ChatRequest:
    """The same, where so much of the answer has been said."""
    if not said.strip():
        return request
    message: Message = {"role": "assistant", "content": said}
    match way:
        case Continuation.PREFIX:
            return replace(request, messages=[*request.messages, {**message, "prefix": True}])
        case Continuation.CONTINUE_FINAL_MESSAGE:
            extra = {**request.extra, "continue_final_message": True, "add_generation_prompt": False}
            return replace(request, messages=[*request.messages, message], extra=extra)
        case Continuation.INSTRUCTION:
            return replace(request, messages=[*request.messages, message, {"role": "system", "content": GO_ON}])


@dataclass(frozen=True, slots=True)
class Asking:
    """A request as each endpoint is to be asked it: see `reading.RequestFor`."""

    request: ChatRequest
    settings: PipelineSettings

    def __call__(self, endpoint: Endpoint, said: str) -> ChatRequest:
        """See `reading.RequestFor`."""
        return going_on(self.request, said, self.settings.continuation_of(endpoint))
