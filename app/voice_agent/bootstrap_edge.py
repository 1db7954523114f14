"""The composition root of an edge: makes its parts from the settings, once, and runs them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import httpx
import uvloop

from voice_agent import __version__
from voice_agent.edge.application import build_app
from voice_agent.edge.caller_socket import CallerSocket
from voice_agent.edge.dialing import Dialer
from voice_agent.edge.edge import Edge
from voice_agent.edge.plain_requests import PlainRequests
from voice_agent.edge.raw_transport import taken_from
from voice_agent.edge.upstreams import Upstreams
from voice_agent.edge_settings import EdgeSettings
from voice_agent.observe.edge_metrics import EdgeMetrics
from voice_agent.runtime.clock import SystemClock
from voice_agent.runtime.pod.collector import settle
from voice_agent.runtime.pod.loop_watch import LoopWatch
from voice_agent.web.addresses import CallerAddresses
from voice_agent.web.listening import bind
from voice_agent.web.served_socket import Connections, MakeSocket
from voice_agent.web.server import VoiceServer
from voice_agent.web.tls_transport import TlsTransport
from voice_agent.websocket.loop_scheduler import LoopScheduler, NextShare


@dataclass(frozen=True, slots=True)
class EdgeApplication:
    """What a running edge is made of."""

    edge: Edge
    server: VoiceServer
    """To be served."""
    metrics: EdgeMetrics


@asynccontextmanager
async def build(
    settings: EdgeSettings, *, on_started: Callable[[], None] = lambda: None
) -> AsyncIterator[EdgeApplication]:
    """An edge that looks after its calls and its pods for the length of a block."""
    metrics = EdgeMetrics()
    upstreams = Upstreams(Dialer(settings.to, direct=settings.direct))
    edge = Edge(
        settings.name,
        upstreams,
        metrics,
        version=__version__,
        capacity=settings.max_calls,
        patience_s=settings.patience,
        caller_bytes=settings.caller_bytes,
    )
    metrics.watch(
        calls=("Callers' connections that are held.", lambda: edge.status().active_calls),
        calls_away=("Calls that no pod serves right now.", lambda: edge.away),
        capacity_calls=("Connections that may be held before new ones are refused.", lambda: settings.max_calls),
        kept_bytes=("What callers sent that no store is known to have.", lambda: edge.kept_bytes),
        draining=("1 while nothing new is taken.", lambda: edge.draining),
        upstreams=("Addresses of pods that take calls.", lambda: sum(upstreams.answering.values())),
    )
    # A connection each: one that is kept may be of a pod that is just leaving, and what is asked then gets no answer.
    transport = httpx.AsyncHTTPTransport(
        verify=upstreams.dialer.tls, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
    )
    plain = PlainRequests(transport, upstreams.dialer, CallerAddresses(settings.trusted_proxies), metrics)
    server = VoiceServer(
        build_app(edge, metrics.page, plain),
        edge,
        settings,
        on_started=on_started,
        make_socket=make_socket(settings.max_message_bytes),
        descriptors_per_call=2,  # The caller's, and the pod's.
    )
    loop_watch = LoopWatch(
        SystemClock(),
        metrics,
        edge.admission,
        next_turn=NextShare(LoopScheduler.of(asyncio.get_running_loop())).wait,
        overload_lag_s=settings.overload_lag_ms / 1000,
    )
    tasks = [
        asyncio.create_task(upstreams.watch(), name="upstreams"),
        asyncio.create_task(edge.look_after(), name="look"),
        asyncio.create_task(loop_watch.run(), name="overload"),
    ]
    try:
        yield EdgeApplication(edge, server, metrics)
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await transport.aclose()


def serve(settings: EdgeSettings, *, on_started: Callable[[], None]) -> None:
    """Run an edge until a signal has drained it; `on_started` is called once it accepts callers."""
    listener = bind(settings.host, settings.port)

    async def run() -> None:
        async with build(settings, on_started=on_started) as parts:
            settle()
            await parts.server.serve(sockets=[listener])

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())
    finally:
        listener.close()


def make_socket(max_message_bytes: int) -> MakeSocket:
    """Makes callers' sockets, each on a transport whose queue is our own, as far as that can be."""

    def make(transport: asyncio.Transport, connections: Connections) -> CallerSocket:
        below = transport.below if isinstance(transport, TlsTransport) else transport
        try:
            raw = taken_from(asyncio.get_running_loop(), below)
        except OSError:
            raw = None  # No descriptor is left.
        if raw is not None and isinstance(transport, TlsTransport):
            transport.move_to(raw)
            raw = None
        return CallerSocket(raw or transport, connections, max_message_bytes=max_message_bytes)

    return make
