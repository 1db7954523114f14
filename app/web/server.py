"""The server process: uvicorn, taught to let calls go before it leaves.

uvicorn closes every WebSocket the moment it is told to stop. Here the first signal starts
a drain instead, and the process leaves when the drain has let the last call go::

    serving --SIGTERM/SIGINT--> draining --last call gone--> closing sockets --> gone (exit 0)
       ^                          |    \\--second signal--> forced: 1012 to whoever is left
       \\--- DELETE /admin/drain --/
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

import structlog
import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from app.settings import Settings
from app.web.call_socket import CLOSE_S, CallSocket
from app.web.ports import LeavingPod
from app.web.realtime import GONE, TAKE_OVER
from app.web.refusals import ANSWERED

if TYPE_CHECKING:
    from fastapi import FastAPI
    from websockets.http11 import Request

LEAVE_S = 2
"""How long unfinished HTTP requests may hold up the exit."""
LOOK_S = 0.01

log = structlog.get_logger(__name__)


class HandshakeProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol for the handshake alone: an accepted connection is lent to the app, past ASGI."""

    def handle_connect(self, event: Request) -> None:
        """Lend the app what takes the connection over, and a way to say that it refused it.

        uvicorn does not count a refusal as the end of a handshake and would log an error.
        """
        super().handle_connect(event)
        if not self.close_sent:
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions[GONE] = self.transport.is_closing
            extensions[ANSWERED] = self._answered
            extensions[TAKE_OVER] = self._take_over

    def _answered(self) -> None:
        self.handshake_complete = True

    def _take_over(self) -> CallSocket:
        """The accepted connection; to be called before the event loop turns, so that no frame is read in between."""
        self.stop_keepalive()
        self.connections.discard(self)
        # uvicorn closes the transport behind an app that returns, unless this says that a close is being waited for.
        self.close_timer = self.loop.call_later(0, _nothing)
        return CallSocket(self.transport, self.connections, max_message_bytes=self.config.ws_max_size)


def _nothing() -> None:
    """Stands for uvicorn's timer."""


class VoiceServer(uvicorn.Server):
    """Serves one pod; see this module's drawing."""

    def __init__(
        self, app: FastAPI, pod: LeavingPod, settings: Settings, *, on_started: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(configuration(app, settings))
        self._pod = pod
        self._drain = (settings.drain_mode, settings.drain_deadline)
        self._on_started = on_started
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leaving: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections from now on."""
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        self._on_started()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The signal handler: wakes the loop, where `leave` decides. Nothing is raised again at the end: exit is 0."""
        if self._loop is None:
            self.should_exit = True
        else:
            self._loop.call_soon_threadsafe(self.leave)

    def leave(self) -> None:
        """Drain, then exit; asked a second time, exit at once."""
        if self._leaving is not None:
            log.warning("exit forced", active_calls=self._pod.status().active_calls)
            self.force_exit = self.should_exit = True
            return
        if not self._pod.draining or self._pod.drains_as_wished:
            # This process is told to go, whatever becomes of the wish for its color.
            self._pod.drain(*self._drain)
        self._leaving = asyncio.create_task(self._leave_when_drained(), name="leave")

    async def _leave_when_drained(self) -> None:
        await self._pod.wait_drained()
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Also notices that the drain was cancelled: then the process stays."""
        if self._leaving is not None and not self._pod.draining:
            self._leaving.cancel()
            self._leaving = None
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let close frames be answered first: a socket closed on unread audio is reset, and its 1012 is lost."""
        if not self.force_exit:
            await self._finish_closing()
        await super().shutdown(sockets)
        if self._leaving is not None:
            self._leaving.cancel()

    async def _finish_closing(self) -> None:
        deadline_s = asyncio.get_running_loop().time() + CLOSE_S
        while closing := self._closing_sockets():
            if asyncio.get_running_loop().time() >= deadline_s:
                for protocol in closing:
                    protocol.abort()
                return
            await asyncio.sleep(LOOK_S)

    def _closing_sockets(self) -> list[CallSocket]:
        connections: set[Any] = self.server_state.connections
        return [it for it in connections if isinstance(it, CallSocket) and it.is_closing]


def configuration(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """uvicorn's settings. Forwarded headers are not believed: whoever sends them could pass for loopback."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http="httptools",
        ws=HandshakeProtocol,
        ws_max_size=settings.max_message_bytes,
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=LEAVE_S,
    )
