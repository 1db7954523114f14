"""The server's own tools, run for an upstream. Tests of `relay_tools`."""

from __future__ import annotations

from typing import Any

import orjson

from tests.agents.relay.fake_upstream import Event, FakeSession, fake_upstream, say
from tests.agents.relay.relayed import relayed
from tests.doubles.tones import sound_of
from tests.waiting import until
from voice_agent.agents.tools.functions import tool

ASK = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a table"}]}


@tool
async def book(seats: int) -> dict[str, Any]:
    """Book a table."""
    return {"table": 7, "seats": seats}


async def books(session: FakeSession, event: Event) -> None:
    """Have a table booked where none is; then say which."""
    outputs = [item["output"] for item in session.items if item["type"] == "function_call_output"]
    if outputs:
        await say(session, [(f"table {orjson.loads(outputs[-1])['table']} ", sound_of("table"))], event)
        return
    call = {"id": "fc_1", "type": "function_call", "call_id": "theirs", "name": "book", "arguments": '{"seats":3}'}
    session.items.append(call)
    await session.send({"type": "response.created", "response": {"id": "r"}})
    await session.send({"type": "response.output_item.added", "response_id": "r", "item": call})
    await session.send({"type": "response.output_item.done", "response_id": "r", "item": call})
    await session.send({"type": "response.done", "response": {"id": "r", "status": "completed"}})


async def test_a_tool_is_run_here_and_the_upstream_goes_on_with_what_it_gave() -> None:
    """The client sees nothing of it; the next session knows that it was done."""
    async with fake_upstream(responding=books) as upstream, relayed(upstream, tools=[book]) as call:
        call.say({"type": "conversation.item.create", "item": ASK})
        call.say({"type": "response.create"})
        done = (await call.event("response.done"))["response"]
        assert [item["type"] for item in done["output"]] == ["message"]
        assert done["output"][0]["content"][0]["transcript"].strip() == "table 7"
        [session] = upstream.sessions
        assert [one["name"] for one in session.of("response.create")[0]["response"]["tools"]] == ["book"]
        assert not session.of("conversation.item.delete")
        session.socket.transport.abort()
        await until(lambda: len(upstream.sessions) == 2)
        call.say({"type": "conversation.item.create", "item": ASK})
        call.say({"type": "response.create"})
        await call.event("response.done", 2)
        kinds = [item["type"] for item in upstream.sessions[1].items]
        assert kinds == ["message", "function_call", "function_call_output", "message", "message", "message"]
        assert sum(len(one.of("response.create")) for one in upstream.sessions) == 3


async def test_a_model_that_only_calls_tools_comes_to_an_end() -> None:
    """After some rounds."""

    async def calls_on(session: FakeSession, event: Event) -> None:
        session.items = [item for item in session.items if item["type"] == "message"]
        await books(session, event)

    async with fake_upstream(responding=calls_on) as upstream, relayed(upstream, tools=[book]) as call:
        call.say({"type": "conversation.item.create", "item": ASK})
        call.say({"type": "response.create"})
        done = (await call.event("response.done"))["response"]
        assert done["status"] == "completed"
