"""A client whose other end is a small echo server in memory, which can be told to do wrong."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pybase64
from websockets.asyncio.server import ServerConnection, serve

from voice_agent.call.audio import PCM
from voice_agent.client.position import CallPosition
from voice_agent.client.refusals import CallFailed

Event = dict[str, Any]
Change = Callable[[Event], list[Event]]
DELTA_BYTES = 4800


class ScriptedClient:
    """Keeps the contract of the real server as far as a caller sees it; `change` may break it, event by event."""

    def __init__(self, change: Change = lambda event: [event]) -> None:
        self.position = CallPosition(PCM)
        self.on_lost: Callable[[int], None] = lambda code: None
        self.record: dict[str, Any] = {"transcript": []}
        self.lose_after: int | None = None
        """The connection is lost after so many events, and what is sent until the next greeting is swallowed."""
        self.fail_after: int | None = None
        self.swallowed = 0
        """What was sent although the loss had been told: the SDK would send it later, out of order."""
        self._change = change
        self._numbered = 0
        self._heard_bytes = 0
        self._turn = bytearray()
        self._typed = ""
        self._last_client_event_id: str | None = None
        self._seen_ids: set[str] = set()
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._is_lost = False
        self._pod = 1

    async def open(self) -> None:
        self._queue.put_nowait(self._greeting(resumed=False))

    def _greeting(self, *, resumed: bool) -> Event:
        call = {
            "id": "call_a",
            "color": "blue",
            "pod": f"blue-{self._pod}",
            "resumed": resumed,
            "gap": None,
            "input_audio_ms": self._heard_bytes // 48,
            "last_client_event_id": self._last_client_event_id,
        }
        return {"type": "session.created", "event_id": f"evt_{self._numbered}", "session": {"call": call}}

    async def events(self) -> AsyncIterator[Event]:
        given = 0
        while (event := await self._queue.get()) is not None:
            for one in self._change(event) if event["type"] != "session.created" else [event]:
                yield one
                given += 1
            if given == self.fail_after:
                raise CallFailed("broken for good")
            if given == self.lose_after:
                await self._lose()
                yield self._greeting(resumed=True)

    async def _lose(self) -> None:
        self._is_lost = True
        self.on_lost(1006)
        for _ in range(5):
            await asyncio.sleep(0)
        self._pod += 1
        self._is_lost = False

    async def send(self, text: str) -> None:
        if self._is_lost:
            self.swallowed += 1
            return
        event = orjson.loads(text)
        if event["type"] == "input_audio_buffer.append":
            audio = pybase64.b64decode(event["audio"])
            self._heard_bytes += len(audio)
            self._turn += audio
            return
        if (event_id := event.get("event_id")) is not None:
            if self._pod > 1 and event_id in self._seen_ids:
                return
            self._seen_ids.add(event_id)
            self._last_client_event_id = event_id
        match event["type"]:
            case "conversation.item.create":
                self._typed = event["item"]["content"][0]["text"]
            case "response.create":
                self._answer()

    def _answer(self) -> None:
        self.record["transcript"].append({"role": "user", "text": self._typed})
        response = {"id": f"resp_{self._numbered}", "status": "completed"}
        self._emit({"type": "response.created", "response": response})
        if self._typed:
            self._emit({"type": "response.output_text.delta", "response_id": response["id"], "delta": self._typed})
        for at in range(0, len(self._turn), DELTA_BYTES):
            delta = pybase64.b64encode_as_string(bytes(self._turn[at : at + DELTA_BYTES]))
            self._emit({"type": "response.output_audio.delta", "response_id": response["id"], "delta": delta})
        self._emit({"type": "response.done", "response": response})
        self._typed = ""
        self._turn.clear()

    def _emit(self, event: Event) -> None:
        self._numbered += 1
        self._queue.put_nowait({**event, "event_id": f"evt_{self._numbered}"})

    async def hang_up(self) -> None:
        self._queue.put_nowait(None)


@asynccontextmanager
async def scripted_server(client: ScriptedClient, *, closes_with: int | None = None) -> AsyncIterator[str]:
    """The echo server behind `client` on a loopback port, for one call; its URL. `closes_with`: after what is said."""

    async def tell(socket: ServerConnection) -> None:
        with contextlib.suppress(CallFailed):
            async for event in client.events():
                await socket.send(orjson.dumps(event).decode())
                if closes_with is not None and event["type"] == "response.done":
                    await socket.close(closes_with, "leaves")
        await socket.close()

    async def talk(socket: ServerConnection) -> None:
        await client.open()
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(tell(socket))
            async for message in socket:
                await client.send(str(message))
            telling.cancel()

    async with serve(talk, "127.0.0.1", 0, compression=None) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


class QuickClock:
    """Time passes only when somebody sleeps, and then at once."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def wall_ms(self) -> int:
        return int(self.now_s * 1000)

    def monotonic_s(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        await asyncio.sleep(0)
