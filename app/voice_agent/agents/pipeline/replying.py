"""A reply: rounds of asking a model and running the tools that it calls, until it has said what there is to say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import orjson
import structlog

from voice_agent.agents.pipeline.answer import FAILED, FILTERED, ModelAnswer
from voice_agent.agents.pipeline.asking import NO_TOOLS, Asking, Question
from voice_agent.agents.pipeline.memory import keep_round
from voice_agent.agents.pipeline.messages import Message, is_object, tool_calls, tool_result
from voice_agent.agents.pipeline.reading import AnswerReader
from voice_agent.agents.pipeline.round import Round
from voice_agent.agents.pipeline.settings import PipelineSettings
from voice_agent.agents.pipeline.speculation import Speculation
from voice_agent.agents.tools.running import ToolInterrupted, ToolRequest, run_tools
from voice_agent.kit.call import Call
from voice_agent.kit.events import Asked
from voice_agent.kit.tools import Tool
from voice_agent.providers.chat_chunks import ToolCall
from voice_agent.providers.failover import Failover

MAX_ROUNDS = 8
"""Of one reply: stops a model that calls tools for ever. In the last it is given none."""
INTERRUPTED = '{"error": "The caller interrupted before it gave anything."}'

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Models:
    """What all replies of an agent have in common."""

    settings: PipelineSettings
    failover: Failover
    tools: Mapping[str, Tool]
    """The agent's own, by name."""


class PipelineReply:
    """To one event."""

    def __init__(self, models: Models, call: Call, asked: Asked, question: Question, speculation: Speculation) -> None:
        self._models = models
        self._call = call
        self._asked = asked
        self._question = question
        self._speculation = speculation
        self._client_names = {str(tool.get("name")) for tool in asked.tools} - models.tools.keys()
        self._rounds: list[Message] = []
        """What came of it so far, as a model is told in the next round."""

    async def run(self) -> ModelAnswer:
        """Say it, and have done what it takes; its last answer, whose reason may be `FAILED`."""
        for number in range(1, MAX_ROUNDS + 1):
            answer = await self._say(number)
            if not answer.calls or answer.reason in (FAILED, FILTERED) or number == MAX_ROUNDS:
                return answer
            if not await self._call_tools(number, answer):
                return answer
        raise AssertionError("the last round returns")

    # --- a round ----------------------------------------------------------------

    async def _say(self, number: int) -> ModelAnswer:
        suffix = "" if number == 1 else f" {number}"
        one = Round(self._call, self._asked.response_id, f"answer {number}", lambda said: self._reader(number, said))
        async with self._call.speak(f"reply{suffix}") as speech:
            return await one.say(speech)

    def _reader(self, number: int, said: str) -> AnswerReader:
        """Of the answer of this round; the one that was begun in the caller's pause, if that asked the same."""
        request = self._question.request(self._models.settings, self._rounds)
        if number == MAX_ROUNDS:
            request = replace(request, tool_choice=NO_TOOLS)
        begun = self._speculation.take(request) if number == 1 and not said else None
        return begun or AnswerReader(self._models.failover, Asking(request, self._models.settings), said)

    # --- tools ------------------------------------------------------------------

    async def _call_tools(self, number: int, answer: ModelAnswer) -> bool:
        """Have them run; whether a model is to be asked what to make of it, for no client was asked for anything."""
        calls = {f"{number}.{index}": self._with_id(number, index, call) for index, call in enumerate(answer.calls)}
        clients = {place: call for place, call in calls.items() if self._is_for_client(call)}
        own = {place: call for place, call in calls.items() if place not in clients}
        if own:
            self._keep(list(own.values()), await self._outputs(own), answer.text)
        for place, call in clients.items():
            await self._call.call_tool(f"call {place}", call.name, call.arguments)
        return not clients

    async def _outputs(self, calls: Mapping[str, ToolCall]) -> list[str]:
        """What each gave; of one that there is not, what is wrong with it. Raises `SpeechInterrupted`."""
        tools = self._models.tools
        wanted = [
            ToolRequest(tools[call.name], place, call.arguments) for place, call in calls.items() if call.name in tools
        ]
        try:
            given: Sequence[str | None] = await run_tools(self._call, wanted) if wanted else []
        except ToolInterrupted as interrupted:
            self._keep(list(calls.values()), self._in_order(calls, interrupted.outputs), "")
            raise
        return self._in_order(calls, given)

    def _in_order(self, calls: Mapping[str, ToolCall], given: Sequence[str | None]) -> list[str]:
        """An output for each call; `given`: those of calls that could be run."""
        left = iter(given)
        known = self._models.tools
        return [next(left) or INTERRUPTED if call.name in known else self._wrong(call) for call in calls.values()]

    def _keep(self, calls: Sequence[ToolCall], outputs: Sequence[str], text: str) -> None:
        """For the next round, and for later turns."""
        messages = [
            tool_calls([(call.id, call.name, call.arguments) for call in calls], text),
            *(tool_result(call.id, output) for call, output in zip(calls, outputs, strict=True)),
        ]
        self._rounds += messages
        if self._asked.items and not self._asked.out_of_band:
            keep_round(self._call.state, str(self._asked.items[-1].get("id")), messages)

    def _is_for_client(self, call: ToolCall) -> bool:
        """Whether it is one of the client's functions, called as a function can be."""
        return call.name in self._client_names and is_object(call.arguments)

    def _wrong(self, call: ToolCall) -> str:
        """What a model is told of a call that nobody can run."""
        is_known = call.name in self._client_names
        why = "Its arguments are no JSON object." if is_known else f"There is no tool {call.name!r}."
        return orjson.dumps({"error": why}).decode()

    def _with_id(self, number: int, index: int, call: ToolCall) -> ToolCall:
        """With an id that is the same on every pod and that every provider takes: nine letters and digits."""
        place = f"{self._asked.response_id}:{number}:{index}"
        return ToolCall("c" + blake2b(place.encode(), digest_size=4).hexdigest(), call.name, call.arguments)
