"""The composition root: makes the parts of a pod from its settings, once, and runs them."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

import structlog
import uvloop

from voice_agent import __version__
from voice_agent.agents.loading import FRONTDESK, default_agent
from voice_agent.bootstrap_agents import PodAgents, make_agents
from voice_agent.bootstrap_reloading import reloading
from voice_agent.call.schema import READS_SCHEMAS
from voice_agent.errors import SettingsError, StoreRefused
from voice_agent.extras import DEMO, missing_extra
from voice_agent.host.deletion_cost import DeletionCost, kept_told
from voice_agent.observe.metrics import Metrics
from voice_agent.observe.registry import MetricRegistry
from voice_agent.runtime.clock import SteadyClock, SystemClock
from voice_agent.runtime.engine.agent_steps import StuckSteps
from voice_agent.runtime.pod.allocator import give_back_large_blocks
from voice_agent.runtime.pod.collector import settle
from voice_agent.runtime.pod.naming import OwnName
from voice_agent.runtime.pod.options import CallSettings, PodLimits, PodPorts
from voice_agent.runtime.pod.pod import Pod
from voice_agent.runtime.recordings import NoRecordings, RecordingFolder, Recordings
from voice_agent.settings import Settings
from voice_agent.stores.base import AGREED_SCHEMA, Store
from voice_agent.stores.factory import open_store
from voice_agent.stores.layout import check_layout
from voice_agent.web.listening import bind
from voice_agent.web.ports import CallPod, MetricsPage

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from voice_agent.web.server import VoiceServer

AGREED_SECRET = "secret"  # noqa: S105  # its name in the store
SECRET_BYTES = 32
INSTANCE_BYTES = 16
"""What tells one process from all others."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Application:
    """What a running pod is made of."""

    pod: Pod
    app: ASGIApp
    agents: PodAgents
    metrics: Metrics
    store: Store


class WebView(NamedTuple):
    """What the web application shows: a pod by itself, or one that speaks for all workers of a host."""

    pod: CallPod
    metrics: MetricsPage


@asynccontextmanager
async def build(
    settings: Settings, show: Callable[[Pod, MetricRegistry], WebView] = WebView, *, own_name: bool = False
) -> AsyncIterator[Application]:
    """An open pod and its web application; all of it is closed at the end, last made first.

    `own_name`: choose another name if a pod of the store has the one that is set. `show` makes what the application
    shows. Raises `SettingsError` for an unknown store or agent, `StoreError` if the store cannot be had.
    """
    store = make_store(settings)
    agents = named_agents(settings)
    metrics = Metrics(version=__version__, color=settings.color)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        # The embedded store's server starts on another core while this one imports.
        await asyncio.gather(store.open(), asyncio.to_thread(import_module, "voice_agent.web.server"))
        await check_layout(store, begins=True)
        from voice_agent.web.access import revoked
        from voice_agent.web.application import build_app
        from voice_agent.websocket.loop_scheduler import LoopScheduler, NextShare

        secret = await find_secret(settings, store)
        stuck = StuckSteps()
        stack.callback(stuck.stop)
        stuck.start()
        stack.push_async_callback(agents.close)
        await agents.open()
        metrics.registry.watch_providers(agents.healths)
        if own_name:
            # Last of all: until the first heartbeat shows it, a name is kept for seconds only.
            name = OwnName(store, secrets.token_bytes(INSTANCE_BYTES), secrets.token_bytes, SystemClock())
            settings = settings.model_copy(update={"pod": await name.choose(settings.pod)})
            stack.push_async_callback(name.give_back)
        recordings = make_recordings(settings, store, metrics)
        if isinstance(recordings, RecordingFolder):
            stack.push_async_callback(asyncio.to_thread, recordings.close)
        pod = Pod(
            settings=call_settings(settings),
            limits=pod_limits(settings),
            ports=PodPorts(
                store=store,
                agents=agents.registry,
                clock=SteadyClock(),
                observer=metrics,
                counters=metrics.counters,
                recordings=recordings,
                next_turn=NextShare(LoopScheduler.of(asyncio.get_running_loop())).wait,
            ),
            version=__version__,
            secret=secret,
            revoked=revoked(settings),
            agreed=agreed_values(settings, secret),
        )
        metrics.registry.watch(pod.status, pod.view.calls_not_resumable)
        stack.push_async_callback(pod.close)
        await pod.open()
        if settings.reload:
            await stack.enter_async_context(reloading(agents, pod.owned, SystemClock()))
        view = show(pod, metrics.registry)
        if settings.pod_deletion_cost:
            cost = DeletionCost(
                settings.pod_deletion_cost,
                lambda: view.pod.status().active_calls,
                SystemClock(),
                metrics.deletion_cost_failed,
            )
            await stack.enter_async_context(kept_told(cost))
        yield Application(pod, build_app(view.pod, settings, view.metrics, secret), agents, metrics, store)


