"""A pod that hands a call off may name the one that is to go on: tests of `edge.dialing`, too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.edge.rig import CALL_ID, EdgeRig, PlainCaller, ScriptedPods, edge_rig
from tests.edge.test_edge_call import numbers, said
from tests.servers import free_port
from voice_agent.call.closing import MOVED_TO, moved_to
from voice_agent.edge import resuming


@asynccontextmanager
async def named_pods() -> AsyncIterator[ScriptedPods]:
    """Pods beside those that are behind the load balancer."""
    one = ScriptedPods()
    await one.open()
    try:
        yield one
    finally:
        await one.close()


async def handed_off(its: EdgeRig, reason: str, *, code: int = 1012) -> PlainCaller:
    """A caller who heard two events, and whose pod closes then."""
    caller = await its.call()
    pod = await its.pods.connection(0)
    await said(pod, 1, 2)
    await caller.hear(3)
    await pod.socket.close(code, reason)
    return caller


async def test_the_pod_that_is_named_is_asked_first() -> None:
    """With the same request as any other, and the load balancer is not asked at all."""
    async with named_pods() as there, edge_rig() as its:
        caller = await handed_off(its, moved_to(there.url))
        again = await there.connection(0)
        assert (again.query["call_id"], again.query["last_event_id"]) == (CALL_ID, "evt_2")
        await again.greet(2)
        await said(again, 3)
        await caller.hear(4)
        assert numbers(caller) == ["evt_1", "evt_2", "evt_3"]
        assert len(its.pods.connections) == 1


@pytest.mark.parametrize("status", [404, 410, 503])
async def test_a_named_pod_that_refuses_is_not_the_last_word(status: int) -> None:
    """It may be of another fleet by now: the load balancer's pods decide. It is asked once."""
    async with named_pods() as there, edge_rig() as its:
        there.refuse(status, X_Voice_Pod="other")
        there.refuse(status, X_Voice_Pod="other")
        caller = await handed_off(its, moved_to(there.url))
        again = await its.pods.connection(1)
        await again.greet(2)
        await said(again, 3)
        await caller.hear(4)
        assert len(there.refusals) == 1


async def test_a_named_pod_that_nobody_reaches_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it refuses the connection or takes it and is silent."""
    monkeypatch.setattr(resuming, "NAMED_POD_S", 0.05)
    taken: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: taken.append(writer), "127.0.0.1")
    port = silent.sockets[0].getsockname()[1]
    for address in (f"ws://127.0.0.1:{free_port()}", f"ws://127.0.0.1:{port}"):
        async with edge_rig() as its:
            caller = await handed_off(its, moved_to(address))
            again = await its.pods.connection(1)
            await again.greet(2)
            await said(again, 3)
            await caller.hear(4)
    silent.close()
    for writer in taken:
        writer.close()


@pytest.mark.parametrize(
    ("path", "code", "direct"), [("/v1/realtime", 1012, True), ("", 1013, True), ("", 1012, False)]
)
async def test_an_edge_goes_nowhere_else(path: str, code: int, *, direct: bool) -> None:
    """Not to a path, not for another close, and not where that is forbidden."""
    async with named_pods() as there, edge_rig(direct=direct) as its:
        caller = await handed_off(its, MOVED_TO + there.url + path, code=code)
        again = await its.pods.connection(1)
        await again.greet(2)
        await said(again, 3)
        await caller.hear(4)
        assert there.connections == []
