"""What an agent does in the world through `Call.once` happens once, whatever dies meanwhile."""

from __future__ import annotations

import asyncio

from tests.runtime.rig import ANSWER, ScriptedAgent, rig, write
from tests.waiting import until
from voice_agent.kit.call import Call
from voice_agent.kit.events import Asked
from voice_agent.stores.memory import MemoryStore


class Booker(ScriptedAgent):
    """Books two tables and says their numbers; the other side may be slow."""

    name = "booker"

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[str] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.may_end = asyncio.Event()

    async def book(self, key: str) -> str:
        self.keys.append(key)
        await self.answers.wait()
        return f"table {list(dict.fromkeys(self.keys)).index(key) + 1}"

    async def answer(self, call: Call, asked: Asked) -> None:
        async with call.speak() as speech:
            first = await call.once("book 1", self.book)
            await write(speech, f"{first}, ")
            await write(speech, await call.once("book 2", self.book))
        await self.may_go_on.wait()
        await call.call_tool("show", "show", "{}")
        await call.call_tool("note", "note", {})
        await self.may_end.wait()


async def test_a_side_effect_that_was_done_is_not_done_again_elsewhere() -> None:
    """The next owner takes the results from the record; so does whoever listens."""
    agent = Booker()
    agent.may_go_on.clear()
    store = MemoryStore(ttl_s=60)
    async with rig(store, agent) as its:
        blue, green = await its.pod("blue"), await its.pod("green")
        caller = await its.start(blue, "booker", resumable=True)
        caller.transport.say(ANSWER)
        await caller.transport.event("response.output_audio_transcript.delta", 2)
        assert len(agent.keys) == 2
        again = await its.resume(green, caller.call_id, 0)
        agent.may_go_on.set()
        agent.may_end.set()
        done = await again.transport.event("response.done")
        assert len(agent.keys) == 2
        spoken, *calls = done["response"]["output"]
        assert spoken["content"][0]["transcript"] == "table 1, table 2"
        assert [item["name"] for item in calls] == ["show", "note"]
        await again.gone(1000)


async def test_a_side_effect_in_the_middle_of_which_a_pod_dies_is_asked_for_under_the_same_key() -> None:
    """Its outcome is unknown: the other side knows the key, which was durable before it was first used."""
    agent = Booker()
    agent.may_end.set()
    agent.answers.clear()
    store = MemoryStore(ttl_s=60)
    async with rig(store, agent) as its:
        blue, green = await its.pod("blue"), await its.pod("green")
        caller = await its.start(blue, "booker", resumable=True)
        caller.transport.say(ANSWER)
        await until(lambda: agent.keys)
        held = await store.load(caller.call_id)
        assert held is not None
        assert any(b"book 1" in value for field, value in held.fields.items() if field.startswith("act:"))
        again = await its.resume(green, caller.call_id, 0)
        await until(lambda: len(agent.keys) >= 2)
        assert agent.keys[0] == agent.keys[1]
        agent.answers.set()
        await again.transport.event("response.done")
        assert len(set(agent.keys)) == 2
        await again.gone(1000)


async def test_client_functions_are_called_once_though_the_reply_goes_on_elsewhere() -> None:
    """The take-over comes after the calls and before the reply's end: nothing is asked of the client again."""
    agent = Booker()
    async with rig(MemoryStore(ttl_s=60), agent) as its:
        blue, green = await its.pod("blue"), await its.pod("green")
        caller = await its.start(blue, "booker", resumable=True)
        caller.transport.say(ANSWER)
        await caller.transport.event("response.function_call_arguments.done", 2)
        again = await its.resume(green, caller.call_id, 0)
        agent.may_end.set()
        await again.transport.event("response.done")
        calls = [e for e in again.transport.events if e["type"] == "response.function_call_arguments.done"]
        assert [call["name"] for call in calls] == ["show", "note"]
        await again.gone(1000)


class Changeable(ScriptedAgent):
    """Does other things when it is asked again: an agent of another version."""

    def __init__(self) -> None:
        super().__init__()
        self.effects: list[str] = []

    async def answer(self, call: Call, asked: Asked) -> None:
        self.turns.append(asked)
        name = f"effect {len(self.turns)}"

        async def run(key: str) -> str:
            self.effects.append(name)
            return name

        async with call.speak() as speech:
            await write(speech, await call.once(name, run))
            await self.may_go_on.wait()


async def test_an_agent_that_does_something_else_when_asked_again_does_it() -> None:
    """The result of one is no result of another; the difference is counted."""
    agent = Changeable()
    agent.may_go_on.clear()
    async with rig(None, agent) as its:
        blue, green = await its.pod("blue"), await its.pod("green")
        caller = await its.start(blue, resumable=True)
        caller.transport.say(ANSWER)
        await caller.transport.event("response.output_audio_transcript.delta")
        again = await its.resume(green, caller.call_id, 0)
        agent.may_go_on.set()
        done = await again.transport.event("response.done")
        assert done["response"]["status"] == "completed"
        assert agent.effects == ["effect 1", "effect 2"]
        counts = green.observer.counts  # type: ignore[attr-defined]  # the rig's own
        await until(lambda: ("agent_fault", "other_acts") in counts)
        await again.gone(1000)
