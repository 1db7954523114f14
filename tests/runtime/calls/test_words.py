"""An agent that is asked again on another pod says the same words: it is told the same, and finds what is durable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.runtime.rig import ANSWER, TYPED, rig
from tests.waiting import until
from voice_agent.agents.base import ResponsePart, Text, Turn
from voice_agent.agents.turns import said_since_last_reply
from voice_agent.kit.clip import Clip

SENTENCES = 6


class Parrot:
    """The simplest agent one can write: no plan, no state; what it says follows from what was said to it."""

    name = "parrot"
    lead_ms = 400
    replays = True
    mirrors = False

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.may_say = 0
        """So many sentences; those beyond wait."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def transcribe(self, clip: Clip) -> str | None:
        return None

    async def reply(self, turn: Turn) -> AsyncIterator[ResponsePart]:
        self.turns.append(turn)
        said = said_since_last_reply(turn.items).text or "nothing"
        for number in range(1, SENTENCES + 1):
            await until(lambda number=number: self.may_say >= number)
            yield Text(f"Sentence {number}: you said {said}. ")


EXPECTED = "".join(f"Sentence {number}: you said hi. " for number in range(1, SENTENCES + 1))


@pytest.mark.parametrize("said", range(SENTENCES))
async def test_a_reply_goes_on_elsewhere_with_the_same_words(said: int) -> None:
    """Its pod is lost after any of its sentences; what the caller types meanwhile is not in the answer."""
    parrot = Parrot()
    parrot.may_say = said
    async with rig(None, parrot) as its:
        first, second = await its.pod("pod-a"), await its.pod("pod-b", "green")
        caller = await its.start(first, "parrot")
        caller.transport.say(TYPED)
        caller.transport.say(ANSWER)
        if said:
            await caller.transport.event("response.output_audio_transcript.delta", said)
        else:
            await caller.transport.event("response.created")
        caller.transport.say(TYPED)
        await caller.transport.until(lambda it: _count(it.events, "conversation.item.done") == 2)
        seen = int(caller.transport.ids[-1].removeprefix("evt_"))
        resumed = await its.resume(second, caller.call_id, seen)
        await resumed.greeting()
        parrot.may_say = SENTENCES
        done = await resumed.transport.event("response.done")
        [item] = done["response"]["output"]
        assert item["content"][0]["transcript"] == EXPECTED
        both = [*caller.transport.events, *resumed.transport.events]
        heard = [event["delta"] for event in both if event["type"] == "response.output_audio_transcript.delta"]
        assert "".join(heard) == EXPECTED
        before, after = (list(turn.items) for turn in parrot.turns)
        assert before == after
        assert len(after) == 1
        await asyncio.gather(caller.gone(), resumed.gone())


def _count(events: list[dict[str, Any]], kind: str) -> int:
    return sum(event["type"] == kind for event in events)
