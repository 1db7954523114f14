"""A pipeline on pods of real time: a call that is taken over while the model writes, and what it has used."""

from __future__ import annotations

from typing import Any

import httpx

from tests.doubles.counting import sentences
from tests.doubles.in_process import InProcess
from tests.doubles.provider import Provider
from tests.runtime.rig import ANSWER, Caller, rig
from tests.waiting import until
from voice_agent.agents.pipeline import Pipeline
from voice_agent.agents.pipeline.settings import PipelineSettings
from voice_agent.kit.agent import Kit
from voice_agent.providers.client import ProviderClient
from voice_agent.testing.spoken_words import WordVoice

ASKED = {"type": "input_text", "text": "count from 1 to 12 in sentences of 4"}
COUNTED = sentences(range(1, 13), 4)


class Counting(Pipeline):
    """Asks a double in this process."""

    def __init__(self, provider: Provider) -> None:
        super().__init__()
        self.voice = WordVoice()
        self.lead_ms = 60_000
        self.provider = provider

    def provider_client(self, kit: Kit) -> ProviderClient:
        return ProviderClient(httpx.AsyncClient(transport=InProcess({"model0": self.provider})))


def texts(caller: Caller) -> str:
    """What was said on this connection."""
    kind = "response.output_audio_transcript.delta"
    return "".join(event["delta"] for event in caller.transport.events if event["type"] == kind)


def ask(caller: Caller) -> None:
    item = {"type": "message", "role": "user", "content": [ASKED]}
    caller.transport.say({"type": "conversation.item.create", "item": item})
    caller.transport.say(ANSWER)


def used(caller: Caller) -> dict[str, Any]:
    [done] = [event for event in caller.transport.events if event["type"] == "response.done"]
    found: dict[str, Any] = done["response"]["usage"]
    return found


async def opened(provider: Provider) -> Counting:
    agent = Counting(provider)
    settings = PipelineSettings(model="http://model0/v1", model_name="counting", instructions="")
    await agent.open(Kit(settings=settings))
    return agent


async def test_what_a_reply_has_used_is_told_with_it() -> None:
    """As the provider counts it."""
    provider = Provider()
    async with rig(None, await opened(provider)) as its:
        caller = await its.start(await its.pod(), "pipeline")
        ask(caller)
        await caller.transport.event("response.done")
        assert texts(caller) == COUNTED
        [request] = provider.log.all
        assert used(caller)["input_tokens"] == request.usage["input_tokens"]
        assert used(caller)["output_tokens"] == request.usage["output_tokens"]


async def test_a_call_that_is_taken_over_while_the_model_writes_goes_on() -> None:
    """No word twice, none left out; the pod that lost it lets go of the model, and what that used is not known."""
    provider = Provider()
    provider.token_s = 0.05
    async with rig(None, await opened(provider)) as its:
        first = await its.start(await its.pod("pod-a"), "pipeline")
        ask(first)
        await until(lambda: texts(first).count(".") >= 1)
        second = await its.resume(await its.pod("pod-b"), first.call_id, None)
        await second.transport.event("response.done")
        await until(lambda: all(request.ended_at is not None for request in provider.log.all))
        assert (texts(first) + texts(second)).split() == COUNTED.split()
        assert len(provider.log.all) == 2
        assert not provider.log.all[0].is_complete
        begun = provider.log.all[1].asked["messages"][1]
        assert begun["role"] == "assistant"
        assert COUNTED.startswith(begun["content"])
        assert "output_tokens" not in used(second)