def named_agents(settings: Settings) -> PodAgents:
    """The agents of the settings, not opened yet; what an operator should know of them is logged."""
    if not settings.agent and (missing := missing_extra(DEMO)) is not None:
        log.warning("the demonstration is not installed", agent=default_agent(), missing=f"{FRONTDESK} {missing}")
    agents, warnings = make_agents(settings)
    for warning in warnings:
        log.warning(warning)
    return agents


def make_store(settings: Settings) -> Store:
    """The store of the settings, not opened yet."""
    return open_store(
        settings.store_url,
        ttl_s=settings.call_ttl,
        retention_s=settings.retention,
        key_prefix=settings.key_prefix,
    )


def make_recordings(settings: Settings, store: Store, metrics: Metrics) -> Recordings:
    """Where inputs are recorded, if they are. Raises `SettingsError` for a folder that cannot be used."""
    folder = settings.record_inputs
    if folder is None:
        return NoRecordings()
    log.warning("all that happens to calls is recorded, what is said included", folder=str(folder))
    try:
        return RecordingFolder(
            folder, SystemClock(), metrics, version=__version__, pod=settings.pod, kept_s=store.retention_s
        )
    except OSError as error:
        raise SettingsError(f"VOICE_RECORD_INPUTS: {folder} cannot be used: {error.strerror}.") from error


def call_settings(settings: Settings) -> CallSettings:
    """What the calls of the pod have in common."""
    return CallSettings(
        pod=settings.pod,
        color=settings.color,
        ttl_s=settings.call_ttl,
        resume_window_s=settings.resume_window,
        max_call_s=settings.max_call_seconds,
        idle_timeout_s=settings.idle_timeout,
        checkpoint_ms=settings.input_checkpoint_ms,
        outbox_bytes=settings.outbox_bytes,
        address=settings.advertised,
        node=settings.node,
    )


def pod_limits(settings: Settings) -> PodLimits:
    """How much the pod takes. With API keys none of them may hold more than half of what all callers may."""
    return PodLimits(
        capacity=settings.max_calls,
        caller_bytes=settings.caller_bytes,
        key_bytes=settings.caller_bytes // 2 if settings.api_keys else 0,
        calls_per_key=settings.max_calls_per_key,
        overload_lag_s=settings.overload_lag_ms / 1000,
    )


async def find_secret(settings: Settings, store: Store) -> bytes:
    """The key that signs resume tokens: from the settings, or one that the pods of a store agree on.

    Raises `StoreRefused` for one that is too short to be ours: anybody could guess tokens.
    """
    if settings.secret is not None:
        return settings.secret.get_secret_value().encode()
    agreed = await store.get_or_set(AGREED_SECRET, secrets.token_bytes(SECRET_BYTES))
    if len(agreed) < SECRET_BYTES:
        raise StoreRefused(
            f"the secret that the pods agreed on in the store has {len(agreed)} bytes instead of {SECRET_BYTES}: "
            f"delete voice:agreed:{AGREED_SECRET} there, or set VOICE_SECRET"
        )
    return agreed


def agreed_values(settings: Settings, secret: bytes) -> dict[str, bytes]:
    """What the pods of a store agreed on: the schema first, for without it a store is one of the time before."""
    schema = {AGREED_SCHEMA: b"%d" % READS_SCHEMAS[0]}
    return schema if settings.secret is not None else {**schema, AGREED_SECRET: secret}


def serve(settings: Settings, *, on_started: Callable[[], None]) -> None:
    """Run a pod until a signal has drained it; `on_started` is called once it accepts calls."""
    listener = bind(settings.host, settings.port)
    give_back_large_blocks()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run_pod(settings, listener, on_started))
    finally:
        listener.close()


async def run_pod(settings: Settings, listener: socket.socket, on_started: Callable[[], None]) -> None:
    """Serve until drained. Raises what keeps an agent from getting ready."""
    async with build(settings, own_name=True) as parts:
        from voice_agent.web.server import VoiceServer

        server = VoiceServer(parts.app, parts.pod, settings, on_started=on_started)
        await serve_while_preparing(server, parts.agents, [listener])


async def serve_while_preparing(server: VoiceServer, agents: PodAgents, sockets: list[socket.socket]) -> None:
    """Serve until drained. Raises what keeps an agent from getting ready, after the calls were closed with 1012."""
    preparing = asyncio.create_task(prepare(agents), name="prepare")

    def leave_if_it_failed(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            server.should_exit = True

    preparing.add_done_callback(leave_if_it_failed)
    await server.serve(sockets=sockets)
    if not preparing.done():
        preparing.cancel()
    with suppress(asyncio.CancelledError):
        await preparing


async def prepare(agents: PodAgents) -> None:
    """What need not be done before the first health check is answered, so that the first call finds it done."""
    await agents.ready()
    settle()
