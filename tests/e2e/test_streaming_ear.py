"""An ear that hears while the caller speaks, and whose pod dies in the middle of it."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from tests.e2e.microphone import Microphone
from tests.e2e.pods import SAMPLES, Pods, pods
from tests.e2e.test_takeover import Switch
from tests.waiting import PATIENCE_S
from voice_agent.client.connection import RealtimeCall

AGENT = """
from zlib import crc32

from voice_agent import Ear, Scripted, Transcript


class Digest(Ear):
    name = "digest"
    streams = True

    async def listen(self, frames):
        heard = b""
        async for clip in frames:
            heard += clip.audio
            yield Transcript(f"{len(heard)} bytes so far", is_final=False)
        said = heard.strip(b"\\0")  # After a take-over the pause that ends it may be a window longer.
        yield Transcript(f"{len(said)} bytes, {crc32(said)}")


class Scribe(Scripted):
    name = "scribe"
    ear = Digest()

    async def answer(self, turn):
        yield turn.text
"""
TEXT_ONLY = {"type": "session.update", "session": {"type": "realtime", "output_modalities": ["text"]}}
SENTENCE = SAMPLES / "caller-books.wav"


async def understood(its: Pods, *, killed: bool) -> str:
    """What the ear made of a sentence, in the middle of which its pod died if it is to be `killed`."""
    blue = await its.start("blue")
    async with contextlib.AsyncExitStack() as stack:
        switch = Switch(blue.port)
        await switch.serve(stack)
        call = await stack.enter_async_context(RealtimeCall(switch.url))
        await call.send(TEXT_ONLY)
        microphone = Microphone(call.append_audio)
        talking = asyncio.create_task(microphone.run())
        stack.callback(talking.cancel)
        saying: asyncio.Task[None] | None = None
        async with asyncio.timeout(PATIENCE_S):
            async for event in call.events():
                match event["type"]:
                    case "session.updated":
                        saying = asyncio.create_task(microphone.say(SENTENCE))
                    case "input_audio_buffer.speech_started" if killed:
                        switch.target = (await its.start("green")).port
                        assert saying is not None
                        assert not saying.done(), "the caller still speaks"
                        blue.kill()
                    case "response.done":
                        assert call.tally.resumes == int(killed)
                        text: str = event["response"]["output"][0]["content"][0]["text"]
                        return text
    raise AssertionError("the call ended")


async def test_it_hears_the_utterance_as_if_its_pod_had_lived(redis_url: str, tmp_path: Path) -> None:
    """From its first sample to its last, each once; with what was said while no pod had the call."""
    (tmp_path / "scribe.py").write_text(AGENT, encoding="utf-8")
    async with pods(redis_url) as its:
        its.agents = f"{tmp_path / 'scribe.py'}:Scribe"
        lived, killed = await asyncio.gather(understood(its, killed=False), understood(its, killed=True))
    assert int(lived.partition(" ")[0]) > 100_000
    assert killed == lived
