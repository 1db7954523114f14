"""The composition root of a process that was told to serve: one pod in itself, or workers that it watches over."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from secrets import token_bytes
from typing import TYPE_CHECKING

import structlog
import uvloop

from voice_agent import bootstrap
from voice_agent.bootstrap_agents import make_agents
from voice_agent.errors import SettingsError
from voice_agent.host.pod import HostPod, worker_name
from voice_agent.host.supervisor import Supervisor
from voice_agent.host.worker_ipc import WorkerIpc
from voice_agent.host.worker_table import LOOK_S, HostDrain, WorkerState, WorkerTable
from voice_agent.observe.logs import configure_logs
from voice_agent.observe.merging import merge
from voice_agent.runtime.clock import SystemClock
from voice_agent.runtime.pod.allocator import give_back_large_blocks
from voice_agent.runtime.pod.naming import OwnName
from voice_agent.settings import Settings
from voice_agent.stores.layout import check_layout
from voice_agent.web.listening import bind_shared

if TYPE_CHECKING:
    import socket

    from voice_agent.observe.registry import MetricRegistry
    from voice_agent.runtime.pod.pod import Pod

STORE_STOP_S = 5.0

log = structlog.get_logger(__name__)


def serve(settings: Settings, warnings: Iterable[str], *, on_started: Callable[[], None]) -> int:
    """Run a pod, or several, until a signal has drained them; the exit status.

    `on_started` is called once calls are accepted. Raises `SettingsError` and whatever keeps the pod from starting.
    """
    workers = settings.workers or cores()
    configure_logs(
        form=settings.log_format,
        level=settings.log_level,
        pod=settings.pod,
        color=settings.color,
        forks=workers > 1,
        is_development=settings.reload,
    )
    for warning in warnings:
        log.warning(warning)
    if workers == 1:
        bootstrap.serve(settings, on_started=on_started)
        return 0
    return Host(settings, workers).run(on_started)


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Host:
    """Several workers on one port."""

    def __init__(self, settings: Settings, workers: int) -> None:
        self._settings = settings
        self._table = WorkerTable(workers)
        self._sockets: list[socket.socket] = []
        self._directory = Path()

    def run(self, on_started: Callable[[], None]) -> int:
        """Run the workers until the last has left; the exit status. What is wrong with the settings is raised here."""
        settings, workers = self._settings, self._table.workers
        if settings.store_url.lower().startswith("memory:"):
            raise SettingsError(
                f"VOICE_WORKERS: {workers} workers cannot share memory://, which is inside one process; "
                "take embedded://, a Redis, or 1 worker."
            )
        bootstrap.make_store(settings)
        make_agents(settings)
        self._sockets = bind_shared(settings.host, settings.port, workers)
        # Before the workers are forked, so that they share the modules' memory and start at once.
        import_module("voice_agent.web.application")
        import_module("voice_agent.web.acceptor")
        drain = HostDrain(settings.drain_mode, settings.drain_deadline)
        with store_for_all(settings), tempfile.TemporaryDirectory(prefix="voice-agent-") as directory:
            self._directory = Path(directory)
            self._settings = settings.model_copy(update={"pod": asyncio.run(self._own_name())})
            return Supervisor(self._table, self._work, drain, SystemClock()).run(on_started)

    async def _own_name(self) -> str:
        """The host's name, or another one if pods of the store are called as its workers would be."""
        store = bootstrap.make_store(self._settings)
        slots = range(self._table.workers)
        try:
            await store.open()
            await check_layout(store, begins=True)
            own = OwnName(store, token_bytes(bootstrap.INSTANCE_BYTES), token_bytes, SystemClock())
            return await own.choose(self._settings.pod, lambda name: [worker_name(name, slot) for slot in slots])
        finally:
            await store.close()

    def _work(self, slot: int) -> None:
        """What a worker does in its own process."""
        settings = self._settings
        name = worker_name(settings.pod, slot)
        configure_logs(
            form=settings.log_format,
            level=settings.log_level,
            pod=name,
            color=settings.color,
            is_development=settings.reload,
        )
        speech_workers = settings.speech_workers or max(1, min(2, cores() // self._table.workers))
        # One of them tells how many calls all have.
        tells = settings.pod_deletion_cost if slot == 0 else ""
        mine = settings.model_copy(update={"pod": name, "speech_workers": speech_workers, "pod_deletion_cost": tells})
        give_back_large_blocks()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve(mine, slot))

    async def _serve(self, settings: Settings, slot: int) -> None:
        from voice_agent.web.acceptor import Acceptor, WorkerServer

        table, clock = self._table, SystemClock()
        ipc = WorkerIpc(self._directory, slot, table.workers)
        shown: list[HostPod] = []

        def show(pod: Pod, registry: MetricRegistry) -> bootstrap.WebView:
            host = HostPod(
                pod,
                name=self._settings.pod,
                slot=slot,
                table=table,
                ipc=ipc,
                page=registry.page,
                merge=merge,
            )
            shown.append(host)
            return bootstrap.WebView(host, host)

        async with bootstrap.build(settings, show) as parts:
            (host,) = shown
            keeping: list[asyncio.Task[None]] = []

            def started() -> None:
                keeping.append(asyncio.create_task(host.keep_table(), name="table"))

            server = WorkerServer(parts.app, parts.pod, settings, on_started=started)
            server.configure(Acceptor(server, self._sockets, host.queues, host.leave_table), clock, LOOK_S)
            try:
                async with ipc.answering(host.answer):
                    await bootstrap.serve_while_preparing(server, parts.agents, [])
            finally:
                for task in keeping:
                    task.cancel()
                table.write(slot, WorkerState())


@contextmanager
def store_for_all(settings: Settings) -> Iterator[None]:
    """The embedded store's server as a child of this process for the length of a block: no worker takes it along."""
    server: subprocess.Popen[bytes] | None = None
    if settings.store_url.lower().startswith("embedded:"):
        from voice_agent.stores.embedded import EmbeddedStore

        server = EmbeddedStore(settings.store_url, ttl_s=settings.call_ttl).start_server()
    try:
        yield
    finally:
        if server is not None:
            server.terminate()
            try:
                server.wait(STORE_STOP_S)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
