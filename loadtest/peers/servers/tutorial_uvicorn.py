"""The same echo as tutorials write it: `receive_json` and `send_json`, every setting of uvicorn's left alone.

Run: ``python tutorial_uvicorn.py PORT``.
"""

from __future__ import annotations

import base64
import sys

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

app = FastAPI()


@app.websocket("/v1/realtime")
async def realtime(socket: WebSocket) -> None:
    """Send every appended frame back as a delta."""
    await socket.accept()
    number = 0
    try:
        while True:
            event = await socket.receive_json()
            audio = base64.b64decode(event["audio"])
            number += 1
            await socket.send_json(
                {
                    "event_id": f"evt_{number}",
                    "type": "response.output_audio.delta",
                    "response_id": "resp_1",
                    "item_id": "item_1",
                    "output_index": 0,
                    "content_index": 0,
                    "delta": base64.b64encode(audio).decode(),
                }
            )
    except WebSocketDisconnect:
        pass


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="error")
