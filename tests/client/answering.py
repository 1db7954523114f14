"""An agent for the scripted server: hears by loudness, answers every turn with the same words and a beep."""

from __future__ import annotations

import asyncio
import audioop
import base64
import json
from typing import Any

from websockets.asyncio.server import ServerConnection

from tests.client.scripted import BYTES_PER_MS, ScriptedServer
from voice_agent.client.pacing import FRAME_MS

QUIET_FRAMES = 5
REPLY_MS = 60
REPLY = base64.b64encode(b"\x10\x20" * (REPLY_MS * BYTES_PER_MS // 2)).decode()


class Answering:
    """Puts itself on a server's client events and pushes what it emits to the connection that is live."""

    def __init__(self, server: ScriptedServer) -> None:
        self._server = server
        self._quiet = 0
        self._speaking = False
        self._turns = 0
        self.heard = "what [/was] said"
        self.hang_up_after = 0
        """After so many turns (0: never)."""
        self.error: str | None = None
        """Why every reply fails; it says something all the same."""
        server.on_event = self._on_event
        self._to_send = asyncio.Event()
        self._hang_up = False

    async def connection(self, server: ScriptedServer, socket: ServerConnection) -> None:
        """The script: greet, replay, then both ways until somebody leaves."""
        sent = await server.greet(socket)
        taking = asyncio.create_task(server.take(socket))
        try:
            while True:
                self._to_send.clear()
                while sent < len(server.outbox):
                    await socket.send(json.dumps(server.outbox[sent]))
                    sent += 1
                if self._hang_up:
                    await socket.close(1000)
                await asyncio.wait(
                    (taking, asyncio.ensure_future(self._to_send.wait())), return_when=asyncio.FIRST_COMPLETED
                )
                if taking.done():
                    return
        finally:
            taking.cancel()
            self._to_send.set()
            await asyncio.gather(taking, return_exceptions=True)

    def _on_event(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind == "session.update":
            self._emit("session.updated", session={})
        elif kind == "response.create":
            self.reply()
        elif kind == "input_audio_buffer.append":
            self._listen(base64.b64decode(event["audio"]))

    def _listen(self, audio: bytes) -> None:
        if audioop.rms(audio, 2) > 500:
            self._speaking, self._quiet = True, 0
        elif self._speaking:
            self._quiet += 1
        if self._speaking and self._quiet == QUIET_FRAMES:
            self._speaking = False
            self._commit()

    def _commit(self) -> None:
        self._turns += 1
        item_id = f"item_{self._turns}"
        end_ms = len(self._server.heard) // BYTES_PER_MS - QUIET_FRAMES * FRAME_MS
        self._emit("input_audio_buffer.speech_stopped", audio_end_ms=end_ms, item_id=item_id)
        self._emit("input_audio_buffer.committed", item_id=item_id)
        kind = "conversation.item.input_audio_transcription.completed"
        self._emit(kind, item_id=item_id, transcript=self.heard)
        self.reply()

    def reply(self) -> None:
        response_id = f"resp_{len(self._server.outbox)}"
        self._emit("response.output_audio.delta", response_id=response_id, delta=REPLY)
        self._emit("response.output_audio_transcript.done", response_id=response_id, transcript="as [you] say")
        response: dict[str, Any] = {"id": response_id, "status": "completed"}
        if self.error is not None:
            response |= {"status": "failed", "status_details": {"error": {"message": self.error}}}
        self._emit("response.done", response=response)
        if self.hang_up_after and self._turns >= self.hang_up_after:
            self._hang_up = True

    def _emit(self, kind: str, **fields: Any) -> None:
        self._server.emit(kind, **fields)
        self._to_send.set()
