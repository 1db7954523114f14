"""The server process: uvicorn, with a drain before it leaves.

uvicorn closes every WebSocket the moment it is told to stop. Here the first signal starts
a drain instead, and the process leaves when the drain has let the last call go::

    serving --SIGTERM/SIGINT--> draining --last call gone--> closing sockets --> gone (exit 0)
       ^                          |    \\--second signal--> forced: 1012 to the calls that are left
       \\--- DELETE /admin/drain --/
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import structlog
import uvicorn

from voice_agent.runtime.clock import SystemClock
from voice_agent.web.addresses import CallerAddresses, ConnectRate
from voice_agent.web.call_socket import CallSocket
from voice_agent.web.certificates import Certificates
from voice_agent.web.connects import ConnectRules
from voice_agent.web.descriptors import raise_limit, shortage
from voice_agent.web.handshake import Handshake
from voice_agent.web.handshakes import HandshakeLimits, Handshakes, waiting_limit
from voice_agent.web.ports import LeavingPod, ServerSettings
from voice_agent.web.served_socket import MakeSocket, ServedSocket
from voice_agent.websocket.websocket import CLOSE_S

if TYPE_CHECKING:
    from starlette.types import ASGIApp

LEAVE_S = 2
"""How long unfinished HTTP requests may hold up the exit."""
LOOK_S = 0.01
CONNECTS_PER_CALL = 6
LEAST_CONNECTS = 600
"""Connects a minute of one address: enough for a pod full of callers behind one, who all come back several times."""

log = structlog.get_logger(__name__)


class VoiceServer(uvicorn.Server):
    """Serves one pod; see this module's drawing."""

    def __init__(
        self,
        app: ASGIApp,
        pod: LeavingPod,
        settings: ServerSettings,
        *,
        on_started: Callable[[], None] = lambda: None,
        limits: HandshakeLimits | None = None,
        now_s: Callable[[], float] | None = None,
        make_socket: MakeSocket | None = None,
        descriptors_per_call: int = 1,
    ) -> None:
        """`make_socket`: what a connection is after its upgrade; a `CallSocket` unless another server brings its own.

        `limits` are those of docs/limits.md, and `now_s` the system's clock, unless a test brings its own. Raises
        `SettingsError` for a certificate that cannot be used.
        """
        now_s = now_s or SystemClock().monotonic_s
        self._handshakes = Handshakes(
            pod,
            ConnectRules(
                pod, CallerAddresses(settings.trusted_proxies), ConnectRate(connects_per_minute(settings), now_s)
            ),
            limits or HandshakeLimits(waiting_limit(settings.max_calls)),
            now_s,
            make_socket or partial(CallSocket, max_message_bytes=settings.max_message_bytes),
            None if settings.tls is None else Certificates(settings.tls),
        )
        super().__init__(configuration(app, settings, self._handshakes))
        self._connections = descriptors_per_call * settings.max_calls + self._handshakes.limits.connections
        self._pod = pod
        self._drain = (settings.drain_mode, settings.drain_deadline)
        self._on_started = on_started
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections from now on."""
        if (warning := shortage(raise_limit(), self._connections)) is not None:
            log.warning(warning)
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        if (certificates := self._handshakes.certificates) is not None:
            told = self._pod.observer.certificate_read
            self._watching = asyncio.create_task(certificates.watch(told), name="certificates")
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
        if not self._pod.draining or self._pod.drains_as_requested:
            # This process is told to go, whatever becomes of the request for its color.
            self._pod.drain(*self._drain)
        self._leaving = asyncio.create_task(self._leave_when_drained(), name="leave")

    async def _leave_when_drained(self) -> None:
        await self._pod.wait_drained()
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Also closes connections that waited too long; where a drain was cancelled, the process stays."""
        self._handshakes.expire()
        if self._leaving is not None and not self._pod.draining:
            self._leaving.cancel()
            self._leaving = None
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let close frames be answered first: a socket closed on unread audio is reset, and its 1012 is lost."""
        if not self.force_exit:
            await self._finish_closing()
        await super().shutdown(sockets)
        for task in (self._leaving, self._watching):
            if task is not None:
                task.cancel()

    async def _finish_closing(self) -> None:
        deadline_s = asyncio.get_running_loop().time() + CLOSE_S
        while closing := self._closing_sockets():
            if asyncio.get_running_loop().time() >= deadline_s:
                for protocol in closing:
                    protocol.abort()
                return
            await asyncio.sleep(LOOK_S)

    def _closing_sockets(self) -> list[ServedSocket]:
        connections: set[Any] = self.server_state.connections
        return [it for it in connections if isinstance(it, ServedSocket) and it.is_closing]


def connects_per_minute(settings: ServerSettings) -> int:
    """How often one address may connect in a minute."""
    return settings.connects_per_minute or max(LEAST_CONNECTS, CONNECTS_PER_CALL * settings.max_calls)


def configuration(app: ASGIApp, settings: ServerSettings, handshakes: Handshakes) -> uvicorn.Config:
    """uvicorn's settings.

    It does not believe forwarded headers, or a client that sends them could pass for loopback: `handshakes` reads them.
    """
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=cast("type[asyncio.Protocol]", partial(Handshake, handshakes)),
        ws="none",
        ws_max_size=settings.max_message_bytes,
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=LEAVE_S,
    )
