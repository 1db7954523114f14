"""`livekit-plugins-openai`: RealtimeModel, driven as LiveKit's AgentSession drives it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import scenario
from livekit import rtc
from livekit.agents import function_tool, llm
from livekit.plugins.openai.realtime import RealtimeModel
from openai.types.beta.realtime.session import TurnDetection

given = scenario.given()
seen = scenario.Seen()


@function_tool
async def look_up(order: str) -> str:
    """Looks an order up."""
    return "on its way"


class Generation:
    """Reads one generation to its end."""

    def __init__(self, generation: Any) -> None:
        self._generation = generation
        self.said = ""
        self.message_id = ""
        self.calls: list[Any] = []
        self.has_enough_audio = asyncio.Event()

    async def read(self) -> None:
        await asyncio.gather(self._messages(), self._calls())

    async def _messages(self) -> None:
        async for message in self._generation.message_stream:
            self.message_id = message.message_id
            await asyncio.gather(self._text(message), self._audio(message))

    async def _text(self, message: Any) -> None:
        async for text in message.text_stream:
            self.said += str(text)

    async def _audio(self, message: Any) -> None:
        async for frame in message.audio_stream:
            seen.audio_bytes += len(frame.data) * 2
            if seen.audio_bytes >= scenario.INTERRUPT_AFTER_BYTES:
                self.has_enough_audio.set()

    async def _calls(self) -> None:
        async for call in self._generation.function_stream:
            self.calls.append(call)


async def type_in(session: Any, text: str) -> Generation:
    context = session.chat_ctx.copy()
    context.add_message(role="user", content=text)
    await session.update_chat_ctx(context)
    return Generation(await session.generate_reply())


async def speak(session: Any) -> None:
    async for piece in given.as_spoken():
        session.push_audio(rtc.AudioFrame(piece, 24_000, 1, len(piece) // 2))


async def interrupted(session: Any, story: Generation, reading: asyncio.Task[None]) -> None:
    """As AgentSession does when a turn is interrupted: cancel, and keep what was played."""
    session.interrupt()
    await reading
    session.truncate(message_id=story.message_id, modalities=["text", "audio"], audio_end_ms=900)


async def converse(session: Any, generations: asyncio.Queue[Any], speech_started: asyncio.Event) -> None:
    if given.name == "spoken":
        speaking = asyncio.create_task(speak(session))
        reply = Generation(await generations.get())
        await reply.read()
        await speaking
        seen.said = reply.said
    elif given.name in {"typed", "tool"}:
        reply = await type_in(session, given.question)
        await reply.read()
        for call in reply.calls:
            seen.tool_arguments = json.loads(call.arguments)
            context = session.chat_ctx.copy()
            output = llm.FunctionCallOutput(
                call_id=call.call_id, name=call.name, output=await look_up(**seen.tool_arguments), is_error=False
            )
            context.items.append(output)
            await session.update_chat_ctx(context)
            reply = Generation(await session.generate_reply())
            await reply.read()
        seen.said = reply.said
    else:
        story = await type_in(session, given.story)
        await generations.get()
        reading = asyncio.create_task(story.read())
        await story.has_enough_audio.wait()
        if given.name == "interruption":
            await interrupted(session, story, reading)
            reply = await type_in(session, given.question)
        else:
            speaking = asyncio.create_task(speak(session))
            await speech_started.wait()
            await interrupted(session, story, reading)
            reply = Generation(await generations.get())
            await speaking
        await reply.read()
        seen.said, seen.after = story.said, reply.said


def note(event: Any) -> None:
    if event.is_final:
        seen.heard = event.transcript


async def talk() -> None:
    async with aiohttp.ClientSession() as http:
        more: dict[str, Any] = {}
        if given.turn_detection:
            more["turn_detection"] = TurnDetection(type=given.turn_detection)
        session = RealtimeModel(base_url=given.url, api_key="unused", http_session=http, **more).session()
        generations: asyncio.Queue[Any] = asyncio.Queue()
        speech_started = asyncio.Event()
        session.on("generation_created", generations.put_nowait)
        session.on("input_speech_started", lambda _: speech_started.set())
        session.on("input_audio_transcription_completed", note)
        session.on("error", lambda event: seen.errors.append(str(event)))
        await session.update_instructions("Be kind.")
        if given.name == "tool":
            await session.update_tools([look_up])
        await converse(session, generations, speech_started)
        await session.aclose()


scenario.run(talk(), seen)
