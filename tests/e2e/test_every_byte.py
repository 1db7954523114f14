"""What a caller says through the client library is heard byte for byte, though its pods are killed and drained."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import Mapping
from urllib.parse import urlsplit

import pytest

from tests.e2e.pods import PodProcess, pods
from tests.waiting import until
from voice_agent.call.audio import PCM, PCMU, AudioFormat
from voice_agent.client.connection import RealtimeCall
from voice_agent.client.sockets import Socket, open_socket

TURNS = 3
SAID_MS = 1500
"""A turn."""
MIDDLE_MS = 500
"""So far into the second turn its pod goes."""


class TalkingCall:
    """Says turns to `echo`, in pieces of one size, and keeps what it gets back."""

    def __init__(self, audio_format: AudioFormat, chunk_bytes: int, *servers: PodProcess) -> None:
        self.turns = 0
        self.said = self.heard = b""
        self.call = RealtimeCall(servers[0].url, model="echo", audio_format=audio_format, open_socket=self._open)
        self._format = audio_format
        self._chunk_bytes = chunk_bytes
        self._servers = servers

    async def _open(self, url: str, headers: Mapping[str, str]) -> Socket:
        """As a load balancer: the first that takes it."""
        query = urlsplit(url).query
        for one in self._servers[:-1]:
            try:
                return await open_socket(f"{one.url}?{query}", headers)
            except Exception:  # noqa: BLE001, S112 - whatever is wrong with it, there is another one
                continue
        return await open_socket(f"{self._servers[-1].url}?{query}", headers)

    async def run(self) -> None:
        """The whole call."""
        audio = {"format": self._format.as_json()}
        session = {"type": "realtime", "audio": {"input": {**audio, "turn_detection": None}, "output": audio}}
        async with self.call as call:
            listening = asyncio.create_task(self._listen())
            await call.send({"type": "session.update", "session": session})
            for turn in range(TURNS):
                speech = random.randbytes(self._format.size(SAID_MS))
                for at in range(0, len(speech), self._chunk_bytes):
                    await call.append_audio(speech[at : at + self._chunk_bytes])
                    await asyncio.sleep(self._chunk_bytes / self._format.bytes_per_ms / 1000)  # as one speaks
                self.said += speech
                await call.send({"type": "input_audio_buffer.commit"})
                await call.send({"type": "response.create"})
                await until(lambda done=turn + 1: self.turns >= done or listening.done())
        await listening

    async def _listen(self) -> None:
        async for event in self.call.events():
            assert event["type"] != "error", event
            if event["type"] == "response.output_audio.delta":
                self.heard += base64.b64decode(event["delta"])
            self.turns += event["type"] == "response.done"


@pytest.mark.parametrize("how", ["kill", "term"])
async def test_every_byte_is_heard_once_through_the_client_library(redis_url: str, how: str) -> None:
    """Whatever the size of its pieces, and in whatever format it speaks."""
    async with pods(redis_url) as its:
        blue = await its.start("blue", agent="echo", drain_deadline=1)
        green = await its.start("green", agent="echo")
        pieces = [(PCM, 960), (PCM, 2048), (PCM, 1922), (PCM, 4094), (PCMU, 160), (PCMU, 333), (PCMU, 1001)]
        calls = [TalkingCall(audio_format, size, blue, green) for audio_format, size in pieces]
        talking = asyncio.gather(*(call.run() for call in calls))
        await until(lambda: all(one.call.appended_ms > SAID_MS + MIDDLE_MS for one in calls) or talking.done())
        if how == "kill":
            blue.kill()
        else:
            blue.terminate()
        await talking
    for one in calls:
        assert one.heard == one.said
        tally = one.call.tally
        assert (tally.resumes, tally.gaps, tally.repeats, tally.forgotten, tally.lost_ms) == (1, 0, 0, 0, 0)
