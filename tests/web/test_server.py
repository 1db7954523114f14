"""The server process: signals start a drain, and the exit waits for it.

Tests of `acceptor` and `listening`, too.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time

import httpx
import pytest
from structlog.testing import capture_logs
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from tests.waiting import PATIENCE_S, until
from tests.web.rig import Running, free_socket, running
from voice_agent.errors import SettingsError
from voice_agent.runtime.ports import Transport
from voice_agent.web.listening import bind

HANDSHAKE = (
    b"GET /realtime HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


async def exited(server: Running) -> None:
    """Wait until the server has left by itself."""
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.shield(server.task)


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_without_calls_ends_the_server_at_once(which: signal.Signals) -> None:
    """Nothing to let go of: it leaves, by way of the drain, and the signal is not raised again."""
    async with running(drain_mode="finish", drain_deadline=600) as server:
        os.kill(os.getpid(), which)
        await exited(server)
        assert server.pod.drains == [("finish", 600)]


async def test_a_signal_drains_first_and_health_answers_meanwhile() -> None:
    """The call goes on, health says draining, and the exit comes when the call is gone."""
    async with running() as server:
        caller = await server.connect()
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: server.pod.draining)
        response = await server.http.get("/healthz/realtime")
        assert (response.status_code, response.json()["status"]) == (503, "draining")
        assert (await server.http.get("/healthz/live")).status_code == 200
        await caller.send("still here")
        assert await caller.recv() == "still here"
        assert not server.task.done()
        await caller.close()
        await exited(server)


async def test_a_second_signal_forces_the_exit() -> None:
    """Whoever is left is closed with 1012."""
    async with running() as server:
        caller = await server.connect()
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: server.pod.draining)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(ConnectionClosed):
            await caller.recv()
        assert caller.close_code == 1012
        await exited(server)


async def test_a_drain_under_way_is_not_started_again_by_the_signal() -> None:
    """The operator's mode and deadline stay; the signal only adds that the process leaves afterwards."""
    async with running() as server:
        caller = await server.connect()
        await server.http.post("/admin/drain", json={"mode": "finish", "deadline_s": 5})
        os.kill(os.getpid(), signal.SIGTERM)
        await caller.close()
        await exited(server)
        assert server.pod.drains == [("finish", 5)]


async def test_a_cancelled_drain_keeps_the_server() -> None:
    """After a cancel the pod serves on, and the next signal counts as a first one."""
    async with running() as server:
        caller = await server.connect()
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: server.pod.draining)
        assert (await server.http.delete("/admin/drain")).json()["cancelled"]
        await until(lambda: server.server._leaving is None)
        await caller.close()
        await server.pod.attachments[0].over.wait()
        assert (await server.http.get("/healthz/realtime")).status_code == 200
        os.kill(os.getpid(), signal.SIGTERM)
        await exited(server)
        assert len(server.pod.drains) == 2


async def test_a_drain_by_admin_keeps_the_process() -> None:
    """A drained pod goes on answering health checks with 503 until it is told to leave."""
    async with running() as server:
        await server.http.post("/admin/drain")
        await server.pod.wait_drained()
        for _ in range(3):
            assert (await server.http.get("/healthz/realtime")).status_code == 503


async def test_a_planned_close_reaches_a_caller_who_is_talking() -> None:
    """Audio that is still under way when the process leaves must not turn 1012 into a reset."""
    go = asyncio.Event()

    async def restart(transport: Transport) -> None:
        await go.wait()
        await transport.close(1012, "service restart")

    def talk(mute: socket.socket) -> bytes:
        """Send for a quarter of a second without reading, as a busy client does; then read."""
        frame = Frame(Opcode.TEXT, b"x" * 2000).serialize(mask=True)
        end_s = time.monotonic() + 0.25
        while time.monotonic() < end_s:
            mute.sendall(frame)
        return mute.recv(1000)

    async with running() as server:
        server.pod.script = restart
        with socket.create_connection(("127.0.0.1", server.port)) as mute:
            mute.sendall(HANDSHAKE)
            await until(lambda: server.pod.attachments)
            os.kill(os.getpid(), signal.SIGTERM)
            await until(lambda: server.pod.draining)
            go.set()
            answer = await asyncio.to_thread(talk, mute)
            assert b"\x03\xf4service restart" in answer
        await exited(server)


async def test_too_few_descriptors_for_the_calls_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start, in one line, and not when callers find no room."""
    monkeypatch.setattr("voice_agent.web.server.raise_limit", lambda: 1024)
    for max_calls, warnings in ((10, 0), (1000, 1)):
        with capture_logs() as logged:
            async with running(max_calls=max_calls):
                pass
        assert sum("file descriptors" in line["event"] for line in logged) == warnings


async def test_an_address_in_use_is_told_in_one_line() -> None:
    """With what to do, instead of a traceback at the first start on a busy machine."""
    with free_socket() as taken:
        taken.listen()
        port = taken.getsockname()[1]
        words = rf"^cannot listen on 127\.0\.0\.1 port {port}: Address already in use; try --port {port + 1}\.$"
        with pytest.raises(SettingsError, match=words):
            bind("127.0.0.1", port)


async def test_an_unknown_host_is_told_in_one_line() -> None:
    """A name that does not resolve is a wrong setting."""
    with pytest.raises(SettingsError, match="cannot listen on nowhere.invalid"):
        bind("nowhere.invalid", 8080)


async def test_the_socket_does_not_answer_before_the_server_is_ready() -> None:
    """A load balancer is refused, not kept waiting, while models load."""
    with free_socket() as bound:
        async with httpx.AsyncClient(trust_env=False) as http:
            with pytest.raises(httpx.ConnectError):
                await http.get(f"http://127.0.0.1:{bound.getsockname()[1]}/healthz/live")
