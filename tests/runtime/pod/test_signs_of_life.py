"""Whom a drain waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.runtime.alone import Alone, alone
from tests.runtime.clocks import LeapingClock
from tests.runtime.rig import MemoryTransport, rig
from tests.waiting import PATIENCE_S, until
from voice_agent.call.changes import OutboxEntry
from voice_agent.call.drain import DrainMode
from voice_agent.call.status import Status
from voice_agent.runtime.pod.signs_of_life import ANSWER_S, SignsOfLife


def questions(transport: MemoryTransport) -> list[None]:
    """One for each time that this peer is asked for a sign of life."""
    asked: list[None] = []
    probe = transport.probe

    def counted(answered: Callable[[], None]) -> None:
        asked.append(None)
        probe(answered)

    transport.probe = counted  # type: ignore[method-assign]  # what the pod calls
    return asked


async def test_a_drain_does_not_wait_for_a_peer_that_has_never_given_a_sign_of_life() -> None:
    """It has been upgraded and says nothing, not even a pong: closed with 1011, and its call is parked."""
    clock = LeapingClock()
    async with rig() as its:
        pod = await its.pod(clock=clock)
        caller = await its.start(pod)
        caller.transport.answers_probes = False
        await caller.greeting()
        asked = questions(caller.transport)
        live = pod.owned.by_id[caller.call_id]
        pod.drain(DrainMode.FINISH, 600)
        await until(lambda: asked)
        clock.leap(ANSWER_S + 1)
        assert (await caller.transport.until(lambda it: it.closed))[0] == 1011
        async with asyncio.timeout(PATIENCE_S):
            await pod.wait_drained()
        assert live.call.lifecycle.status is Status.PARKED


async def test_a_drain_waits_for_callers_who_listen_and_for_those_who_have_spoken() -> None:
    """One has said nothing and answers pings; one has spoken, and its network swallows them."""
    clock = LeapingClock()
    async with rig() as its:
        pod = await its.pod(clock=clock)
        listens, spoke, silent = [await its.start(pod) for _ in range(3)]
        spoke.transport.answers_probes = silent.transport.answers_probes = False
        spoke.transport.say({"type": "input_audio_buffer.clear"})
        await spoke.transport.event("input_audio_buffer.cleared")
        for caller in (listens, silent):
            await caller.greeting()
        asked = questions(silent.transport)
        pod.drain(DrainMode.FINISH, 600)
        await until(lambda: asked)
        clock.leap(ANSWER_S + 1)
        await silent.transport.until(lambda it: it.closed)
        assert listens.transport.closed is spoke.transport.closed is None
        await until(lambda: pod.status().active_calls == 2)


async def test_a_probe_that_was_not_sent_is_sent_at_a_later_look() -> None:
    """A peer is asked one thing at a time: whose answer to an earlier probe comes late is asked then, and answers."""
    clock = LeapingClock()
    async with rig() as its:
        pod = await its.pod(clock=clock)
        late, silent = [await its.start(pod) for _ in range(2)]
        for caller in (late, silent):
            caller.transport.answers_probes = False
            await caller.greeting()
        asked = questions(late.transport)
        pod.drain(DrainMode.FINISH, 600)
        await until(lambda: asked)
        late.transport.answers_probes = True
        before = len(asked)
        await until(lambda: len(asked) > before)
        await until(late.transport._inbox.empty)
        clock.leap(ANSWER_S + 1)
        await silent.transport.until(lambda it: it.closed)
        assert late.transport.closed is None


async def test_a_peer_has_so_long_to_answer_and_no_longer() -> None:
    """It is closed in front of what waits to be sent; whose call is parked, or who has answered, is left alone."""
    async with alone() as its, alone() as parked:
        connection = its.attach()
        connection.push([OutboxEntry(1, b'{"type":"x"}', b"")])
        answering = Alone()
        answers = answering.attach()
        signs = SignsOfLife(its.clock)
        everybody = [parked.live, answering.live, its.live]
        signs.look(everybody)
        assert (len(answers.asked), len(connection.asked)) == (1, 1)
        answers.asked[0]()
        its.clock.now_s += ANSWER_S - 1
        signs.look(everybody)
        assert (len(answers.asked), len(connection.asked), connection.closing) == (1, 2, None)
        its.clock.now_s += 1
        signs.look(everybody)
        assert connection.closing is not None
        assert (connection.closing[0], connection.unsent_bytes) == (1011, 0)
        assert answers.closing is None
