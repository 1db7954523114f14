"""The agent `frontdesk`: the talk of `dialog`, in sentences."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from itertools import pairwise
from typing import Any

from voice_agent.agents.frontdesk import dialog
from voice_agent.agents.frontdesk.dialog import Answer
from voice_agent.agents.frontdesk.memory import Memory
from voice_agent.agents.scripted import Scripted, ScriptedTurn
from voice_agent.call.said_by_caller import said_since_last_reply

_SENTENCE_END = re.compile(r"(?<=[.?!:]) +")


class FrontDesk(Scripted):
    """Answers a demonstration company's telephone. Uses no tools: it passes over what tools said."""

    name = "frontdesk"
    turn_detection = "semantic_vad"

    async def answer(self, turn: ScriptedTurn) -> AsyncGenerator[str, None]:
        """The decision, once, whatever becomes of the pod; then sentence by sentence, so that the first is early."""

        async def decide(_: str) -> dict[str, Any]:
            answer = answer_to(turn)
            return {"text": answer.text, "hang_up": answer.hang_up, "memory": answer.memory.as_json()}

        decision = await turn.call.once("decision", decide)
        turn.call.state.update(decision["memory"])
        for sentence in sentences(decision["text"]):
            yield sentence
        if decision["hang_up"]:
            await turn.call.hang_up()


def answer_to(turn: ScriptedTurn) -> Answer:
    """What the front desk decides to say; the same turn gives the same answer."""
    memory = Memory.from_json(turn.call.state)
    if not said_since_last_reply(turn.items).items:
        return dialog.greet(memory)
    return dialog.decide(None if turn.unclear and not turn.text else turn.text, memory, turn.event.at_ms)


def sentences(text: str) -> list[str]:
    """`text` cut after its sentences, each with the blank that follows it, so that all joined are `text`."""
    starts = [0, *(match.end() for match in _SENTENCE_END.finditer(text)), len(text)]
    return [text[start:end] for start, end in pairwise(starts) if start < end]
