"""A small realtime server on a loopback port that breaks exactly where a test wants it to.

It keeps one call: numbered events, the audio that arrived, the client events it applied.
What it forgets when a connection breaks is up to the test (`keep_bytes`).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tests.waiting import PATIENCE_S
from voice_agent.client.backoff import Backoff

CALL_ID = "call_" + "a" * 26
BYTES_PER_MS = 48

Script = Callable[["ScriptedServer", ServerConnection], Awaitable[None]]


class ImpatientBackoff(Backoff):
    """Never waits, and notes what the server asked for."""

    def __init__(self, for_s: float = 5.0) -> None:
        super().__init__(for_s, chance=lambda low, high: 0.0)
        self.asked: list[float | None] = []

    def pause_s(self, asked_s: float | None = None) -> float | None:
        self.asked.append(asked_s)
        return None if super().pause_s() is None else 0.0


class ScriptedServer:
    """Each connection runs the next script; the last one is run again and again."""

    def __init__(self, *scripts: Script, resumable: bool = True) -> None:
        self.scripts = deque(scripts)
        self.resumable = resumable
        self.refusals: deque[tuple[int, dict[str, str], bytes] | None] = deque()
        """What the next upgrades get instead; None lets one through."""
        self.requests: list[Request] = []
        self.color = "blue"
        self.outbox: list[dict[str, Any]] = []
        self.heard = bytearray()
        self.keep_bytes: int | None = None
        self.base_ms = 0
        self.release = 2
        """Of the first, positions are milliseconds, and what is durable is told to nobody."""
        self.acknowledged: list[str] = []
        """Event ids that the client said to have."""
        self.gap: dict[str, str] | None = None
        self.applied: list[tuple[str, int]] = []
        """Type of each client event that took effect, and how much audio was there before it."""
        self.appends: list[int] = []
        """Bytes of each piece of audio as it arrived."""
        self.seen: list[str] = []
        self.close_codes: list[int | None] = []
        self.on_event: Callable[[dict[str, Any]], None] = lambda event: None
        self.port = 0
        self._changed = asyncio.Condition()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/realtime"

    def query(self, number: int) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.requests[number].path).query)

    def emit(self, kind: str, **fields: Any) -> None:
        """Number an event; connections send it when they next run `send_from`."""
        self.outbox.append({"type": kind, "event_id": f"evt_{len(self.outbox) + 1}", **fields})

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(condition)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    # --- a connection -----------------------------------------------------------

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        refusal = self.refusals.popleft() if self.refusals else None
        if refusal is None:
            return None
        status, headers, body = refusal
        return Response(status, "no", Headers({**headers, "Content-Length": str(len(body))}), body)

    async def _serve(self, socket: ServerConnection) -> None:
        if self.keep_bytes is not None and len(self.requests) > 1:
            del self.heard[self.keep_bytes :]
        await self._tell()
        script = self.scripts.popleft() if len(self.scripts) > 1 else self.scripts[0]
        with contextlib.suppress(ConnectionClosed):
            await script(self, socket)
        await socket.wait_closed()
        self.close_codes.append(socket.close_code)
        await self._tell()

    async def greet(self, socket: ServerConnection) -> int:
        """Send the greeting; returns how many events the client has."""
        query = parse_qs(urlsplit(socket.request.path if socket.request else "").query)
        start = int(query.get("last_event_id", ["evt_0"])[0].removeprefix("evt_"))
        info = {
            "id": CALL_ID,
            "resume_token": "token-of-the-call",
            "color": self.color,
            "pod": f"{self.color}-1",
            "input_audio_ms": self.base_ms + len(self.heard) // BYTES_PER_MS,
            "last_client_event_id": self.seen[-1] if self.seen else None,
            "gap": self.gap,
        }
        if self.release > 1:
            info["input_audio_bytes"] = self.base_ms * BYTES_PER_MS + len(self.heard)
        if self.release > 1 and "received" in query:
            info["newest_event_id"] = f"evt_{len(self.outbox)}"
        session: dict[str, Any] = {"id": CALL_ID, "type": "realtime"}
        if self.resumable:
            session["call"] = info
        await socket.send(json.dumps({"type": "session.created", "event_id": f"evt_{start}", "session": session}))
        return start

    async def send_from(self, socket: ServerConnection, start: int, stop: int | None = None) -> None:
        for event in self.outbox[start:stop]:
            await socket.send(json.dumps(event))

    async def take(self, socket: ServerConnection, messages: int | None = None) -> None:
        """Apply so many client messages (None: all), each client event once."""
        taken = 0
        while messages is None or taken < messages:
            event = json.loads(await socket.recv())
            taken += 1
            if event["type"] == "input_audio_buffer.append":
                audio = base64.b64decode(event["audio"])
                self.appends.append(len(audio))
                self.heard += audio
            elif event["type"] == "call.acknowledge":
                self.acknowledged.append(event["event_id"])
            elif event["event_id"] not in self.seen:
                self.seen.append(event["event_id"])
                self.applied.append((event["type"], len(self.heard)))
            self.on_event(event)
            await self._tell()


@contextlib.asynccontextmanager
async def running(server: ScriptedServer) -> AsyncIterator[ScriptedServer]:
    async with serve(server._serve, "127.0.0.1", 0, process_request=server._answer, close_timeout=1) as listening:
        server.port = next(iter(listening.sockets)).getsockname()[1]
        yield server


# --- scripts ----------------------------------------------------------------------


async def stay(server: ScriptedServer, socket: ServerConnection) -> None:
    """Greet, replay, and take what comes until the client leaves."""
    start = await server.greet(socket)
    await server.send_from(socket, start)
    await server.take(socket)


async def finish(server: ScriptedServer, socket: ServerConnection) -> None:
    """Greet, replay, hang up."""
    start = await server.greet(socket)
    await server.send_from(socket, start)
    await socket.close(1000)


def cut_after(events: int, how: int | str) -> Script:
    """Break once the client has `events` events: with a close code, by "abort", or "within" the next event."""

    async def script(server: ScriptedServer, socket: ServerConnection) -> None:
        start = await server.greet(socket)
        await server.send_from(socket, start, events)
        await leave(socket, how)

    return script


def cut_after_messages(messages: int, how: int | str = "abort") -> Script:
    """Break once so many client messages were taken."""

    async def script(server: ScriptedServer, socket: ServerConnection) -> None:
        await server.greet(socket)
        await server.take(socket, messages)
        await leave(socket, how)

    return script


async def leave(socket: ServerConnection, how: int | str) -> None:
    if isinstance(how, int):
        await socket.close(how)
    elif how == "no code":
        socket.transport.write(b"\x88\x00")
        socket.transport.close()
    elif how == "within":
        socket.transport.write(b"\x81\x7e\x01\x00" + b'{"type":"response.output_audio.del')
        socket.transport.close()
    else:
        # What was sent before arrives: only the close frame is missing.
        socket.transport.close()
