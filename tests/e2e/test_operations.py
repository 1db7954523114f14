"""What operators do, with the real commands on real pods."""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import os
import resource
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.e2e.pods import PodProcess, pods
from tests.forked import run
from tests.servers import free_port
from tests.waiting import PATIENCE_S, until
from tests.web.bench_refusals import cpu_s
from voice_agent.client.connection import RealtimeCall
from voice_agent.client.refusals import CallFailed

OPEN_FILES = 60
"""Descriptors of a pod that has nearly none left."""


MORE_THAN_A_PIPE = 20
"""Lines of four kilobytes. A pipe holds 64 KiB (pipe(7)), but its pages may stay half empty: only that no more goes in
tells that it is full."""


async def voice_agent(*arguments: str, **settings: str) -> tuple[int, Any]:
    """Run a command with `--json`; its exit status and what it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VOICE_")}
    done = await asyncio.to_thread(run, [*arguments, "--json"], kept | settings)
    return done.returncode, orjson.loads(done.stdout) if done.stdout else done.stderr


async def follow(call: RealtimeCall) -> None:
    """Stay on the line."""
    async for _ in call.events():
        pass


async def test_a_color_is_not_drained_into_nothing(redis_url: str) -> None:
    """Callers are sent to blue alone: its call stays, every answer says why, and green's weight lets it go."""
    store = {"VOICE_STORE_URL": redis_url}
    async with pods(redis_url) as its:
        blue, green = await asyncio.gather(its.start("blue"), its.start("green"))
        await its.route(blue=100, green=0)
        async with RealtimeCall(f"{blue.url}?resumable=1", model="echo") as call:
            call._url = f"{green.url}"
            staying = asyncio.create_task(follow(call))
            status, told = await voice_agent("drain", "--color", "blue", "--deadline", "60", **store)
            assert (status, "Give --yes" in told) == (2, True)
            assert (await blue.health())["status"] == "ok"
            status, told = await voice_agent("drain", "--color", "blue", "--yes", "--deadline", "60", **store)
            assert (status, told["ready_pods"], told["calls_not_resumable"]) == (0, [], 0)
            why = "callers are not sent to green, whose pods take calls: they are sent to blue"
            await blue.until_health(drain_waits=why)
            assert told["waits"] == why
            status, told = await voice_agent("drain", "--url", blue.http)
            assert (status, told["waits"], told["drained"]) == (0, why, False)
            assert (await blue.health())["active_calls"] == 1
            await its.route(blue=0, green=100)
            await until_color(call, "green")
            staying.cancel()
        assert (await blue.metrics())['voice_calls_dropped_total{cause="drain"}'] == 0


async def test_a_color_is_drained_and_taken_back_from_anywhere(redis_url: str) -> None:
    """`drain --color blue` moves its calls to green within a heartbeat; `--cancel` brings blue back."""
    store = {"VOICE_STORE_URL": redis_url}
    async with pods(redis_url) as its:
        blue, green = await asyncio.gather(its.start("blue"), its.start("green"))
        async with RealtimeCall(f"{blue.url}?resumable=1", model="echo") as call:
            call._url = f"{green.url}"
            staying = asyncio.create_task(follow(call))
            status, fleet = await voice_agent("fleet", **store)
            assert status == 0
            assert fleet["colors"]["blue"]["pods"] == fleet["colors"]["green"]["pods"] == 1
            await its.route(green=100)
            status, told = await voice_agent("drain", "--color", "blue", "--wait", "--deadline", "20", **store)
            assert status == 0, told
            assert told["drained"] is True
            await until_color(call, "green")
            assert (await blue.health())["status"] == "draining"
            assert (await green.health())["active_calls"] == 1
            status, told = await voice_agent("drain", "--color", "blue", "--cancel", **store)
            assert (status, told["cancelled"]) == (0, True)
            await blue.until_health(status="ok")
            staying.cancel()
        metrics = await green.metrics()
        assert metrics['voice_resumes_total{kind="handoff"}'] == 1
        assert metrics["voice_resume_gap_seconds_count"] == 1


async def until_color(call: RealtimeCall, color: str) -> None:
    """Wait until a pod of that color serves the call."""
    await until(lambda: call.color == color)


