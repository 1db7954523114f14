"""An agent that is asked again on another pod says the same words: it is told the same, and finds what is durable."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.runtime.rig import ANSWER, TYPED, AnsweringAgent, rig, write
from tests.waiting import until
from voice_agent.kit.call import Call
from voice_agent.kit.events import Asked

SENTENCES = 6


class Parrot(AnsweringAgent):
    """The simplest agent one can write: no state; what it says follows from what was said to it."""

    name = "parrot"

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Asked] = []
        self.may_say = 0
        """So many sentences; those beyond wait."""

    async def answer(self, call: Call, asked: Asked) -> None:
        self.asked.append(asked)
        async with call.speak() as speech:
            for number in range(1, SENTENCES + 1):
                await until(lambda number=number: self.may_say >= number)
                await write(speech, f"Sentence {number}: you said {asked.text or 'nothing'}. ")


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
            await until(lambda: parrot.asked)
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
        before, after = (list(asked.items) for asked in parrot.asked)
        assert before == after
        assert len(after) == 1
        await asyncio.gather(caller.gone(), resumed.gone())


def _count(events: list[dict[str, Any]], kind: str) -> int:
    return sum(event["type"] == kind for event in events)
