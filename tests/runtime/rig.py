"""A pod without a server: a memory store, agents that follow a script, connections in memory."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from unittest.mock import patch

import orjson

from tests.runtime.clocks import LeapingClock
from tests.waiting import PATIENCE_S, until
from voice_agent.agents.loopback import Loopback
from voice_agent.call.audio import PCM
from voice_agent.errors import ConnectionRefused
from voice_agent.kit.agent import Agent
from voice_agent.kit.call import Call
from voice_agent.kit.clip import Clip
from voice_agent.kit.ear import Ear
from voice_agent.kit.events import Asked
from voice_agent.kit.speech import Speech
from voice_agent.runtime.clock import SystemClock
from voice_agent.runtime.pod.attachment import Attachment
from voice_agent.runtime.pod.options import CallSettings, PodLimits, PodPorts
from voice_agent.runtime.pod.parking import STORED_BYTES, Parking
from voice_agent.runtime.pod.pod import Pod
from voice_agent.runtime.ports import FleetClock, Frames, ResumeCall, StartCall, Transport
from voice_agent.runtime.recordings import NoRecordings, Recordings
from voice_agent.stores.base import PodCounters, Store
from voice_agent.stores.memory import MemoryStore

SECRET = b"a secret for tests"


class CountingObserver:
    """Counts what it is told, by method and first argument."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, Any], int] = {}
        self.frames = Frames()

    def __getattr__(self, name: str) -> Callable[..., None]:
        def count(*arguments: Any) -> None:
            key = (name, arguments[0] if arguments and isinstance(arguments[0], str) else None)
            self.counts[key] = self.counts.get(key, 0) + 1

        return count


class AnsweringAgent(Agent):
    """Answers whatever it is asked, as a subclass says; hears as its own `transcribe` says."""

    lead_ms = 60_000

    def __init__(self) -> None:
        self.ear = OwnEar(self)

    async def transcribe(self, clip: Clip) -> str | None:
        """What was said."""
        return None

    async def run(self, call: Call) -> None:
        async for event in call.events():
            if isinstance(event, Asked):
                await self.answer(call, event)

    async def answer(self, call: Call, asked: Asked) -> None:
        """Reply."""


class OwnEar(Ear):
    """An agent's `transcribe`."""

    def __init__(self, agent: AnsweringAgent) -> None:
        self._agent = agent

    async def transcribe(self, clip: Clip) -> str | None:
        return await self._agent.transcribe(clip)


async def write(speech: Speech, text: str) -> None:
    """Say something that makes no sound."""
    await speech.audio(b"", PCM, text=text)


class ScriptedAgent(AnsweringAgent):
    """Replies "reply <n>" with `chunks` tenths of a second of audio whose bytes count up."""

    name = "scripted"

    def __init__(self, *, chunks: int = 3, transcript: str | None = "hello") -> None:
        super().__init__()
        self.chunks = chunks
        self.transcript = transcript
        self.turns: list[Asked] = []
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def transcribe(self, clip: Clip) -> str | None:
        return self.transcript

    async def answer(self, call: Call, asked: Asked) -> None:
        self.turns.append(asked)
        number = call.state["number"] = call.state.get("number", 0) + 1
        async with call.speak() as speech:
            await write(speech, f"reply {number}")
            for chunk in range(self.chunks if asked.wants_audio else 0):
                if chunk == 1:
                    await self.may_go_on.wait()
                await speech.audio(chunk.to_bytes(2, "little") * 2400, PCM)


class MirrorAgent(Loopback):
    """`loopback` by another name."""

    name = "mirror"


class FixedAgents:
    """Agents by name."""

    def __init__(self, *agents: Agent) -> None:
        self._agents = {agent.name: agent for agent in agents}

    def agent(self, model: str) -> Agent:
        try:
            return self._agents[model]
        except KeyError:
            raise ConnectionRefused(400, "model_not_found", f"no agent {model!r}", param="model") from None


class MemoryTransport(Transport):
    """A connection whose other end is the test."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.closed: tuple[int, str] | None = None
        self.answers_probes = True
        self._inbox: asyncio.Queue[str | bytes | int | Callable[[], None]] = asyncio.Queue()
        self._changed = asyncio.Condition()

    async def receive(self) -> str | bytes | int:
        while callable(message := await self._inbox.get()):
            message()
        return message

    def probe(self, answered: Callable[[], None]) -> None:
        if self.answers_probes:
            self._inbox.put_nowait(answered)

    async def send(self, text: bytes) -> None:
        self.events.append(orjson.loads(text))
        async with self._changed:
            self._changed.notify_all()

    async def close(self, code: int, reason: str) -> None:
        if self.closed is None:
            self.closed = (code, reason)
            self._inbox.put_nowait(code)
            async with self._changed:
                self._changed.notify_all()

    # --- the test's side

    def say(self, event: dict[str, Any] | str | bytes) -> None:
        """The caller sends a message."""
        self._inbox.put_nowait(event if isinstance(event, str | bytes) else orjson.dumps(event).decode())

    def drop(self, code: int = 1006) -> None:
        """The caller's end goes away."""
        self._inbox.put_nowait(code)

    async def until(self, condition: Callable[[MemoryTransport], Any]) -> Any:
        """Wait until the condition holds for this transport; returns what it returned."""
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(lambda: condition(self))
        return condition(self)

    async def event(self, kind: str, nth: int = 1) -> dict[str, Any]:
        """The nth event of a type, once it has come."""
        found = await self.until(lambda it: [e for e in it.events if e["type"] == kind][nth - 1 : nth])
        return found[0]

    @property
    def ids(self) -> list[str]:
        """Ids of all events after the greeting."""
        return [event["event_id"] for event in self.events[1:]]


