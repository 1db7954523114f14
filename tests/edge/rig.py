"""An edge on a loopback port, scripted pods behind it, and callers who know nothing of resuming."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tests.servers import free_port
from tests.tls import trusting
from tests.waiting import PATIENCE_S, until
from voice_agent.bootstrap_edge import EdgeApplication, build
from voice_agent.edge.caller_socket import CallerSocket
from voice_agent.edge_settings import load_edge_settings
from voice_agent.web.listening import bind

CALL_ID = "call_aaaaaaaaaaaaaaaaaaaaaaaaaa"
TOKEN = "token"
MANY = 1000
CLOSE_S = 0.5
"""How long either side waits for a close frame of one that may have been told not to answer."""
PCM = {"type": "audio/pcm", "rate": 24000}
ULAW = {"type": "audio/pcmu"}


class PodConnection:
    """One connection of the edge to a scripted pod."""

    def __init__(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.socket = socket
        self.request = socket.request
        url = urlsplit(socket.request.path)
        self.path = url.path
        self.query = {name: values[-1] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        self.heard: list[dict[str, Any]] = []
        self.messages: list[str | bytes] = []
        """The same as it came."""
        self.closed_with: int | None = None

    async def say(self, **event: Any) -> None:
        """Send an event."""
        await self.socket.send(orjson.dumps(event).decode())

    async def greet(self, number: int = 0, *, call: dict[str, Any] | None = None, audio: dict[str, Any] = PCM) -> None:
        """Say `session.created`; `call` is put into what stands in ``session.call`` always."""
        told = {"id": CALL_ID, "resume_token": TOKEN, "gap": None, "input_audio_bytes": 0, "last_client_event_id": None}
        session = {"type": "realtime", "audio": {"input": {"format": audio}}, "call": {**told, **(call or {})}}
        await self.say(event_id=f"evt_{number}", type="session.created", session=session)

    async def hear(self, count: int) -> list[dict[str, Any]]:
        """The first events of the caller, once so many have come."""
        await until(lambda: len(self.heard) >= count)
        return self.heard[:count]

    @property
    def audio(self) -> bytes:
        """All that was appended over this connection."""
        return b"".join(base64.b64decode(event["audio"]) for event in self.heard if "audio" in event)


class ScriptedPods:
    """All pods behind one address."""

    tls: ssl.SSLContext | None = None

    def __init__(self) -> None:
        self.connections: list[PodConnection] = []
        self.refusals: deque[Response] = deque()
        """What the next requests are refused with."""
        self.port = free_port()
        self._server: Server

    @property
    def url(self) -> str:
        """Where the edge finds them."""
        return f"ws://127.0.0.1:{self.port}"

    def refuse(self, status: int, body: bytes = b"{}", **headers: str) -> None:
        """Refuse one request."""
        named = Headers({name.replace("_", "-"): value for name, value in headers.items()})
        named["Content-Length"] = str(len(body))
        self.refusals.append(Response(status, HTTPStatus(status).phrase, named, body))

    def refuse_all(self, status: int) -> None:
        """Refuse more requests than there will be, until `refusals` is cleared."""
        for _ in range(MANY):
            self.refuse(status)

    async def connection(self, number: int) -> PodConnection:
        """The n-th of the edge's connections, from 0, once it is there."""
        await until(lambda: len(self.connections) > number)
        return self.connections[number]

    async def open(self) -> None:
        """Take connections."""
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            self.port,
            process_request=self._process,
            process_response=self._answer,
            subprotocols=None,
            select_subprotocol=lambda _, offered: offered[0] if offered else None,
            compression=None,
            ping_interval=None,
            close_timeout=CLOSE_S,
            ssl=self.tls,
        )

    async def close(self) -> None:
        """Take none any more; those there are are cut."""
        self._server.close()
        await self._server.wait_closed()

    def _process(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.path == "/healthz/realtime":
            return connection.respond(HTTPStatus.OK, "{}")
        return self.refusals.popleft() if self.refusals else None

    def _answer(self, connection: ServerConnection, request: Request, response: Response) -> Response:
        response.headers["X-Call-Id"] = CALL_ID
        return response

    async def _serve(self, socket: ServerConnection) -> None:
        one = PodConnection(socket)
        self.connections.append(one)
        try:
            async for message in socket:
                one.messages.append(message)
                with contextlib.suppress(orjson.JSONDecodeError):
                    one.heard.append(orjson.loads(message))
        except ConnectionClosed:
            pass
        one.closed_with = socket.close_code


class PlainCaller:
    """A client that knows nothing of resuming."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.events: list[dict[str, Any]] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for message in self.socket:
                self.events.append(orjson.loads(message))
        except ConnectionClosed:
            pass

    async def say(self, **event: Any) -> None:
        """Send an event."""
        await self.socket.send(orjson.dumps(event).decode())

    async def append(self, audio: bytes, **more: Any) -> None:
        """Say audio."""
        await self.say(type="input_audio_buffer.append", audio=base64.b64encode(audio).decode(), **more)

    async def hear(self, count: int) -> list[dict[str, Any]]:
        """The first events, once so many have come."""
        await until(lambda: len(self.events) >= count)
        return self.events[:count]

    async def closed(self) -> tuple[int | None, str | None]:
        """How the connection ended."""
        await asyncio.wait_for(asyncio.shield(self._reading), PATIENCE_S)
        return self.socket.close_code, self.socket.close_reason


class EdgeRig:
    """An edge under test."""

    def __init__(
        self, pods: ScriptedPods, parts: EdgeApplication, port: int, tls: ssl.SSLContext | None = None
    ) -> None:
        """`tls`: what callers believe, if it speaks TLS."""
        self.pods = pods
        self.edge = parts.edge
        self.server = parts.server
        self.metrics = parts.metrics
        self.port = port
        self.http = f"http{'s' if tls else ''}://127.0.0.1:{port}"
        self._url = f"ws{'s' if tls else ''}://127.0.0.1:{port}"
        self._tls: dict[str, Any] = {"ssl": tls} if tls else {}
        self._callers: list[PlainCaller] = []

    async def call(self, path: str = "/v1/realtime?model=echo", **options: Any) -> PlainCaller:
        """A caller whose pod is still to greet."""
        socket = self.connect(path, **options)
        opening = asyncio.ensure_future(socket.__aenter__())
        pod = await self.pods.connection(len(self.pods.connections))
        await pod.greet()
        caller = PlainCaller(await opening)
        self._callers.append(caller)
        await caller.hear(1)
        return caller

    def connect(self, path: str = "/v1/realtime", **options: Any) -> Any:
        """A WebSocket, to be entered."""
        known = {"proxy": None, "compression": None, "ping_interval": None, "close_timeout": CLOSE_S, **self._tls}
        return connect(self._url + path, **(known | options))

    def metric(self, name: str) -> float:
        """A sample of the metrics page."""
        for line in self.metrics.page().decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.rpartition(" ")[2])
        return 0.0

    @property
    def pods_read(self) -> int:
        """Calls whose pod is read."""
        return sum(call._pod._transport.is_reading() for call in self.edge._calls)

    @property
    def callers_here(self) -> int:
        """Calls whose caller has not left, as far as the edge knows."""
        return sum(not one._transport.is_closing() for one in self._held)

    @property
    def unread_bytes(self) -> int:
        """What callers have not read."""
        return sum(one._transport.get_write_buffer_size() for one in self._held)

    @property
    def _held(self) -> list[CallerSocket]:
        return [call._caller for call in self.edge._calls if isinstance(call._caller, CallerSocket)]

    async def close(self) -> None:
        """The callers leave."""
        for caller in self._callers:
            await caller.socket.close()


@asynccontextmanager
async def edge_rig(
    *, pods: Callable[[], ScriptedPods] = ScriptedPods, more_urls: tuple[str, ...] = (), **settings: Any
) -> AsyncIterator[EdgeRig]:
    """An edge over scripted pods for the length of a block."""
    behind = pods()
    await behind.open()
    listener = bind("127.0.0.1", free_port())
    known = {"to": (*more_urls, behind.url), "name": "edge-a", "patience": 5, "overload_lag_ms": 0}
    made = load_edge_settings(**(known | settings))
    async with build(made) as parts:
        serving = asyncio.create_task(parts.server.serve(sockets=[listener]))
        await until(lambda: parts.server.started)
        tls = trusting(made.tls.certificate) if made.tls else None
        one = EdgeRig(behind, parts, listener.getsockname()[1], tls)
        try:
            yield one
        finally:
            await one.close()
            parts.server.force_exit = parts.server.should_exit = True
            await serving
            await behind.close()
