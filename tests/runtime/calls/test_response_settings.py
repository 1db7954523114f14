"""What a client sets for its responses, and who is told of it: through `live_call` and `responding`."""

from __future__ import annotations

from tests.runtime.rig import ANSWER, TYPED, ScriptedAgent, rig
from tests.waiting import until
from voice_agent.kit.events import Asked

TOOL = {"type": "function", "name": "book", "description": "", "parameters": {"type": "object"}}
RATIO = {"type": "retention_ratio", "retention_ratio": 0.5}


async def test_what_a_client_sets_for_a_response_reaches_the_agent() -> None:
    """The settings of the session, and over them those of one response."""
    agent = ScriptedAgent()
    async with rig(None, agent) as its:
        caller = await its.start(await its.pod())
        session = {
            "type": "realtime",
            "output_modalities": ["text"],
            "tools": [TOOL],
            "tool_choice": "required",
            "parallel_tool_calls": False,
            "max_output_tokens": 300,
            "truncation": RATIO,
        }
        caller.transport.say({"type": "session.update", "session": session})
        caller.transport.say(TYPED)
        caller.transport.say(ANSWER)
        await caller.transport.event("response.done")
        own = {"tool_choice": {"type": "function", "name": "book"}, "max_output_tokens": 7, "metadata": {"topic": "x"}}
        caller.transport.say({**ANSWER, "response": {**own, "parallel_tool_calls": True}})
        await until(lambda: len(agent.turns) == 2)
        await caller.gone(1000)
    assert [settings(asked) for asked in agent.turns] == [
        ("required", False, 300, {}),
        ({"type": "function", "name": "book"}, True, 7, {"topic": "x"}),
    ]


async def test_who_asks_for_nothing_gets_the_protocols_defaults() -> None:
    """Any tools, several at once, and no limit."""
    agent = ScriptedAgent()
    async with rig(None, agent) as its:
        caller = await its.start(await its.pod())
        caller.transport.say(TYPED)
        caller.transport.say(ANSWER)
        await until(lambda: bool(agent.turns))
        await caller.gone(1000)
    assert settings(agent.turns[0]) == ("auto", True, None, {})


def settings(asked: Asked) -> tuple[object, ...]:
    """All of them."""
    return asked.tool_choice, asked.parallel_tool_calls, asked.max_output_tokens, asked.metadata
