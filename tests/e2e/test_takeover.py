"""A call outlives its pod: blue dies or drains in the middle of a booking, green finishes it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from openai import AsyncOpenAI

from tests.e2e.microphone import Microphone
from tests.e2e.pods import SAMPLES, PodProcess, Pods, pods
from tests.waiting import PATIENCE_S, until
from voice_agent.call.replaying import replay
from voice_agent.client.connection import RealtimeCall


async def move_call(blue: PodProcess, green: PodProcess, how: str) -> None:
    """Make blue go away."""
    if how == "kill":
        blue.kill()
    else:
        blue.terminate()


@pytest.mark.parametrize("how", ["kill", "term"])
async def test_a_booking_survives_its_pod(redis_url: str, how: str, tmp_path: Path) -> None:
    """The day is said to blue, the time to green, and green confirms both. No event is missing or repeated.

    What both recorded replays to the same events.
    """
    async with pods(redis_url, record_inputs=tmp_path) as its, colors(its) as (blue, green, switch):
        async with RealtimeCall(switch.url, going_away=True) as call:
            microphone = Microphone(call.append_audio)
            talking = asyncio.create_task(microphone.run())
            replies: asyncio.Queue[str] = asyncio.Queue()
            ids: list[str] = []
            listening = asyncio.create_task(collect(call, replies, ids))
            try:
                await microphone.say(SAMPLES / "caller-day.wav")
                assert "what time" in (await asyncio.wait_for(replies.get(), PATIENCE_S)).lower()
                assert call.color == "blue"
                switch.target = green.port
                await move_call(blue, green, how)
                await until(lambda: call.color == "green")
                await microphone.say(SAMPLES / "caller-time.wav")
                confirmed = await asyncio.wait_for(replies.get(), PATIENCE_S)
            finally:
                for task in (talking, listening):
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task
        assert "Tuesday" in confirmed
        assert "three" in confirmed
        assert call.tally.resumes == 1
        assert (call.tally.gaps, call.tally.repeats) == (0, 0)
        assert ids == [f"evt_{n}" for n in range(1, len(ids) + 1)]
        if how == "term":
            assert await blue.exit_status() == 0
        metrics = await green.metrics()
        kind = "crash" if how == "kill" else "handoff"
        assert metrics[f'voice_resumes_total{{kind="{kind}"}}'] == 1
        green.terminate()
        await green.exit_status()
    recordings = [replay(file.read_bytes()) for file in tmp_path.iterdir()]
    assert {found.pod[:4] for found in recordings} == {"blue", "gree"}
    assert all(found.is_identical and found.events > 10 for found in recordings), recordings


async def collect(call: RealtimeCall, replies: asyncio.Queue[str], ids: list[str]) -> None:
    """Note every event id, and every reply once it is complete."""
    async for event in call.events():
        if event["type"] != "session.created":
            ids.append(event["event_id"])
        if event["type"] == "response.done" and event["response"]["status"] == "completed":
            replies.put_nowait(event["response"]["output"][0]["content"][0]["transcript"])


@pytest.mark.parametrize("how", ["kill", pytest.param("term", marks=pytest.mark.slow)])
async def test_the_stock_sdk_survives_its_pod(redis_url: str, how: str) -> None:
    """With `call_key` and `on_reconnecting` alone, no code of ours."""
    async with (
        pods(redis_url) as its,
        colors(its) as (blue, green, switch),
        AsyncOpenAI(base_url=f"http://127.0.0.1:{switch.port}/v1", api_key="unused") as client,
    ):
        async with client.realtime.connect(
            model="frontdesk", extra_query={"call_key": uuid4().hex}, on_reconnecting=lambda _: None
        ) as connection:

            async def send(frame: bytes) -> None:
                with contextlib.suppress(Exception):
                    await connection.input_audio_buffer.append(audio=base64.b64encode(frame).decode())

            microphone = Microphone(send)
            talking = asyncio.create_task(microphone.run())
            replies: asyncio.Queue[str] = asyncio.Queue()
            ids: list[str] = []
            colors_seen: list[str] = []

            async def listen() -> None:
                stream: Any = connection
                async for event in stream:
                    if event.type == "session.created":
                        colors_seen.append(event.session.call["color"])
                    else:
                        ids.append(event.event_id)
                    if event.type == "response.done" and event.response.status == "completed":
                        replies.put_nowait(event.response.output[0].content[0].transcript)

            listening = asyncio.create_task(listen())
            try:
                await microphone.say(SAMPLES / "caller-day.wav")
                assert "what time" in (await asyncio.wait_for(replies.get(), PATIENCE_S)).lower()
                switch.target = green.port
                await move_call(blue, green, how)
                await until(lambda: colors_seen == ["blue", "green"])
                await microphone.say(SAMPLES / "caller-time.wav")
                confirmed = await asyncio.wait_for(replies.get(), PATIENCE_S)
            finally:
                for task in (talking, listening):
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task
        assert "Tuesday" in confirmed
        assert "three" in confirmed
        assert ids == [f"evt_{n}" for n in range(1, len(ids) + 1)]


class Switch:
    """What a load balancer does for this test: new connections go to one of two ports."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/realtime"

    async def serve(self, stack: contextlib.AsyncExitStack) -> None:
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        await stack.enter_async_context(server)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._pipe(reader, up_writer), self._pipe(up_reader, writer))

    @staticmethod
    async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def colors(its: Pods) -> AsyncIterator[tuple[PodProcess, PodProcess, Switch]]:
    """Blue, green, and a switch that points to blue."""
    blue, green = await asyncio.gather(its.start("blue"), its.start("green"))
    await its.route(blue=50, green=50)
    async with contextlib.AsyncExitStack() as stack:
        switch = Switch(blue.port)
        await switch.serve(stack)
        yield blue, green, switch
