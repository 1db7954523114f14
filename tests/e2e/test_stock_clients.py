"""What stock clients do beyond a plain turn: tools, interruptions, Azure's ways, and what agents SDKs always send."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncAzureOpenAI

from tests.e2e.caller_of_tools import ARGUMENTS, install
from tests.e2e.pods import PodProcess, pods
from tests.e2e.test_sdk import client, events_until

TOOL = {
    "type": "function",
    "name": "look_up",
    "description": "Looks an order up.",
    "parameters": {"type": "object", "properties": {"order": {"type": "string"}}},
}
FIXED_ID = "event_345"
"""As in the protocol's own examples."""
TYPED: Any = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Where is my order?"}]}


@pytest.fixture
async def pod(redis_url: str, tmp_path: Path) -> AsyncIterator[PodProcess]:
    """A pod whose default agent calls tools."""
    install(tmp_path)
    async with pods(redis_url) as its:
        its.packages.append(tmp_path)
        yield await its.start(agent="tools")


def session(**more: Any) -> Any:
    """A session as agents SDKs set it: with OpenAI's model, and null in what nobody chose."""
    return {"type": "realtime", "model": "gpt-realtime", "prompt": None, "max_output_tokens": None, **more}


async def test_a_tool_turn(pod: PodProcess) -> None:
    """The client's tool is called, and what it gave is answered, though all events of the client have one id."""
    async with client(pod) as stock, stock.realtime.connect(model="gpt-realtime") as connection:
        await connection.session.update(session=session(tools=[TOOL], output_modalities=["text"]))
        await connection.conversation.item.create(item=TYPED, event_id=FIXED_ID)
        await connection.response.create(event_id=FIXED_ID)
        events = await events_until(connection, "response.done")
        [called] = [event for event in events if event.type == "response.function_call_arguments.done"]
        assert (called.name, json.loads(called.arguments)) == ("look_up", ARGUMENTS)
        assert events[-1].response.output[0].call_id == called.call_id
        output: Any = {"type": "function_call_output", "call_id": called.call_id, "output": "on its way"}
        await connection.conversation.item.create(item=output, event_id=FIXED_ID)
        params: Any = {"instructions": None, "tools": None, "conversation": None, "metadata": {"turn": "2"}}
        await connection.response.create(response=params, event_id=FIXED_ID)
        done = (await events_until(connection, "response.done"))[-1].response
    assert done.output[0].content[0].text == "The tool says: on its way."
    assert done.metadata == {"turn": "2"}
    assert done.usage is None


async def test_an_interruption(pod: PodProcess) -> None:
    """The item that is being spoken is truncated, then the response cancelled: no error, and the next turn is taken."""
    async with client(pod) as stock, stock.realtime.connect(model="gpt-realtime") as connection:
        await connection.conversation.item.create(item=TYPED)
        await connection.response.create()
        heard = (await events_until(connection, "response.output_audio.delta"))[-1]
        await connection.conversation.item.truncate(item_id=heard.item_id, content_index=0, audio_end_ms=100)
        await connection.response.cancel(response_id=heard.response_id)
        events = await events_until(connection, "conversation.item.truncated")
        [done] = [event.response for event in events if event.type == "response.done"]
        assert (done.status, done.status_details.reason) == ("cancelled", "client_cancelled")
        assert done.usage.output_token_details.audio_tokens > 0
        await connection.session.update(session=session(tools=[TOOL]))
        await connection.response.create()
        events += await events_until(connection, "response.done")
    assert "error" not in [event.type for event in events]
    assert events[-1].response.output[0].name == "look_up"


async def test_azures_sdk(pod: PodProcess) -> None:
    """`AzureOpenAI` finds its path, its deployment and its header."""
    azure = AsyncAzureOpenAI(
        azure_endpoint=pod.http,
        websocket_base_url=f"ws://127.0.0.1:{pod.port}/openai",
        api_version="2025-04-01-preview",
        api_key="unused",
    )
    async with azure, azure.realtime.connect(model="tools") as connection:
        created = (await events_until(connection, "session.created"))[-1]
    assert created.session.model == "tools"
