"""`openai` for Python: `client.realtime.connect`, every event checked against the SDK's own types."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import scenario
from openai import AsyncOpenAI
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
TOOL = {
    "type": "function",
    "name": "look_up",
    "description": "Looks an order up.",
    "parameters": {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]},
}
given = scenario.given()
seen = scenario.Seen()


async def next_event(connection: Any) -> Any:
    raw = await connection.recv_bytes()
    EVENT.validate_json(raw)
    event = connection.parse_event(raw)
    if event.type == "error":
        seen.errors.append(event.error.message)
    return event


async def reply(connection: Any, *, until: str = "response.done") -> str:
    """The transcript of the next response; its audio is counted."""
    said = ""
    while True:
        event = await next_event(connection)
        if event.type == "response.output_audio_transcript.delta":
            said += event.delta
        elif event.type == "response.output_audio.delta":
            seen.audio_bytes += len(base64.b64decode(event.delta))
            if until == "enough audio" and seen.audio_bytes >= scenario.INTERRUPT_AFTER_BYTES:
                interrupt.update(item_id=event.item_id, response_id=event.response_id)
                return said
        elif event.type == "conversation.item.input_audio_transcription.completed":
            seen.heard = event.transcript
        elif event.type == "response.function_call_arguments.done":
            seen.tool_arguments = json.loads(event.arguments)
            tool_call["call_id"] = event.call_id
        elif event.type == "response.done" and until == event.type:
            return said


interrupt: dict[str, str] = {}
tool_call: dict[str, str] = {}


async def type_in(connection: Any, text: str) -> None:
    content: Any = [{"type": "input_text", "text": text}]
    await connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
    await connection.response.create()


async def speak(connection: Any) -> None:
    async for piece in given.as_spoken():
        await connection.input_audio_buffer.append(audio=base64.b64encode(piece).decode())


async def talk() -> None:
    base = given.url.replace("ws://", "http://")
    async with (
        AsyncOpenAI(base_url=base, api_key="unused") as client,
        client.realtime.connect(model="gpt-realtime") as connection,
    ):
        session: Any = {"type": "realtime", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
        if given.name == "tool":
            session["tools"] = [TOOL]
        await connection.session.update(session=session)
        if given.name == "spoken":
            speaking = asyncio.create_task(speak(connection))
            seen.said = await reply(connection)
            await speaking
        elif given.name in {"typed", "tool"}:
            await type_in(connection, given.question)
            seen.said = await reply(connection)
            if tool_call:
                output: Any = {"type": "function_call_output", "output": "on its way", **tool_call}
                await connection.conversation.item.create(item=output)
                await connection.response.create()
                seen.said = await reply(connection)
        else:
            await type_in(connection, given.story)
            seen.said = await reply(connection, until="enough audio")
            if given.name == "interruption":
                await connection.conversation.item.truncate(
                    item_id=interrupt["item_id"], content_index=0, audio_end_ms=900
                )
                await connection.response.cancel(response_id=interrupt["response_id"])
                await reply(connection)
                await type_in(connection, given.question)
            else:
                speaking = asyncio.create_task(speak(connection))
                await reply(connection)
                await speaking
            seen.after = await reply(connection)


scenario.run(talk(), seen)
