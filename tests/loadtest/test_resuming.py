"""The caller finds whatever a server does wrong, and nothing in one that does right."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from time import perf_counter
from typing import Any

import orjson
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from loadtest.resuming import Findings, ResumingCaller
from tests.waiting import PATIENCE_S

FRAMES = 30
Mischief = Callable[[list[bytes]], list[bytes]]


class Echoer:
    """A server of one call: it keeps all events, and sends those of the first connection after some mischief."""

    def __init__(self, mischief: Mischief, cut_after: int | None = None) -> None:
        self.mischief = mischief
        self.cut_after = cut_after
        """Close the first connection with 1012 after so many frames."""
        self.events: list[bytes] = []
        self.connections = 0
        self.resumed_from: list[str] = []

    async def __call__(self, socket: ServerConnection) -> None:
        self.connections += 1
        assert socket.request is not None
        query = dict(pair.split("=") for pair in socket.request.path.partition("?")[2].split("&"))
        last = int(query.get("last_event_id", "evt_0").removeprefix("evt_"))
        if "call_id" in query:
            self.resumed_from.append(query["last_event_id"])
        call = {"id": "call_x", "resume_token": "t", "gap": None, "input_audio_ms": 20 * len(self.events)}
        greeting = {"event_id": f"evt_{last}", "type": "session.created", "session": {"call": call}}
        await socket.send(orjson.dumps(greeting).decode())
        for event in self.events[last:]:
            await socket.send(event.decode())
        with suppress(ConnectionClosed):
            await self._echo(socket)

    async def _echo(self, socket: ServerConnection) -> None:
        batch: list[bytes] = []
        async for message in socket:
            event = {
                "event_id": f"evt_{len(self.events) + 1}",
                "type": "response.output_audio.delta",
                "delta": orjson.loads(message)["audio"],
            }
            self.events.append(orjson.dumps(event))
            batch.append(self.events[-1])
            if self.connections == 1 and len(self.events) == self.cut_after:
                await socket.close(1012)
                return
            if len(batch) == FRAMES:
                for made in self.mischief(batch):
                    await socket.send(made.decode())
                batch = []
            elif self.connections > 1:
                await socket.send(batch.pop().decode())


@asynccontextmanager
async def calling(server: Echoer) -> AsyncIterator[tuple[ResumingCaller, Findings]]:
    """A caller who said `FRAMES` frames and has heard what the server sent."""
    listen = serve(server, "127.0.0.1", 0, compression=None, close_timeout=0.1)
    async with listen as listening, asyncio.timeout(PATIENCE_S):
        host, port = listening.sockets[0].getsockname()[:2]
        findings = Findings()
        caller = ResumingCaller([(host, port)], {}, findings)
        await caller.start()
        for _ in range(FRAMES):
            caller.say(perf_counter())
        yield caller, findings
        caller.hang_up()


async def heard(findings: Findings, frames: int) -> None:
    """Wait until so many frames came."""
    while findings.frames < frames:
        await asyncio.sleep(0.005)


async def test_a_server_that_does_right_is_found_to() -> None:
    """Every frame counted, with its latency, and no fault."""
    async with calling(Echoer(lambda batch: batch)) as (caller, findings):
        await heard(findings, FRAMES)
        assert findings.faults == {}
        assert (findings.events, findings.echo.count, caller.has_pending) == (FRAMES, FRAMES, 0)


def swapped(batch: list[bytes]) -> list[bytes]:
    """Audio of two events exchanged, their numbers in order."""
    first, second = (orjson.loads(event) for event in batch[3:5])
    first["delta"], second["delta"] = second["delta"], first["delta"]
    return [*batch[:3], orjson.dumps(first), orjson.dumps(second), *batch[5:]]


@pytest.mark.parametrize(
    ("mischief", "fault", "frames"),
    [
        (lambda batch: [*batch[:3], *batch[4:]], "lost", FRAMES - 1),
        (lambda batch: [*batch, batch[7]], "repeated", FRAMES),
        (swapped, "wrong", FRAMES),
        (lambda batch: [batch[0].replace(b'"delta":"', b'"delta":"A'), *batch[1:]], "wrong", FRAMES),
    ],
    ids=["lost", "repeated", "swapped", "damaged"],
)
async def test_each_fault_is_found(mischief: Mischief, fault: str, frames: int) -> None:
    """Under its own name."""
    async with calling(Echoer(mischief)) as (_, findings):
        await heard(findings, frames)
        while fault not in findings.faults:
            await asyncio.sleep(0.005)


async def test_a_lost_connection_is_resumed_and_what_was_missing_is_said_again() -> None:
    """From `input_audio_ms` on, after the replay of what came while he was away; nothing lost, nothing twice."""
    server = Echoer(lambda batch: batch, cut_after=10)
    async with calling(server) as (caller, findings):
        await heard(findings, FRAMES)
        assert findings.faults == {}
        assert (findings.resumes, findings.codes, caller.has_pending) == (1, {1012: 1}, 0)
        assert server.resumed_from == ["evt_0"]
        assert findings.first_event.count == findings.greeting.count == 1


async def test_a_call_that_nobody_takes_up_again_is_dropped() -> None:
    """After `gives_up_after_s`."""
    server = Echoer(lambda batch: batch)
    async with calling(server) as (caller, findings):
        caller.gives_up_after_s = 0.2
        caller.addresses = [("127.0.0.1", 1)]
        caller.drop()
        while not findings.dropped:
            await asyncio.sleep(0.01)
        assert findings.faults["dropped"] == 1


def test_faults_are_named() -> None:
    """What must not be, and nothing else."""
    assert Findings(calls=3, lost=2).faults == {"lost": 2}


async def test_a_refusal_says_which() -> None:
    """A server that takes no calls is no call."""

    async def refuse(connection: Any, request: Any) -> Any:
        return connection.respond(503, "full")

    async with serve(lambda socket: asyncio.sleep(0), "127.0.0.1", 0, process_request=refuse) as listening:
        host, port = listening.sockets[0].getsockname()[:2]
        with pytest.raises(OSError, match="503"):
            await ResumingCaller([(host, port)], {}, Findings()).start()
