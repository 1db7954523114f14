"""Audio through a real pod: every format both ways, sample for sample, and barge-in."""

from __future__ import annotations

import asyncio
import base64
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.e2e.microphone import Microphone
from tests.e2e.pods import SAMPLES, PodProcess, pods
from voice_agent.call.audio import FORMATS, PCM
from voice_agent.client.connection import RealtimeCall


@pytest.fixture
async def pod(redis_url: str) -> AsyncIterator[PodProcess]:
    """A pod on a real Redis."""
    async with pods(redis_url) as its:
        yield await its.start()


async def until(call: RealtimeCall, kind: str) -> list[dict[str, Any]]:
    """Events up to and including the first of a type."""
    seen = []
    async for event in call.events():
        seen.append(event)
        if event["type"] == kind:
            return seen
    raise AssertionError(f"the call ended before {kind}")


@pytest.mark.parametrize("name", FORMATS)
async def test_echo_gives_a_turn_back_sample_for_sample(pod: PodProcess, name: str) -> None:
    """A manual turn comes back byte for byte, in chunks of 100 ms, at the pace of speech."""
    audio_format = FORMATS[name]
    said = random.Random(7).randbytes(audio_format.size(730))
    async with RealtimeCall(pod.url, model="echo", audio_format=audio_format) as call:
        sides = {"format": audio_format.as_json()}
        await call.send(
            {
                "type": "session.update",
                "session": {"type": "realtime", "audio": {"input": {**sides, "turn_detection": None}, "output": sides}},
            }
        )
        await call.append_audio(said)
        await call.send({"type": "input_audio_buffer.commit"})
        started_s = time.monotonic()
        await call.send({"type": "response.create"})
        events = await until(call, "response.done")
        took_s = time.monotonic() - started_s
    chunks = [base64.b64decode(e["delta"]) for e in events if e["type"] == "response.output_audio.delta"]
    assert b"".join(chunks) == said
    assert [audio_format.ms(len(chunk)) for chunk in chunks] == [100] * 7 + [30]
    assert took_s > 0.6


async def test_formats_may_differ_between_the_two_sides(pod: PodProcess) -> None:
    """24 kHz PCM in, 8 kHz µ-law out: the same length of speech."""
    async with RealtimeCall(pod.url, model="echo") as call:
        audio = {"input": {"turn_detection": None}, "output": {"format": {"type": "audio/pcmu"}}}
        await call.send({"type": "session.update", "session": {"type": "realtime", "audio": audio}})
        await call.append_audio(bytes(PCM.size(500)))
        await call.send({"type": "input_audio_buffer.commit"})
        await call.send({"type": "response.create"})
        events = await until(call, "response.done")
    chunks = [base64.b64decode(e["delta"]) for e in events if e["type"] == "response.output_audio.delta"]
    assert sum(map(len, chunks)) == pytest.approx(500 * 8, abs=16)


async def test_barge_in_cuts_the_reply_at_what_was_heard(pod: PodProcess) -> None:
    """The caller speaks into the reply: it is cancelled, its item ends where the caller stopped listening."""
    async with RealtimeCall(pod.url, model="echo") as call:
        microphone = Microphone(call.append_audio)

        async def talk() -> None:
            while True:
                await microphone.say(SAMPLES / "caller-books.wav")

        talking = [asyncio.create_task(microphone.run()), asyncio.create_task(talk())]
        try:
            events = await until(call, "conversation.item.truncated")
        finally:
            for task in talking:
                task.cancel()
    done = next(e["response"] for e in events if e["type"] == "response.done")
    assert done["status"] == "cancelled"
    assert done["status_details"]["reason"] == "turn_detected"
    sent_ms = sum(
        PCM.ms(len(base64.b64decode(e["delta"]))) for e in events if e["type"] == "response.output_audio.delta"
    )
    assert 0 < events[-1]["audio_end_ms"] <= sent_ms
    assert events[-1]["item_id"] == done["output"][0]["id"]
    assert done["output"][0]["status"] == "incomplete"
