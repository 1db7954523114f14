"""`websockets`: a bare WebSocket. All of its events have one id, and its appends are of an odd number of samples."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import scenario
from websockets.asyncio.client import ClientConnection, connect

TOOL = {
    "type": "function",
    "name": "look_up",
    "description": "Looks an order up.",
    "parameters": {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]},
}
FIXED_ID = "event_345"
ODD_BYTES = 1154
given = scenario.given()
seen = scenario.Seen()
speaking: dict[str, str] = {}
tool_call: dict[str, str] = {}


async def send(socket: ClientConnection, kind: str, **fields: Any) -> None:
    await socket.send(json.dumps({"type": kind, "event_id": FIXED_ID, **fields}))


async def reply(socket: ClientConnection, *, until: str = "response.done") -> str:
    """The transcript of the next response; its audio is counted."""
    said = ""
    while True:
        event = json.loads(await socket.recv())
        match event["type"]:
            case "error":
                seen.errors.append(str(event["error"]))
            case "response.output_audio_transcript.delta":
                said += event["delta"]
            case "response.output_audio.delta":
                seen.audio_bytes += len(base64.b64decode(event["delta"]))
                speaking.update(item_id=event["item_id"], response_id=event["response_id"])
                if until == "enough audio" and seen.audio_bytes >= scenario.INTERRUPT_AFTER_BYTES:
                    return said
            case "conversation.item.input_audio_transcription.completed":
                seen.heard = event["transcript"]
            case "response.function_call_arguments.done":
                seen.tool_arguments = json.loads(event["arguments"])
                tool_call["call_id"] = event["call_id"]
            case "response.done" if until == "response.done":
                return said


async def type_in(socket: ClientConnection, text: str) -> None:
    content = [{"type": "input_text", "text": text}]
    await send(socket, "conversation.item.create", item={"type": "message", "role": "user", "content": content})
    await send(socket, "response.create")


async def speak(socket: ClientConnection) -> None:
    kept = b""
    async for piece in given.as_spoken():
        kept += piece
        while len(kept) >= ODD_BYTES:
            audio = base64.b64encode(kept[:ODD_BYTES]).decode()
            await socket.send(f'{{"type":"input_audio_buffer.append","audio":"{audio}"}}')
            kept = kept[ODD_BYTES:]


async def talk() -> None:
    async with connect(f"{given.url}/realtime?model=gpt-realtime", proxy=None, compression=None) as socket:
        session: dict[str, Any] = {"type": "realtime", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
        if given.name == "tool":
            session["tools"] = [TOOL]
        await send(socket, "session.update", session=session)
        if given.name == "spoken":
            spoken = asyncio.create_task(speak(socket))
            seen.said = await reply(socket)
            await spoken
        elif given.name in {"typed", "tool"}:
            await type_in(socket, given.question)
            seen.said = await reply(socket)
            if tool_call:
                output = {"type": "function_call_output", "output": "on its way", **tool_call}
                await send(socket, "conversation.item.create", item=output)
                await send(socket, "response.create")
                seen.said = await reply(socket)
        else:
            await type_in(socket, given.story)
            seen.said = await reply(socket, until="enough audio")
            if given.name == "interruption":
                item_id, response_id = speaking["item_id"], speaking["response_id"]
                await send(socket, "conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=900)
                await send(socket, "response.cancel", response_id=response_id)
                await reply(socket)
                await type_in(socket, given.question)
            else:
                spoken = asyncio.create_task(speak(socket))
                await reply(socket)
                await spoken
            seen.after = await reply(socket)


scenario.run(talk(), seen)
