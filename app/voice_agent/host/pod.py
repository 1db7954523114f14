"""The pod that the shared port shows: this worker for calls, all workers of the host for whoever operates it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import orjson

from voice_agent.call.drain import DrainMode
from voice_agent.host.worker_ipc import WorkerIpc
from voice_agent.host.worker_table import LOOK_S, HostDrain, WorkerState, WorkerTable, queues_of
from voice_agent.runtime.pod.attachment import Attachment
from voice_agent.runtime.pod.fleet import ReadyPods
from voice_agent.runtime.pod.pod import Pod
from voice_agent.runtime.ports import CallSummary, PodStatus, ResumeCall, StartCall
from voice_agent.stores.base import PodHeartbeat, PodState

if TYPE_CHECKING:
    from collections.abc import Callable

NOBODY = b"null"


def worker_name(host: str, slot: int) -> str:
    """How a worker is called in the fleet."""
    return f"{host}-{slot + 1}"


class HostPod:
    """`web.ports.CallPod` and `web.ports.MetricsPage` of one worker among several."""

    def __init__(
        self,
        pod: Pod,
        *,
        name: str,
        slot: int,
        table: WorkerTable,
        ipc: WorkerIpc,
        page: Callable[[], bytes],
        merge: Callable[[Mapping[str, bytes]], bytes],
    ) -> None:
        """`name` is the host's. `page` are this worker's metrics, and `merge` makes one page of all workers'."""
        self.name = pod.name
        self.color = pod.color
        self.started_at_ms = pod.started_at_ms
        self.observer = pod.observer
        self._pod = pod
        self._host = name
        self._slot = slot
        self._table = table
        self._ipc = ipc
        self._page = page
        self._merge = merge
        self._names = [worker_name(name, other) for other in range(table.workers)]
        self._has_left = False
        pod.heartbeat.others.is_leaving = self._is_leaving

    # --- the table ----------------------------------------------------------------

    async def keep_table(self) -> None:
        """Write this worker's row again and again, and begin the drain that the host was asked for before it came."""
        if (drain := self._table.drain) is not None:
            self._pod.drain(drain.mode, drain.deadline_s)
        while True:
            self.write_row()
            await self._pod.ports.clock.sleep(LOOK_S)

    def leave_table(self) -> None:
        """This worker accepts no more connections: the other workers are to do so in its place at once."""
        self._has_left = True
        self.write_row()

    def write_row(self) -> None:
        """What this worker does right now."""
        if self._has_left:
            self._table.write(self._slot, WorkerState())
            return
        found, now_s = self._pod.status(), self._pod.ports.clock.monotonic_s()
        row = WorkerState(self._pod.view.state, found.active_calls, found.parked_calls, found.capacity, now_s)
        self._table.write(self._slot, row)

    def queues(self) -> set[int]:
        """Whose connections this worker accepts; its own to begin with."""
        return queues_of(self._slot, self._table.rows(), self._pod.ports.clock.monotonic_s())

    def _is_leaving(self, name: str) -> bool:
        """Whether a pod of the fleet will not take calls, which its heartbeat may not say yet."""
        if name not in self._names:
            return False
        row = self._table.row(self._names.index(name))
        gone = self._table.is_leaving or self._table.drain is not None
        return gone or not row.takes_calls(self._pod.ports.clock.monotonic_s())

    # --- calls: this worker ---------------------------------------------------------

    async def start(self, request: StartCall) -> Attachment:
        """See `Pod.start`."""
        return await self._pod.start(request)

    async def resume(self, request: ResumeCall) -> Attachment:
        """See `Pod.resume`."""
        return await self._pod.resume(request)

    async def call_record(self, call_id: str) -> dict[str, Any] | None:
        """See `Pod.call_record`: what another worker holds is in the store."""
        return await self._pod.call_record(call_id)

    async def erase(self, call_id: str) -> bool:
        """See `Pod.erase`: another worker that has the call learns of it from the store."""
        return await self._pod.erase(call_id)

    async def fleet(self) -> list[PodHeartbeat]:
        """Every living pod."""
        return await self._pod.fleet()

    # --- operating: all workers -----------------------------------------------------

    def status(self) -> PodStatus:
        """The host: fit for calls if one worker is, its numbers those of all."""
        self.write_row()
        own, now_s = self._pod.status(), self._pod.ports.clock.monotonic_s()
        rows = [row for row in self._table.rows() if row.status is not None]
        fit = [row.status for row in rows if row.takes_calls(now_s)]
        best = PodState.OK if PodState.OK in fit else PodState.DEGRADED
        return replace(
            own,
            status=best if fit else own.status,
            pod=self._host,
            active_calls=sum(row.active_calls for row in rows),
            parked_calls=sum(row.parked_calls for row in rows),
            capacity=sum(row.capacity for row in rows),
        )

    async def all_calls(self) -> list[CallSummary]:
        """The calls of every worker."""
        found = self._pod.view.calls()
        for said in (await self._ipc.ask({"ask": "calls"})).values():
            found += [CallSummary(**call) for call in orjson.loads(said)]
        return found

    async def begin_drain(self, mode: DrainMode, deadline_s: float, *, only: str | None = None) -> bool:
        """Drain all workers, or the one called `only`; False if there is none of that name."""
        question = {"ask": "drain", "mode": mode, "deadline_s": deadline_s}
        if only is not None and only != self._host:
            return (await self._answer_of(only, question)) is not None
        # First of all on the table: nobody is to be handed to another worker that drains as well.
        self._table.set_drain(HostDrain(mode, deadline_s))
        await self.answer(question)
        await self._ipc.ask(question)
        return True

    async def ready_pods(self) -> ReadyPods:
        """See `Pod.ready_pods`; another worker that drains as well is none."""
        return await self._pod.ready_pods()

    async def end_drain(self, *, only: str | None = None) -> bool | None:
        """Take calls again; whether a drain was under way; None if there is no worker called `only`."""
        question = {"ask": "cancel"}
        if only is not None and only != self._host:
            return await self._answer_of(only, question)
        self._table.set_drain(None)
        answers = [await self.answer(question), *(await self._ipc.ask(question)).values()]
        return any(map(orjson.loads, answers))

    async def _answer_of(self, name: str, question: Mapping[str, Any]) -> bool | None:
        if name not in self._names:
            return None
        slot = self._names.index(name)
        said = await (self.answer(question) if slot == self._slot else self._ipc.ask_one(slot, question))
        return bool(orjson.loads(said or b"false"))

    async def read(self) -> bytes:
        """The metrics of all workers."""
        pages = {self._slot: self._page(), **await self._ipc.ask({"ask": "metrics"})}
        return self._merge({str(slot + 1): pages[slot] for slot in sorted(pages)})

    async def answer(self, question: Mapping[str, Any]) -> bytes:
        """What this worker alone says to another worker's question, or does about it."""
        match question:
            case {"ask": "metrics"}:
                return self._page()
            case {"ask": "calls"}:
                return orjson.dumps([asdict(call) for call in self._pod.view.calls()])
            case {"ask": "drain", "mode": str(mode), "deadline_s": float() | int() as deadline_s}:
                self._pod.drain(DrainMode(mode), deadline_s)
                self.write_row()
                return orjson.dumps(True)
            case {"ask": "cancel"}:
                was_draining = self._pod.drainer.cancel()
                self.write_row()
                return orjson.dumps(was_draining)
        return NOBODY
