"""What goes out to one caller leaves the event loop to the others; what waits to be read is charged."""

from __future__ import annotations

import asyncio

import pytest

from app.call.changes import OutboxEntry
from app.runtime.connection import EVENT_COST_BYTES, MAX_PUSHED, SENT_IN_TURN_BYTES, Connection
from app.runtime.ports import StartCall, Transport
from tests.runtime.rig import CountingObserver, rig

HEAD = b'{"type":"x"}'


class EagerTransport(Transport):
    """Takes everything at once."""

    def __init__(self) -> None:
        self.sent = 0

    def write(self, text: bytes) -> bool:
        self.sent += 1
        return True

    async def send(self, text: bytes) -> None:
        self.write(text)

    async def receive(self) -> str | bytes | int:
        raise AssertionError

    async def close(self, code: int, reason: str) -> None:
        """Nothing is left to do."""


def entries(count: int, audio: bytes) -> list[OutboxEntry]:
    return [OutboxEntry(n, HEAD, audio) for n in range(1, count + 1)]


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize("audio", [b"", bytes(4800)])
async def test_a_long_replay_lets_others_have_their_turn(audio: bytes, is_open: bool) -> None:
    """Whether it waited for the connection or was committed at once, and however fast the caller reads."""
    transport = EagerTransport()
    connection = Connection(CountingObserver(), going_away=False, resumable=True)
    count = 2000
    if not is_open:
        connection.push(entries(count, audio))
    running = asyncio.create_task(connection.run(transport, b"{}"))
    await asyncio.sleep(0)
    if is_open:
        connection.push(entries(count, audio))
        assert transport.sent == 1
    most = SENT_IN_TURN_BYTES // (EVENT_COST_BYTES + len(HEAD) + len(audio)) + 1
    while transport.sent <= count:
        before = transport.sent
        await asyncio.sleep(0)
        assert transport.sent - before <= most
    connection.close(1000)
    await running


async def test_a_few_events_go_out_where_they_become_durable() -> None:
    """Without a switch of tasks."""
    transport = EagerTransport()
    connection = Connection(CountingObserver(), going_away=False, resumable=True)
    running = asyncio.create_task(connection.run(transport, b"{}"))
    await asyncio.sleep(0)
    connection.push(entries(MAX_PUSHED, b""))
    assert transport.sent == 1 + MAX_PUSHED
    connection.close(1000)
    await running


async def test_what_waits_to_be_read_is_charged_to_the_caller() -> None:
    """Too much is refused with a reason that names the limit, and counted; what is held is given back at the end."""
    async with rig() as its:
        pod = await its.pod()
        attachment = await pod.start(StartCall(model="scripted", api_key_hash="key"))
        before_bytes = pod.budget.used_by("key")
        assert attachment.hold(1_000_000) is None
        assert pod.budget.used_by("key") == before_bytes + 1_000_000
        refusal = attachment.hold(pod.budget.limit_bytes)
        assert refusal is not None
        assert refusal.startswith("incomplete_messages:")
        assert str(pod.budget.key_bytes) in refusal
        assert isinstance(pod.observer, CountingObserver)
        assert pod.observer.counts["limit_reached", "incomplete_messages"] == 1
        await attachment.abandon()
        assert pod.budget.used_by("key") == before_bytes
