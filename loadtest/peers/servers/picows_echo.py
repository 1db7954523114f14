"""The same echo on picows, a WebSocket library in Cython with callbacks instead of coroutines, and orjson.

Run: ``python picows_echo.py PORT``.
"""

from __future__ import annotations

import base64
import sys

import orjson
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server


class Echo(WSListener):
    """One caller."""

    def __init__(self) -> None:
        super().__init__()
        self._number = 0

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Send an appended frame back as a delta; answer a close."""
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
            return
        event = orjson.loads(frame.get_payload_as_memoryview())
        audio = base64.b64decode(event["audio"])
        self._number += 1
        delta = {
            "event_id": f"evt_{self._number}",
            "type": "response.output_audio.delta",
            "response_id": "resp_1",
            "item_id": "item_1",
            "output_index": 0,
            "content_index": 0,
            "delta": base64.b64encode(audio).decode(),
        }
        transport.send(WSMsgType.TEXT, orjson.dumps(delta))


def listener(request: WSUpgradeRequest) -> Echo:
    """An echo for whoever connects."""
    return Echo()


async def main() -> None:
    """Serve until killed."""
    server = await ws_create_server(listener, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
