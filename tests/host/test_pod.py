"""The pod that a shared port shows: fit for calls as long as one worker is.

Tests of `worker_ipc`, too.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.runtime.rig import Caller, Rig, rig
from voice_agent.errors import ConnectionRefused
from voice_agent.host.pod import HostPod, worker_name
from voice_agent.host.worker_ipc import WorkerIpc
from voice_agent.host.worker_table import WorkerTable
from voice_agent.runtime.pod.pod import Pod
from voice_agent.runtime.ports import StartCall

KEY = "a" * 64


def workers(its: Rig) -> list[HostPod]:
    """Two of a host, whose heartbeats and rows are the test's."""
    table = WorkerTable(2)
    made = []
    for slot in range(2):
        pod = its.unopened_pod(worker_name("host", slot))
        ipc = WorkerIpc(Path(), slot, 2)
        made.append(HostPod(pod, name="host", slot=slot, table=table, ipc=ipc, page=bytes, merge=lambda _: b""))
    for host in made:
        host.write_row()
    return made


async def tell(*pods: Pod) -> None:
    """Two rounds of heartbeats: all know of all."""
    for _ in range(2):
        for pod in pods:
            await pod.heartbeat.heartbeat()


async def test_an_overloaded_worker_leaves_its_connections_to_the_others() -> None:
    """The host is fit for calls; what comes to the worker that is not is accepted by the other worker."""
    async with rig() as its:
        busy, calm = workers(its)
        busy._pod.admission.overloaded = True
        for host in (busy, calm):
            host.write_row()
        assert busy.status().status == calm.status().status == "ok"
        assert (busy.queues(), calm.queues()) == (set(), {0, 1})


async def test_a_host_whose_workers_are_all_overloaded_is_unhealthy_only_if_it_is_not_its_colors_last() -> None:
    """Workers of the host are no other pods."""
    async with rig() as its:
        hosts = workers(its)
        own = [host._pod for host in hosts]
        for pod in own:
            await pod.heartbeat.heartbeat()
        own[0].admission.overloaded = True
        await own[0].heartbeat.heartbeat()
        assert own[0].status().status == "overloaded"
        own[1].admission.overloaded = True
        for host in hosts:
            host.write_row()
        # What the heartbeats say of the other worker is old by now; the table knows.
        assert [host.status().status for host in hosts] == ["degraded", "degraded"]
        assert [host.queues() for host in hosts] == [{0}, {1}]
        await tell(its.unopened_pod("another"), *own)
        assert [host.status().status for host in hosts] == ["overloaded", "overloaded"]


async def test_a_quota_is_that_of_all_workers() -> None:
    """Each is a pod of the fleet."""
    async with rig() as its:
        one, two = [await its.pod(worker_name("host", slot), calls_per_key=2) for slot in range(2)]
        for pod in (one, two):
            await Caller(await pod.start(StartCall("scripted", KEY))).greeting()
        await tell(one, two)
        taken = await asyncio.gather(
            *(pod.start(StartCall("scripted", KEY)) for pod in (one, two)), return_exceptions=True
        )
        assert [it.status for it in taken if isinstance(it, ConnectionRefused)] == [429, 429]
