"""A pod without a store: greets, numbers each echoed frame, and once a second says that all it got is durable.

What an edge in front of it adds to a frame's way is the edge's own, for here no frame waits for a write.

Run: ``python instant_pod.py PORT``.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import orjson
import uvloop
from websockets.http11 import Request
from websockets.server import ServerProtocol

from voice_agent.websocket.frame_reader import FrameReader
from voice_agent.websocket.frames import TEXT, close_frame, text_frame

AUDIO = '"audio":"'
TOLD_S = 1.0


class Echo(asyncio.Protocol):
    """One caller, or the edge in its place."""

    def __init__(self) -> None:
        self._handshake = ServerProtocol()
        self._reader = FrameReader(max_bytes=1 << 20)
        self._is_open = False
        self._number = 0
        self._input_bytes = 0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the request."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """The request, then frames."""
        if not self._is_open:
            self._handshake.receive_data(data)
            for event in self._handshake.events_received():
                assert isinstance(event, Request)
                self._handshake.send_response(self._handshake.accept(event))
                self._transport.write(b"".join(self._handshake.data_to_send()))
                self._is_open = True
                self._greet()
            return
        self._reader.feed(data)
        while self._reader.has_more:
            message = self._reader.read()
            if message is None:
                continue
            kind, text = message
            if kind != TEXT:
                self._transport.write(close_frame(1000, ""))
                self._transport.close()
                return
            assert isinstance(text, str)
            _, found, audio = text.partition(AUDIO)
            if found:
                self._echo(audio[:-2])

    def _echo(self, audio: str) -> None:
        self._number += 1
        self._input_bytes += len(audio) // 4 * 3
        named = f'{{"event_id":"evt_{self._number}","type":"response.output_audio.delta","response_id":"resp_1",'
        rest = f'"item_id":"item_1","output_index":0,"content_index":0,"delta":"{audio}"}}'
        self._transport.write(text_frame((named + rest).encode()))

    def _greet(self) -> None:
        call = {"id": "call_1", "resume_token": "t", "input_audio_bytes": 0, "epoch": 1, "resumed": False}
        session = {"id": "call_1", "object": "realtime.session", "call": call}
        event = {"event_id": "evt_0", "type": "session.created", "session": session}
        self._transport.write(text_frame(orjson.dumps(event)))
        asyncio.get_running_loop().call_later(TOLD_S, self._tell)

    def _tell(self) -> None:
        if self._transport.is_closing():
            return
        event = {"type": "call.received", "input_audio_bytes": self._input_bytes, "last_client_event_id": None}
        self._transport.write(text_frame(orjson.dumps(event)))
        asyncio.get_running_loop().call_later(TOLD_S, self._tell)


async def main() -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
