"""The baseline: a WebSocket echo of audio on uvicorn and FastAPI, with nothing around it and quick parts throughout.

Run: ``python bare_uvicorn.py PORT``.
"""

from __future__ import annotations

import base64
import sys

import orjson
import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

app = FastAPI()


@app.websocket("/v1/realtime")
async def realtime(socket: WebSocket) -> None:
    """Send every appended frame back as a delta: parsed, decoded, encoded and written once each."""
    await socket.accept()
    number = 0
    try:
        while True:
            event = orjson.loads(await socket.receive_text())
            audio = base64.b64decode(event["audio"])
            number += 1
            delta = {
                "event_id": f"evt_{number}",
                "type": "response.output_audio.delta",
                "response_id": "resp_1",
                "item_id": "item_1",
                "output_index": 0,
                "content_index": 0,
                "delta": base64.b64encode(audio).decode(),
            }
            await socket.send_text(orjson.dumps(delta).decode())
    except WebSocketDisconnect:
        pass


if __name__ == "__main__":
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        loop="uvloop",
        http="httptools",
        log_level="error",
    )
