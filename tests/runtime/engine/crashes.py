"""What a caller gets of a call whose pod is gone after each of its writes, and which goes on elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.call.calls import CALL_ID
from tests.runtime.alone import Alone, alone
from tests.waiting import until
from voice_agent.call import beginnings
from voice_agent.call.changes import OutboxEntry, Snapshot
from voice_agent.call.inputs import CancelResponse
from voice_agent.call.record import CallRecord
from voice_agent.kit.agent import Agent

Script = Callable[[Alone], Awaitable[None]]
"""What happens to the call from outside; run again, from its beginning, on each pod."""


@dataclass(slots=True)
class Got:
    """What the caller has got of one call."""

    text: str = ""
    audio: bytes = b""
    types: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    def add(self, entries: list[OutboxEntry]) -> None:
        """Events have come."""
        for entry in entries:
            event = orjson.loads(entry.head)
            self.types.append(event["type"])
            self.numbers.append(entry.n)
            self.audio += entry.audio
            if event["type"] in ("response.output_audio_transcript.delta", "response.output_text.delta"):
                self.text += event["delta"]


def engine_call() -> CallRecord:
    """A new call of an agent of the kit."""
    return beginnings.begin(
        beginnings.CallMade(
            call_id=CALL_ID,
            claim="claim_1",
            owner="pod-a",
            color="blue",
            model="acting",
            voice="alloy",
            created_at_ms=0,
            expires_at_s=1,
            outbox_bytes=1 << 20,
            checkpoint_ms=200,
        )
    )


def taken_over(snapshot: Snapshot) -> CallRecord:
    """The call as the next pod has it."""
    return beginnings.begin(beginnings.CallClaimed(snapshot=snapshot, epoch=2, outbox_bytes=1 << 20, checkpoint_ms=200))


class Tape:
    """A call from its first write to its last: what the store held after each, and what the caller had by then."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []
        self.got = Got()

    def listen(self, its: Alone) -> None:
        """Note what becomes durable, and all that is pushed to the client."""
        commit, push = its.store.commit, its.live.push

        async def noted_commit(writes: Any) -> Any:
            outcomes = await commit(writes)
            if (snapshot := await its.store.load(CALL_ID)) is not None:
                self.snapshots.append(snapshot)
            return outcomes

        def noted_push(events: list[OutboxEntry]) -> None:
            self.got.add(events)
            push(events)

        its.store.commit = noted_commit  # type: ignore[method-assign]
        its.live.push = noted_push  # type: ignore[method-assign]


async def whole(agent: Agent, script: Script) -> Tape:
    """The call without a crash, until its script is done and its agent has nothing to do."""
    tape = Tape()
    async with alone(engine_call(), agent) as its:
        tape.listen(its)
        its.attach()
        its.live.resume_work()
        await script(its)
        await settled(its)
    return tape


async def again(agent: Agent, snapshot: Snapshot, script: Script) -> Got:
    """What the caller has of it in all, if its pod is gone once `snapshot` is in the store."""
    got = Got()
    got.add(list(snapshot.outbox))
    tape = Tape()
    async with alone(taken_over(snapshot), agent) as its:
        tape.listen(its)
        its.call.outbox.visible_seq = its.call.outbox.seq
        its.attach()
        its.live.resume_work()
        await script(its)
        await settled(its)
    got.text += tape.got.text
    got.audio += tape.got.audio
    got.types += tape.got.types
    got.numbers += tape.got.numbers
    return got


async def stored(its: Alone) -> Snapshot:
    """The call as the next pod finds it, all of it written."""
    await its.committer.flush(its.live.writer)
    snapshot = await its.store.load(its.call.call_id)
    assert snapshot is not None
    return snapshot


async def cancelled_elsewhere(its: Alone) -> Snapshot:
    """The client cancels what is said, and the pod is gone before its handler is told."""
    its.live.responder.cancel()
    its.live.responder.interrupt = lambda number: None  # type: ignore[method-assign]
    its.live.feed(CancelResponse())
    return await stored(its)


async def settled(its: Alone) -> None:
    """The agent has acknowledged everything, and all of it is durable."""
    await until(lambda: its.call.agent is not None and not its.call.agent.waiting)
    await its.committer.flush(its.live.writer)
    await asyncio.sleep(0)
