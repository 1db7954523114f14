"""Agents that break a promise each."""

from __future__ import annotations

import asyncio
import time

from tests.testing.agents import Clerk
from voice_agent.kit.call import Call
from voice_agent.kit.events import Asked
from voice_agent.testing.agent_contract import BLOCKS_S

BLOCKING_S = 2 * BLOCKS_S
THINKING_S = 2.0


class Failing(Clerk):
    """Raises."""

    async def answer(self, call: Call, asked: Asked) -> None:
        raise ValueError("no idea")


class Blocking(Clerk):
    """Computes without ever waiting."""

    async def answer(self, call: Call, asked: Asked) -> None:
        await asyncio.sleep(0.01)
        time.sleep(BLOCKING_S)  # noqa: ASYNC251 what it is wrong for
        await super().answer(call, asked)


class Collecting(Clerk):
    """Makes all sentences before it says the first."""

    async def answer(self, call: Call, asked: Asked) -> None:
        await asyncio.sleep(THINKING_S)
        async with call.speak() as speech:
            await speech.text("This is one. ")
            await speech.text("This is another. ")


class Hasty(Clerk):
    """Lets a task of its own answer, and asks for the next event meanwhile."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []

    async def answer(self, call: Call, asked: Asked) -> None:
        self.tasks.append(asyncio.create_task(super().answer(call, asked)))
        await asyncio.sleep(0.4)


class Clinging(Clerk):
    """Does not end when it is cancelled."""

    async def answer(self, call: Call, asked: Asked) -> None:
        try:
            await super().answer(call, asked)
        except asyncio.CancelledError:
            await asyncio.sleep(3600)


class KeyedByNumber(Clerk):
    """Keeps what JSON does not know: keys that are numbers."""

    async def answer(self, call: Call, asked: Asked) -> None:
        call.state["names"] = {1: "one"}
        await super().answer(call, asked)