class Caller:
    """One connection under way."""

    def __init__(self, attachment: Attachment) -> None:
        self.attachment = attachment
        self.transport = MemoryTransport()
        self.call_id = attachment.call_id
        self.task = asyncio.create_task(attachment.serve(self.transport))

    async def greeting(self) -> dict[str, Any]:
        return await self.transport.event("session.created")

    async def gone(self, code: int = 1006) -> None:
        """Lose the connection and wait until the pod has noticed."""
        self.transport.drop(code)
        await self.task


class Rig:
    """Pods on one store."""

    def __init__(self, store: Store, agents: FixedAgents) -> None:
        self.store = store
        self.agents = agents
        self.pods: list[Pod] = []
        # The loop refers to tasks weakly: a caller whom nobody waits for would be collected as garbage in mid-call.
        self.callers: list[Caller] = []

    async def pod(self, name: str = "pod-a", color: str = "blue", **options: Any) -> Pod:
        """A pod that serves, and is closed at the end."""
        pod = self.unopened_pod(name, color, **options)
        await pod.open()
        self.pods.append(pod)
        return pod

    def unopened_pod(
        self,
        name: str,
        color: str = "blue",
        *,
        capacity: int = 100,
        calls_per_key: int = 0,
        revoked: frozenset[str] = frozenset(),
        caller_bytes: int = 256 * 1024 * 1024,
        key_bytes: int = 0,
        clock: FleetClock | None = None,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        counters: Callable[[], PodCounters | None] = lambda: None,
        recordings: Recordings | None = None,
        **settings: Any,
    ) -> Pod:
        """One that does nothing by itself: its heartbeats are the test's."""
        return Pod(
            settings=CallSettings(pod=name, color=color, **settings),
            limits=PodLimits(
                capacity=capacity, caller_bytes=caller_bytes, key_bytes=key_bytes, calls_per_key=calls_per_key
            ),
            ports=PodPorts(
                store=self.store,
                agents=self.agents,
                clock=clock or SystemClock(),
                observer=CountingObserver(),
                random_bytes=random_bytes,
                counters=counters,
                recordings=recordings or NoRecordings(),
            ),
            version="1",
            secret=SECRET,
            revoked=revoked,
        )

    async def start(self, pod: Pod, model: str = "scripted", **request: Any) -> Caller:
        return self._caller(await pod.start(StartCall(model=model, api_key_hash="key", **request)))

    async def resume(self, pod: Pod, call_id: str, last_event: int | None = None, **request: Any) -> Caller:
        return self._caller(await pod.resume(ResumeCall(call_id, last_event, **request)))

    def _caller(self, attachment: Attachment) -> Caller:
        self.callers.append(Caller(attachment))
        return self.callers[-1]


@asynccontextmanager
async def rig(store: Store | None = None, *agents: Agent) -> AsyncIterator[Rig]:
    """Pods that are closed at the end."""
    made = Rig(store or MemoryStore(ttl_s=60), FixedAgents(*(agents or (ScriptedAgent(), MirrorAgent()))))
    try:
        yield made
    finally:
        for pod in made.pods:
            await pod.close()


def parking_of(pod: Pod, *, stored_bytes: int = STORED_BYTES) -> Parking:
    """The bounds of a pod's parked calls, enforced when the test does; the pod's own know nothing of them."""
    own = pod.upkeep.parking
    return Parking(
        own._ports,
        pod.owned,
        pod.committer,
        pod.owned.budget,
        pod.admission,
        ttl_s=own._ttl_s,
        stored_bytes=stored_bytes,
    )


TYPED = {
    "type": "conversation.item.create",
    "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
}
ANSWER = {"type": "response.create"}


@contextmanager
def told(pod: Pod, name: str) -> Iterator[list[tuple[Any, ...]]]:
    """What an observer is told by one of its methods."""
    found: list[tuple[Any, ...]] = []
    with patch.object(pod.observer, name, lambda *values: found.append(values), create=True):
        yield found


async def lost(caller: Caller) -> None:
    """A caller whose connection broke, once it had been greeted."""
    await caller.greeting()
    await caller.gone()


GIVEN_UP_S = 10.0
"""Longer than a store is waited for."""


async def until_given_up(pod: Pod, clock: LeapingClock, caller: Caller) -> None:
    """Say something that the store does not take, and wait until the pod goes on without it."""
    assert isinstance(pod.observer, CountingObserver)
    failed = ("store_failed", "commit")
    caller.transport.say(TYPED)
    await until(lambda: pod.observer.counts.get(failed, 0) > 0)
    clock.leap(GIVEN_UP_S)
    await until(lambda: pod.committer.degraded)
