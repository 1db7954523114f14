"""What an agent is told of who calls."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.e2e.edges import edge
from tests.e2e.pods import pods
from tests.waiting import PATIENCE_S

CODE = """
from voice_agent import Scripted

class Who(Scripted):
    name = "who"

    async def answer(self, turn):
        caller = turn.call.caller
        yield f"{caller.model} {dict(caller.query)} {dict(sorted(caller.headers.items()))}"
"""
HEADERS = {"X-Tenant": "acme", "X-Tenant-Token": "open", "Authorization": "Bearer open"}
TOLD = "who {'customer': '4711'} {'user-agent': 'phone/1', 'x-tenant': 'acme'}"


async def answer(caller: ClientConnection) -> str:
    """What the agent says to something typed."""
    content = [{"type": "input_text", "text": "who am I?"}]
    item = {"type": "message", "role": "user", "content": content}
    await caller.send(orjson.dumps({"type": "conversation.item.create", "item": item}).decode())
    await caller.send('{"type":"response.create"}')
    text = ""
    while True:
        event: dict[str, Any] = orjson.loads(await asyncio.wait_for(caller.recv(), PATIENCE_S))
        assert event["type"] != "error", event
        if event["type"] == "response.output_text.done":
            text = event["text"]
        if event["type"] == "response.done":
            return text


@pytest.mark.parametrize("over_edge", [False, True])
async def test_it_is_what_the_first_connection_said_on_every_pod(
    redis_url: str, tmp_path: Path, over_edge: bool
) -> None:
    """Without secrets; over an edge it is the same, and what the call's next connection says changes nothing."""
    (tmp_path / "who.py").write_text(CODE, encoding="utf-8")
    text_only = '{"type":"session.update","session":{"type":"realtime","output_modalities":["text"]}}'
    options: dict[str, Any] = {"proxy": None, "additional_headers": HEADERS, "user_agent_header": "phone/1"}
    asked = "model=who&customer=4711&api_key=open"
    async with pods(redis_url) as its:
        its.agents = f"{tmp_path}/who.py:Who"
        blue, green = await its.start("blue"), await its.start("green")
        if over_edge:
            async with (
                edge(tmp_path, blue.port, green.port) as front,
                connect(f"{front.url}?{asked}", **options) as caller,
            ):
                await caller.send(text_only)
                assert await answer(caller) == TOLD
                blue.kill()
                assert await answer(caller) == TOLD
            return
        key = "0123456789abcdef0123456789abcdef"
        async with connect(f"{blue.url}?{asked}&call_key={key}", **options) as caller:
            await caller.send(text_only)
            assert await answer(caller) == TOLD
            blue.kill()
        async with connect(f"{green.url}?model=who&customer=1&call_key={key}", proxy=None) as caller:
            assert await answer(caller) == TOLD
