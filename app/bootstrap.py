"""The composition root: makes the parts of a pod from its settings, once, and runs them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog
import uvloop
from fastapi import FastAPI

from app import __version__
from app.agents.registry import load_agents
from app.observe.logs import configure_logs
from app.observe.metrics import Metrics
from app.runtime.clock import SystemClock
from app.runtime.ownership import CallSettings
from app.runtime.pod import Pod
from app.settings import Settings
from app.stores.base import Store
from app.stores.factory import open_store
from app.web.application import build_app
from app.web.server import VoiceServer, bind

AGREED_SECRET = "secret"  # noqa: S105  # its name in the store
SECRET_BYTES = 32

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a running pod is made of."""

    pod: Pod
    app: FastAPI
    metrics: Metrics
    store: Store


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[Parts]:
    """An open pod and its web application; all of it is closed at the end, last made first.

    Raises `SettingsError` for an unknown store or agent, `StoreError` if the store cannot be had.
    """
    store = make_store(settings)
    agents = load_agents(settings.agent, speech_workers=settings.speech_workers or None)
    metrics = Metrics(version=__version__, color=settings.color)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        await store.open()
        stack.push_async_callback(agents.close)
        await agents.open()
        secret = await find_secret(settings, store)
        pod = Pod(
            settings=call_settings(settings),
            version=__version__,
            secret=secret,
            capacity=settings.max_calls,
            calls_per_key=settings.max_calls_per_key,
            store=store,
            agents=agents,
            clock=SystemClock(),
            observer=metrics,
            tallies=metrics.tallies,
            agreed={} if settings.secret is not None else {AGREED_SECRET: secret},
        )
        metrics.watch(pod.status)
        stack.push_async_callback(pod.close)
        await pod.open()
        yield Parts(pod, build_app(pod, settings, metrics, secret), metrics, store)


def make_store(settings: Settings) -> Store:
    """The store of the settings, not opened yet."""
    return open_store(settings.store_url, ttl_s=settings.call_ttl)


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
    )


async def find_secret(settings: Settings, store: Store) -> bytes:
    """The key that signs resume tokens: from the settings, or one that the pods of a store agree on."""
    if settings.secret is not None:
        return settings.secret.get_secret_value().encode()
    return await store.agree(AGREED_SECRET, secrets.token_bytes(SECRET_BYTES))


def serve(settings: Settings, warnings: Iterable[str], *, on_started: Callable[[], None]) -> None:
    """Run a pod until a signal has drained it; `on_started` is called once it accepts calls."""
    configure_logs(form=settings.log_format, level=settings.log_level, pod=settings.pod, color=settings.color)
    for warning in warnings:
        log.warning(warning)
    listener = bind(settings.host, settings.port)

    async def run() -> None:
        async with build(settings) as parts:
            server = VoiceServer(parts.app, parts.pod, settings, on_started=on_started)
            await server.serve(sockets=[listener])

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())
    finally:
        listener.close()