async def test_a_call_can_be_read_and_ended_from_outside(redis_url: str) -> None:
    """The record holds the transcript; DELETE ends the call with 4410 for its caller."""
    async with pods(redis_url) as its:
        pod: PodProcess = await its.start()
        async with httpx.AsyncClient(base_url=pod.http) as admin, RealtimeCall(pod.url, model="echo") as call:
            item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "remember me"}]}
            await call.send({"type": "conversation.item.create", "item": item})
            async for event in call.events():
                if event["type"] == "conversation.item.done":
                    break
            [line] = (await admin.get("/admin/calls")).json()["calls"]
            assert (line["id"], line["call_id"], line["status"]) == (call.call_id, call.call_id, "attached")
            record = (await admin.get(f"/admin/calls/{call.call_id}")).json()
            assert record["transcript"][0]["text"] == "remember me"
            assert record["id"] == record["call_id"] == call.call_id
            assert (await admin.delete(f"/admin/calls/{call.call_id}")).status_code in (200, 202, 204)
            with pytest.raises(CallFailed, match="4410"):
                await follow(call)
            record = (await admin.get(f"/admin/calls/{call.call_id}")).json()
            assert (record["status"], record["outcome"]) == ("ended", "admin")


async def test_a_pod_without_descriptors_serves_on_once_it_has_some() -> None:
    """Connections beyond them are closed at once: no accept fails for good, and none is tried again and again."""
    async with pods("memory://") as its:
        pod = await its.start(agent="echo")  # It opens nothing more by itself.
        _, hard = resource.prlimit(pod.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pod.process.pid, resource.RLIMIT_NOFILE, (OPEN_FILES, hard))
        silent = [await asyncio.open_connection("127.0.0.1", pod.port) for _ in range(2 * OPEN_FILES)]
        ended = [asyncio.create_task(reader.read()) for reader, _ in silent]
        await until(lambda: sum(task.done() for task in ended) >= OPEN_FILES)
        began_s, used_s = time.monotonic(), cpu_s(pod)
        await asyncio.sleep(1)  # Nothing is waited for: this is how long a loop that spins is watched.
        assert cpu_s(pod) - used_s < 0.5 * (time.monotonic() - began_s)
        for task in ended:
            task.cancel()
        for _, writer in silent:
            writer.close()
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    assert (await pod.health())["status"] == "ok"
                    break
                await asyncio.sleep(0.05)


async def test_a_pod_whose_log_nobody_reads_serves_on() -> None:
    """However full the pipe is: health and calls are answered, and a signal ends the process."""
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VOICE_")}
    serve = [sys.executable, "-m", "voice_agent", "serve", "--store", "memory://", "--port", str(port)]
    with subprocess.Popen(serve, env=kept, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        pod = PodProcess(process, port, "blue", Path())
        try:
            async with asyncio.timeout(PATIENCE_S), httpx.AsyncClient() as http:
                while True:
                    with contextlib.suppress(httpx.HTTPError):
                        await pod.health()
                        break
                    await asyncio.sleep(0.02)
                async with RealtimeCall(pod.url, model="echo") as call:
                    unread = -1
                    while unread != unread_bytes(process):
                        unread = unread_bytes(process)
                        for _ in range(MORE_THAN_A_PIPE):
                            await refused(port, "x" * 4000)
                    assert (await http.get(f"{pod.http}/healthz/live")).status_code == 200
                    await call.send({"type": "input_audio_buffer.clear"})
                    async for event in call.events():
                        if event["type"] == "input_audio_buffer.cleared":
                            break
                pod.terminate()
                assert await pod.exit_status() == 0
        finally:
            process.kill()


def unread_bytes(process: subprocess.Popen[bytes]) -> int:
    """What stands in the pipe of a process' output."""
    assert process.stdout is not None
    return int(array.array("i", fcntl.ioctl(process.stdout, termios.FIONREAD, bytes(4)))[0])


async def refused(port: int, name: str) -> None:
    """Ask for a call that does not exist, which is a line in the log as long as its name."""
    head = f"GET /realtime/{name} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write((head + key).encode())
    assert await reader.readline()
    writer.close()
    await writer.wait_closed()
