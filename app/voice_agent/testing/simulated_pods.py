"""The pods of a simulation, on one store: they die or leave at a moment, and the next one takes the call over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import orjson

from voice_agent.call.agent_fields import EVENTS
from voice_agent.call.changes import CallWrite
from voice_agent.call.closing import CloseCode
from voice_agent.call.drain import DrainMode
from voice_agent.call.event_ids import event_number
from voice_agent.call.inputs import DtmfPressed
from voice_agent.call.record import CallRecord
from voice_agent.errors import ConnectionRefused
from voice_agent.kit.agent import Agent, Kit
from voice_agent.runtime.pod.attachment import Attachment
from voice_agent.runtime.pod.options import CallSettings, PodLimits, PodPorts
from voice_agent.runtime.pod.pod import Pod
from voice_agent.runtime.ports import ClientOptions, Frames, ResumeCall, StartCall
from voice_agent.stores.base import WriteOutcome
from voice_agent.stores.memory import MemoryStore
from voice_agent.testing.simulated_line import SimulatedLine
from voice_agent.testing.virtual_loop import PROCESS, Process, VirtualClock, VirtualLoop

SECRET = b"of no use outside a simulation"
STORE_S = 0.001
"""From a pod to the store, and back again."""
LOOK_S = 0.01
GONE = frozenset({404, 410})
"""Of a call that has ended."""
DRAIN_S = 5.0
CALLER_BYTES = 256 * 1024 * 1024
TTL_S = 1800
SPARE_PODS = 2
"""So many serve at any time: the one that has the call, and the one that will."""


class DistantStore(MemoryStore):
    """A write takes a moment to arrive, and its answer to come back: a pod may die between."""

    events_made = 0
    """How many events of the call there have been, as the store knows."""

    async def commit(self, writes: Sequence[CallWrite]) -> list[WriteOutcome]:
        """See `Store`."""
        await asyncio.sleep(STORE_S)
        outcomes = await super().commit(writes)
        for write, outcome in zip(writes, outcomes, strict=True):
            if outcome is WriteOutcome.COMMITTED and write.fields.get(EVENTS):
                self.events_made = orjson.loads(write.fields[EVENTS])["made"]
        await asyncio.sleep(STORE_S)
        return outcomes


@dataclass(slots=True)
class PodNotes:
    """`runtime.ports.Observer` that keeps what is told of calls' ends and agents' faults."""

    frames: Frames = field(default_factory=Frames)
    outcomes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def call_ended(self, outcome: str) -> None:
        """See `Observer`."""
        self.outcomes.append(outcome)

    def agent_fault(self, kind: str) -> None:
        """See `Observer`."""
        self.faults.append(kind)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return _nothing


def _nothing(*_: object) -> None: ...


@dataclass(slots=True)
class PodAlive:
    """One pod and its process."""

    process: Process
    pod: Pod
    agent: Agent
    is_ready: bool = False
    lines: list[SimulatedLine] = field(default_factory=list)


class OneAgent:
    """`runtime.pod.options.Agents` that has but one."""

    def __init__(self, agent: Any) -> None:
        self._agent = agent

    def agent(self, model: str) -> Any:
        """It, whatever the name."""
        return self._agent


class SimulatedPods:
    """All of one run; what a simulated caller reaches."""

    def __init__(self, loop: VirtualLoop, make_agent: Callable[[int], Agent], kit: Callable[[], Kit]) -> None:
        """`make_agent`: of the pod of a number, counted from 0."""
        self.notes = PodNotes()
        self.call: CallRecord | None = None
        """As the pod knows it that has it, or had it at the end."""
        self._loop = loop
        self._make_agent = make_agent
        self._kit = kit
        self._clock = VirtualClock(loop)
        self._store = DistantStore(ttl_s=TTL_S, now_s=loop.time)
        self._pods: list[PodAlive] = []
        self._made = 0
        self._has_call: PodAlive | None = None

    def begin(self) -> None:
        """Start the first pods."""
        while sum(pod.process.alive for pod in self._pods) < SPARE_PODS:
            self._boot()

    def kill_current(self) -> bool:
        """End the process that runs this line, here and now. True."""
        self._loop.kill(PROCESS.get())
        return True

    def leave_current(self) -> bool:
        """Have the pod that runs this line leave, from the next turn on. False: it is not dead."""
        process = PROCESS.get()
        leaving = next(pod for pod in self._pods if pod.process is process)
        self._loop.at(0.0, self._leave, leaving)
        return False

    def _boot(self) -> None:
        number = self._made
        self._made += 1
        process = self._loop.process(f"pod-{number + 1}")
        agent = self._make_agent(number)
        pod = process.context.run(self._pod, process.name, "green" if number % 2 else "blue", agent)
        alive = PodAlive(process, pod, agent)
        self._pods.append(alive)
        process.on_death = lambda: self._died(alive)
        self._loop.spawn(process, self._open(alive))

    def _pod(self, name: str, color: str, agent: Agent) -> Pod:
        return Pod(
            settings=CallSettings(pod=name, color=color, max_call_s=24 * 3600),
            limits=PodLimits(capacity=10, caller_bytes=CALLER_BYTES, overload_lag_s=0),
            ports=PodPorts(
                store=self._store,
                agents=OneAgent(agent),
                clock=self._clock,
                observer=self.notes,
                random_bytes=Random(name).randbytes,  # noqa: S311 ids, the same in every run
            ),
            version="1",
            secret=SECRET,
        )

    async def _open(self, alive: PodAlive) -> None:
        await alive.agent.open(self._kit())
        await alive.pod.open()
        alive.is_ready = True

    def _died(self, dead: PodAlive) -> None:
        dead.is_ready = False
        for line in dead.lines:
            line.broke()
        self._loop.at(0.0, self.begin)

    def _leave(self, leaving: PodAlive) -> None:
        if leaving.process.alive:
            self._loop.spawn(leaving.process, self._drain(leaving))

    async def _drain(self, leaving: PodAlive) -> None:
        """What SIGTERM does."""
        leaving.pod.drain(DrainMode.HANDOFF, DRAIN_S)
        await leaving.pod.wait_drained()
        await leaving.pod.close()
        await leaving.agent.close()
        self._loop.at(0.0, self._loop.kill, leaving.process)

    # --- for the caller -----------------------------------------------------------

    async def connect(self, query: dict[str, Any]) -> SimulatedLine:
        """See `PodAccess`."""
        ready = [alive for alive in self._pods if alive.is_ready and not alive.pod.draining]
        if not ready:
            raise ConnectionError("no pod serves")
        chosen = ready[0]
        line = SimulatedLine(self._loop)
        chosen.lines.append(line)
        self._loop.spawn(chosen.process, self._serve(chosen, line, query))
        return line

    async def _serve(self, alive: PodAlive, line: SimulatedLine, query: dict[str, Any]) -> None:
        try:
            attachment = await self._attach(alive.pod, query)
        except ConnectionRefused as refused:
            await line.close(
                CloseCode.CALL_ENDED if refused.status in GONE else CloseCode.TRY_AGAIN_LATER, str(refused)
            )
            return
        self._has_call = alive
        self.call = alive.pod.owned.by_id[attachment.call_id].call
        await attachment.serve(line)

    async def _attach(self, pod: Pod, query: dict[str, Any]) -> Attachment:
        client = ClientOptions(resumable_now=True, received=True)
        if "call_id" not in query:
            return await pod.start(StartCall(query["model"], "key", resumable=True, client=client))
        last_event = event_number(query["last_event_id"])
        return await pod.resume(ResumeCall(query["call_id"], last_event, client))

    async def press(self, digit: str) -> None:
        """See `PodAccess`. A person whose pod dies before it has heard the key presses it again."""
        while not (number := self._pressed(digit)) or not await self._is_kept(number):
            await self._clock.sleep(LOOK_S)

    async def _is_kept(self, number: int) -> bool:
        """Wait until the event is in the store; False if its pod is gone before."""
        alive = self._has_call
        assert alive is not None
        while self._store.events_made < number:
            if not alive.process.alive:
                return False
            await self._clock.sleep(LOOK_S)
        return True

    def _pressed(self, digit: str) -> int:
        """Give it to the pod that has the call; the number of its event, 0 if no pod has the call now."""
        alive, call = self._has_call, self.call
        live = alive.pod.owned.by_id.get(call.call_id) if alive is not None and call is not None else None
        if alive is None or live is None or live.call.agent is None or not alive.process.alive:
            return 0
        alive.process.context.run(live.feed, DtmfPressed(digit))
        return live.call.agent.made

    async def hand_off(self) -> None:
        """See `PodAccess`."""
        assert self._has_call is not None
        self._leave(self._has_call)

    @property
    def serving(self) -> Process | None:
        """The process of the pod that has the call, or had it last."""
        return None if self._has_call is None else self._has_call.process

    # --- for the transcript -------------------------------------------------------

    @property
    def has_ended(self) -> bool:
        """Whether a pod knows that the call is over."""
        return bool(self.notes.outcomes)

    def failures(self) -> Sequence[str]:
        """What went wrong in the pods that are alive, other than in the agent."""
        return [
            f"{alive.process.name}: {error!r}"
            for alive in self._pods
            for task in alive.process.tasks
            if alive.process.alive and task.done() and not task.cancelled() and task not in self._loop.observed_tasks
            if (error := task.exception()) is not None
        ]
