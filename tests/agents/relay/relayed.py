"""A relay on a pod without a server, and a caller whose connection is in memory."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.agents.relay.counting_caller import Heard
from tests.agents.relay.fake_upstream import FakeUpstream
from tests.agents.relay.upstream_agent import question, words
from tests.runtime.rig import Caller, Rig, rig
from tests.waiting import until
from voice_agent.agents.relay import Relay
from voice_agent.agents.relay.relay_settings import RelaySettings
from voice_agent.agents.relay.sessions import OPENING
from voice_agent.kit.agent import Kit
from voice_agent.kit.tools import Tool


@dataclass
class Relayed:
    """One caller of it."""

    agent: Relay
    its: Rig
    caller: Caller
    answers: int = 0

    def say(self, event: dict[str, Any]) -> None:
        """The client sends an event."""
        self.caller.transport.say(event)

    async def event(self, kind: str, nth: int = 1) -> dict[str, Any]:
        """What the client gets."""
        return await self.caller.transport.event(kind, nth)

    async def is_ready(self, upstream: FakeUpstream) -> None:
        """Wait until what the caller says goes up while it is said: an upstream knows its settings a little earlier."""
        await until(lambda: upstream.sessions and upstream.sessions[-1].kinds() and not _is_opening())

    def audio(self) -> bytes:
        """All that it got of that."""
        events = self.caller.transport.events
        return b"".join(base64.b64decode(e["delta"]) for e in events if e["type"] == "response.output_audio.delta")

    async def ask(self, first: int, many: int, **response: Any) -> Heard:
        """Ask for words, and wait for the end of the reply."""
        before, deltas = len(self.audio()), len(self.deltas())
        self.say({"type": "conversation.item.create", "item": question(first, many)})
        self.say({"type": "response.create", "response": response})
        self.answers += 1
        done = (await self.event("response.done", self.answers))["response"]
        transcript = " ".join(
            item["content"][0].get("transcript", "") for item in done["output"] if item.get("content")
        )
        return Heard(words(first, many), transcript, self.deltas()[deltas:], self.audio()[before:], done["status"])

    def deltas(self) -> str:
        """All of what was said, as it came."""
        kind = "response.output_audio_transcript.delta"
        return "".join(event["delta"] for event in self.caller.transport.events if event["type"] == kind)


def _is_opening() -> bool:
    return any(task.get_name() == OPENING for task in asyncio.all_tasks())


@asynccontextmanager
async def relayed(
    *upstreams: FakeUpstream, lead_ms: int = 60_000, tools: Sequence[Tool] = (), **settings: Any
) -> AsyncIterator[Relayed]:
    """A call; audio is not held back to the pace of speech unless `lead_ms` is small."""
    agent = Relay()
    agent.lead_ms, agent.tools = lead_ms, tools
    kit = Kit(settings=RelaySettings(url=[one.url for one in upstreams], **settings))
    await agent.open(kit)
    try:
        async with rig(None, agent) as its:
            pod = await its.pod()
            call = Relayed(agent, its, await its.start(pod, "relay"))
            yield call
            await call.caller.gone(1000)
    finally:
        await agent.close()
        await kit.close()
