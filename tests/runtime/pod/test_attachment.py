"""One connection to one call: what it takes, and what it leaves when it ends."""

from __future__ import annotations

import asyncio
from unittest.mock import patch

import orjson
import pytest

from tests.runtime.calls.test_long_messages import append, driven_call, offer
from tests.runtime.faulty import FaultyStore
from tests.runtime.rig import TYPED, MemoryTransport, rig
from tests.waiting import PATIENCE_S, until
from voice_agent.call.status import Status
from voice_agent.runtime.ports import StartCall

MIB = 1024 * 1024
MESSAGE = orjson.dumps(TYPED).decode()
TURNS = 20
"""Of the event loop: more than anything takes that waits for nothing."""


async def turns() -> None:
    """Let everybody have some."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def test_a_fault_before_the_greeting_parks_the_call() -> None:
    """The caller is told to come back, and the place is free."""
    async with rig() as its:
        pod = await its.pod()
        attachment = await pod.start(StartCall("scripted", "key"))
        transport = MemoryTransport()
        with patch.object(pod.connector.greeter, "greet", side_effect=RuntimeError("a fault of ours")):
            await attachment.serve(transport)
        assert transport.closed is not None
        assert transport.closed[0] == 1011
        assert (pod.admission.active, pod.view.parked_calls) == (0, 1)


class ClingingTransport(MemoryTransport):
    """Its second message takes until the test lets it end, though it is cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.is_cancelled = asyncio.Event()
        self.may_end = asyncio.Event()

    async def send(self, text: bytes) -> None:
        await super().send(text)
        if len(self.events) == 2:
            try:
                await asyncio.Event().wait()
            finally:
                self.is_cancelled.set()
                await self.may_end.wait()


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_a_place_is_given_back_once_nothing_is_sent_any_more(is_cancelled: bool) -> None:
    """Also if the task of the connection is cancelled while it waits for that."""
    async with rig() as its:
        pod = await its.pod()
        attachment = await pod.start(StartCall("scripted", "key", resumable=True))
        live = pod.owned.by_id[attachment.call_id]
        transport = ClingingTransport()
        serving = asyncio.create_task(attachment.serve(transport))
        transport.say(TYPED)
        await transport.until(lambda it: len(it.events) == 2)
        assert attachment.reserve(MIB) is None
        transport.drop()
        await transport.is_cancelled.wait()
        for _ in range(3):
            await pod.committer.flush(live.writer)
        assert (pod.admission.active, serving.done()) == (1, False)
        if is_cancelled:
            serving.cancel()
        transport.may_end.set()
        await asyncio.gather(serving, return_exceptions=True)
        assert (pod.admission.active, pod.view.parked_calls) == (0, 1)
        live.memory.update()
        assert pod.owned.budget.used_by("key") == live.memory.held_bytes


async def test_a_connection_has_ended_once_the_store_knows_that_its_call_is_parked() -> None:
    """Whoever comes back then, to whichever pod, comes back after a drop and not after a crash."""
    store = FaultyStore()
    async with rig(store) as its:
        pod = await its.pod()
        caller = await its.start(pod, resumable=True)
        await caller.greeting()
        live = pod.owned.by_id[caller.call_id]
        await pod.committer.flush(live.writer)
        store.gate.clear()
        caller.transport.drop()
        await until(lambda: live.call.lifecycle.status is Status.PARKED)
        await turns()
        assert not caller.task.done()
        store.gate.set()
        await caller.task
        held = await store.load(caller.call_id)
        assert held is not None
        assert held.fields["status"] == b"parked"


async def test_a_caller_who_says_more_than_the_store_takes_waits_and_loses_nothing() -> None:
    """Not before much is waiting, and only until it is written."""
    store = FaultyStore()
    async with rig(store) as its:
        pod = await its.pod()
        caller = await driven_call(pod)
        await pod.committer.flush(caller.live.writer)
        assert not caller.live.activity.has_sent
        store.gate.clear()
        assert caller.attachment.take(MESSAGE)
        await until(lambda: not caller.live.call.outbox.unsaved)  # That is being written, and what comes now waits.
        taken = 1
        while caller.attachment.take(MESSAGE):
            taken += 1
            assert taken < 1000
        assert taken > 50
        assert caller.live.activity.has_sent
        assert len(caller.live.call.conversation) == taken
        ready = asyncio.create_task(caller.attachment.ready())
        await turns()
        assert not ready.done()
        store.gate.set()
        async with asyncio.timeout(PATIENCE_S):
            await ready
        assert caller.attachment.take(MESSAGE)
        assert len(caller.live.call.conversation) == taken + 1
        await caller.attachment.abandon()


async def test_nothing_is_taken_while_a_handoff_is_decided_or_once_the_connection_is_to_be_closed() -> None:
    """In the first case it waits, in the second it is sent again to the next owner."""
    async with rig() as its:
        pod = await its.pod()
        caller = await driven_call(pod)
        connection = caller.live.connection
        assert connection is not None
        connection.pause_reading()
        assert not caller.attachment.take(MESSAGE)
        ready = asyncio.create_task(caller.attachment.ready())
        await turns()
        assert not ready.done()
        connection.resume_reading()
        await ready
        assert caller.attachment.take(MESSAGE)
        connection.close(1012)
        caller.live.activity.has_sent = False
        assert caller.attachment.take(MESSAGE)
        assert len(caller.live.call.conversation) == 1
        assert not caller.live.activity.has_sent
        await caller.attachment.abandon()
        assert caller.live.call.lifecycle.handed_off


async def test_a_long_message_leaves_others_a_turn_between_its_slices() -> None:
    """One, and no more than that: it does not wait for a time."""
    async with rig() as its:
        pod = await its.pod()
        caller = await driven_call(pod)
        passed = 0
        is_over = False

        def tick() -> None:
            nonlocal passed
            passed += 1
            if not is_over:
                asyncio.get_running_loop().call_soon(tick)

        tick()
        slices = await offer(caller.attachment, append(bytes(2 * MIB)))
        is_over = True
        assert slices > 3
        assert slices <= passed <= 10 * slices
        await offer(caller.attachment, append(bytes(MIB)))
        assert caller.live.call.input_audio.position == 3 * MIB
        await caller.attachment.abandon()
