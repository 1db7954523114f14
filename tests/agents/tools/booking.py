"""An agent with tools, and what they book."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

import orjson

from voice_agent.agents.tools.running import ToolInterrupted, ToolRequest, run_tools
from voice_agent.kit.agent import Agent
from voice_agent.kit.call import Call
from voice_agent.kit.events import Asked
from voice_agent.kit.speech import SpeechInterrupted
from voice_agent.kit.tools import Tool


class Tables:
    """What tools have done: by idempotency key, as whoever honours it does; outlives every pod."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        """How often, by key."""
        self.given: dict[str, int] = {}

    def __deepcopy__(self, memo: Any) -> Tables:
        return self

    def book(self, key: str) -> int:
        """A table; the same one under the same key."""
        self.asked[key] += 1
        return self.given.setdefault(key, len(self.given) + 1)


class Booking(Tool):
    """Takes `wait_s`, commits, and takes as long again to tell; tells at once what was done already."""

    def __init__(self, tables: Tables, wait_s: float = 0.0, name: str = "book", **options: Any) -> None:
        super().__init__(name=name, parameters={"type": "object", "properties": {}}, **options)
        self.tables = tables
        self.wait_s = wait_s

    async def run(self, call: Call, arguments: Mapping[str, Any], idempotency_key: str) -> Any:
        is_done = idempotency_key in self.tables.given
        await asyncio.sleep(0.0 if is_done else self.wait_s)  # Virtual time.
        table = self.tables.book(idempotency_key)
        await asyncio.sleep(0.0 if is_done else self.wait_s)  # Virtual time.
        return {"table": table, "for": arguments["guests"]}


class Desk(Agent):
    """Has all of its tools run whenever it is asked, says what they gave, and remembers it."""

    name = "desk"

    def __init__(self, *tools: Tool) -> None:
        self.tools = tools

    async def run(self, call: Call) -> None:
        async for event in call.events():
            if isinstance(event, Asked):
                try:
                    await self._answer(call, event)
                except SpeechInterrupted:
                    continue

    async def _answer(self, call: Call, event: Asked) -> None:
        arguments = orjson.dumps({"guests": event.text}).decode()
        requests = [ToolRequest(tool, str(number), arguments) for number, tool in enumerate(self.tools)]
        try:
            outputs: list[str] = await run_tools(call, requests)
        except ToolInterrupted as interrupted:
            _remember(call, [output for output in interrupted.outputs if output is not None])
            raise
        _remember(call, outputs)
        async with call.speak() as speech:
            for output in outputs:
                await speech.text(_sentence(orjson.loads(output)))


def _remember(call: Call, outputs: list[str]) -> None:
    call.state["outputs"] = [*call.state.get("outputs", []), *outputs]


def _sentence(given: Any) -> str:
    if isinstance(given, dict):
        return f"You have table {given['table']}. " if "table" in given else f"{given['error']} "
    return f"It is {given}. "
