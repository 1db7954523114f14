"""`openai-agents`: RealtimeRunner with the transport that it brings."""

from __future__ import annotations

import asyncio
from typing import Any

import scenario
from agents import function_tool
from agents.realtime import RealtimeAgent, RealtimeRunner

given = scenario.given()
seen = scenario.Seen()


@function_tool
def look_up(order: str) -> str:
    """Looks an order up."""
    seen.tool_arguments = {"order": order}
    return "on its way"


class Listener:
    """Reads the session's events."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._events = aiter(session)

    async def reply(self, *, until: str = "turn_ended") -> str:
        """The transcript of the next response; its audio is counted."""
        said = ""
        while True:
            event = await anext(self._events)
            if event.type == "error":
                seen.errors.append(str(event.error))
            elif event.type == "audio":
                seen.audio_bytes += len(event.audio.data)
                if until == "enough audio" and seen.audio_bytes >= scenario.INTERRUPT_AFTER_BYTES:
                    return said
            elif event.type == "raw_model_event":
                if event.data.type == "transcript_delta":
                    said += event.data.delta
                elif event.data.type == "input_audio_transcription_completed":
                    seen.heard = event.data.transcript
                elif event.data.type == "exception":
                    seen.errors.append(repr(event.data.exception))
                elif event.data.type == until:
                    return said


async def speak(session: Any) -> None:
    async for piece in given.as_spoken():
        await session.send_audio(piece)


async def talk() -> None:
    tools = [look_up] if given.name == "tool" else []
    runner = RealtimeRunner(RealtimeAgent(name="caller", instructions="Be kind.", tools=tools))
    model: Any = {"url": f"{given.url}/realtime?model=gpt-realtime", "api_key": "unused"}
    if given.turn_detection:
        model["initial_model_settings"] = {"turn_detection": {"type": given.turn_detection}}
    async with await runner.run(model_config=model) as session:
        listener = Listener(session)
        if given.name == "spoken":
            speaking = asyncio.create_task(speak(session))
            seen.said = await listener.reply()
            await speaking
        elif given.name in {"typed", "tool"}:
            await session.send_message(given.question)
            seen.said = await listener.reply()
            if given.name == "tool":
                seen.said = await listener.reply()
        else:
            await session.send_message(given.story)
            seen.said = await listener.reply(until="enough audio")
            if given.name == "interruption":
                await session.interrupt()
                await listener.reply()
                await session.send_message(given.question)
            else:
                speaking = asyncio.create_task(speak(session))
                await listener.reply()
                await speaking
            seen.after = await listener.reply()


scenario.run(talk(), seen)
