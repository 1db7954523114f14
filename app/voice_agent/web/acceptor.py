"""Which listening sockets a worker accepts connections from, while that changes (see `voice_agent.host`)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import uvicorn

from voice_agent.web.server import VoiceServer

if TYPE_CHECKING:
    from voice_agent.runtime.ports import Clock


class Acceptor:
    """Accepts for a started `uvicorn.Server`, from sockets that other processes hold open, too."""

    def __init__(
        self,
        server: uvicorn.Server,
        sockets: Sequence[socket.socket],
        queues: Callable[[], set[int]],
        on_closed: Callable[[], None],
    ) -> None:
        """`queues` says which of the `sockets` to accept from, by their place; `on_closed` is called after the last."""
        self._server = server
        self._sockets = sockets
        self._queues = queues
        self._on_closed = on_closed
        self._open: dict[int, asyncio.Server] = {}

    async def follow(self, clock: Clock, look_s: float) -> None:
        """Follow `queues` until cancelled; then accept no more. What waits in a queue is left to the others."""
        try:
            while True:
                await self._accept_from(self._queues())
                await clock.sleep(look_s)
        finally:
            await self._accept_from(set())
            self._on_closed()

    async def _accept_from(self, queues: set[int]) -> None:
        for place in self._open.keys() - queues:
            # Only this process' hold on the socket ends; connections under way go on.
            self._open.pop(place).close()
        for place in queues - self._open.keys():
            self._open[place] = await asyncio.get_running_loop().create_server(
                self._protocol, sock=self._sockets[place].dup(), backlog=self._server.config.backlog
            )

    def _protocol(self) -> asyncio.Protocol:
        """As `uvicorn.Server.startup` makes it."""
        server = self._server
        made: asyncio.Protocol = server.config.http_protocol_class(  # type: ignore[call-arg]
            config=server.config, server_state=server.server_state, app_state=server.lifespan.state
        )
        return made


class WorkerServer(VoiceServer):
    """Serves one worker among several on a port: starts with no socket of its own, accepts through an `Acceptor`."""

    def configure(self, acceptor: Acceptor, clock: Clock, look_s: float) -> None:
        """To be called before `serve`."""
        self._acceptor = acceptor
        self._clock = clock
        self._look_s = look_s
        self._following: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections from now on."""
        await super().startup([])
        self._following = asyncio.create_task(self._acceptor.follow(self._clock, self._look_s), name="acceptor")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more first: a connection that comes now is another worker's."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])
        await super().shutdown(sockets)
