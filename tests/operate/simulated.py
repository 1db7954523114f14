"""A fleet, its callers and a router without clock, sockets or chance, in which a cutover can be cut off anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from voice_agent.call.schema import READS_SCHEMAS
from voice_agent.errors import StoreRefused, StoreUnavailable
from voice_agent.operate.context import Context
from voice_agent.operate.plan import CutoverProgress
from voice_agent.operate.ports import CutoverError, Numbers, RouterError, Routing
from voice_agent.operate.sources.fleet import FleetWatch
from voice_agent.stores.base import DrainRequest, PodCounters, PodHeartbeat, RouterWeights, Store
from voice_agent.stores.memory import MemoryStore

HEARTBEAT_S = 2.0


class Died(BaseException):
    """The tool is no more."""


class VirtualClock:
    """Time passes only in `sleep`, and everything that happens in it happens there."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.passing: list[Callable[[float], None]] = []

    def wall_ms(self) -> int:
        """As the rest."""
        return int(self.now_s * 1000)

    def monotonic_s(self) -> float:
        """As the rest."""
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        """Wait for everybody else first, so that two sleepers take turns."""
        due_s = self.now_s + seconds
        while self.now_s < due_s:
            await asyncio.sleep(0)
            self.now_s = min(due_s, self.now_s + 0.25)
            for tell in self.passing:
                tell(self.now_s)
            await asyncio.sleep(0)


@dataclass
class SimPod:
    """What counts of a pod."""

    name: str
    color: str
    calls: int = 0
    not_resumable: int = 0
    """Of the calls; they stay when it drains."""
    draining: bool = False
    alive: bool = True
    capacity: int = 50
    status: str = "ok"
    store: str = "ok"
    reads_schemas: tuple[int, int] = READS_SCHEMAS
    version: str = "1"
    counters: PodCounters = field(default_factory=PodCounters)
    heartbeat_at_s: float = 0.0


class SimRouter:
    """Two rules, as an ALB has them: a write that is cut off may have changed only the first."""

    name = "two rules"

    def __init__(self) -> None:
        self.rules: list[Mapping[str, int]] = [{"blue": 100, "green": 0}] * 2
        self.retired: list[str] = []
        self.slow = 0
        """So many turns of the loop pass before the next write begins."""
        self.writing: set[asyncio.Task[None]] = set()
        self.fails = 0
        """So many writes change the first rule only, and then fail."""

    async def read(self) -> Routing:
        first, second = self.rules
        return Routing(first, () if first == second else ("second",))

    async def changes(self, routing: Routing) -> Sequence[str]:
        return [f"rule {n}: {dict(rule)}" for n, rule in enumerate(self.rules) if rule != routing.weights]

    async def write(self, routing: Routing) -> None:
        writing = asyncio.create_task(self._write(routing))
        self.writing.add(writing)
        # As a thread does: whoever no longer waits for it does not stop it.
        await asyncio.shield(writing)

    async def _write(self, routing: Routing) -> None:
        turns, self.slow = self.slow, 0
        for _ in range(turns):
            await asyncio.sleep(0)
        self.rules[0] = dict(routing.weights)
        await asyncio.sleep(0)
        if self.fails:
            self.fails -= 1
            raise RouterError("the second rule was not changed: throttled", retryable=True)
        self.rules[1] = dict(routing.weights)

    async def healthy_targets(self, color: str) -> int | None:
        return None

    async def retire(self, color: str) -> Sequence[str]:
        self.retired.append(color)
        return [f"{color} retired"]


class RecordingReporter:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.said_lines: list[str] = []
        self.looks = 0
        self.blind = 0

    def begun(self, progress: CutoverProgress, *, again: bool) -> None: ...
    def step(self, progress: CutoverProgress) -> None:
        self.steps.append(progress.step.value)

    def looked(self, progress: CutoverProgress, numbers: Mapping[str, Numbers] | None, waits_for: str) -> None:
        self.looks += 1
        self.blind += numbers is None

    def said(self, text: str) -> None:
        self.said_lines.append(text)

    def over(self, progress: CutoverProgress) -> None: ...


class Cut:
    """Passes every call on to a port, and ends the tool before or after one of them."""

    def __init__(self, port: Any, counter: Counter) -> None:
        self._port = port
        self._counter = counter

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not asyncio.iscoroutinefunction(found):
            return found

        async def cut(*args: Any, **more: Any) -> Any:
            return await self._counter.pass_on(name, found, *args, **more)

        return cut


@dataclass
class Counter:
    """Counts what the tool asks of its ports."""

    die_at: int | None = None
    after: bool = False
    act_at: int | None = None
    act: Callable[[], None] = lambda: None
    calls: int = 0
    asked: list[str] = field(default_factory=list)

    async def pass_on(self, name: str, run: Callable[..., Awaitable[Any]], *args: Any, **more: Any) -> Any:
        self.calls += 1
        self.asked.append(name)
        if self.calls == self.act_at:
            self.act()
        if self.calls == self.die_at and not self.after:
            raise Died
        done = await run(*args, **more)
        if self.calls == self.die_at and self.after:
            raise Died
        return done


class SimStore(MemoryStore):
    """Answers nobody while `is_away`, and nobody well while it `refuses`."""

    is_away = False
    refuses = False
    refuses_pods = False
    """Only to say who lives; heartbeats are taken."""

    def _check(self) -> None:
        if self.refuses:
            raise StoreRefused("no such permission")
        if self.is_away:
            raise StoreUnavailable("no answer in time")

    async def heartbeat(self, heartbeat: PodHeartbeat, *, ttl_s: int) -> DrainRequest | None:
        self._check()
        return await super().heartbeat(heartbeat, ttl_s=ttl_s)

    async def pods(self) -> list[PodHeartbeat]:
        self._check()
        if self.refuses_pods:
            raise StoreRefused("no such permission")
        return await super().pods()

    async def drain_request(self, color: str) -> DrainRequest | None:
        self._check()
        return await super().drain_request(color)

    async def request_drain(self, color: str, request: DrainRequest | None) -> None:
        self._check()
        await super().request_drain(color, request)

    async def weights(self) -> RouterWeights | None:
        self._check()
        return await super().weights()

    async def tell_weights(self, weights: Mapping[str, int], now_ms: int) -> None:
        self._check()
        await super().tell_weights(weights, now_ms)

    async def get(self, name: str) -> bytes | None:
        self._check()
        return await super().get(name)

    async def compare_and_set(self, name: str, old: bytes | None, new: bytes | None, *, ttl_s: int) -> bool:
        self._check()
        return await super().compare_and_set(name, old, new, ttl_s=ttl_s)


class Simulation:
    """Callers, four pods and a router. Every quarter of a second the promises are checked."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.store = SimStore(ttl_s=60, now_s=self.clock.monotonic_s)
        self.router = SimRouter()
        self.watch = FleetWatch(self.store, self.clock)
        self.reporter = RecordingReporter()
        self.pods = [SimPod(f"{color}-{n}", color) for color in ("blue", "green") for n in range(2)]
        for pod in self.pods[:2]:
            pod.calls = 4
        self.broken: list[str] = []
        self.smokes: list[str] = []
        self.smoke_fails = ""
        self.per_second: Callable[[Simulation], None] = lambda simulation: None
        """A test's own course of events."""
        self.clock.passing.append(self._pass)
        self.heartbeat()

    def context(self, counter: Counter) -> Context:
        """The ports, each call of which is counted."""
        smoke: Any = Cut(self, counter)
        return Context(
            router=Cut(self.router, counter),
            watch=Cut(self.watch, counter),
            store=cast("Store", Cut(self.store, counter)),
            smoke=smoke.smoke,
            clock=Cut(self.clock, counter),
            reporter=self.reporter,
        )

    async def smoke(self, color: str) -> str:
        """As told."""
        self.smokes.append(color)
        if self.smoke_fails:
            raise CutoverError(self.smoke_fails)
        return f"{color} answers"

    def calls(self, color: str) -> int:
        """Of all living pods of a color."""
        return sum(pod.calls for pod in self.of(color))

    def of(self, color: str) -> list[SimPod]:
        """Its living pods."""
        return [pod for pod in self.pods if pod.color == color and pod.alive]

    def ready_pods(self, color: str) -> list[SimPod]:
        """Its pods that take calls."""
        return [pod for pod in self.of(color) if not pod.draining]

    def heartbeat(self) -> None:
        """Every pod that is due says that it lives, and learns its color's drain request."""
        for pod in self.pods:
            if pod.alive and not self.store.is_away and self.clock.now_s - pod.heartbeat_at_s >= HEARTBEAT_S:
                pod.heartbeat_at_s = self.clock.now_s
                request = _now(self.store.heartbeat(self._heartbeat_of(pod), ttl_s=7))
                pod.draining = request is not None

    def _heartbeat_of(self, pod: SimPod) -> PodHeartbeat:
        return PodHeartbeat(
            name=pod.name,
            color=pod.color,
            version=pod.version,
            status="draining" if pod.draining else pod.status,
            active_calls=pod.calls,
            parked_calls=0,
            capacity=pod.capacity,
            started_at_ms=1,
            heartbeat_at_ms=self.clock.wall_ms(),
            reads_schemas=pod.reads_schemas,
            store=pod.store,
            counters=pod.counters,
            calls_not_resumable=pod.not_resumable,
        )

    def _pass(self, now_s: float) -> None:
        self.heartbeat()
        self.per_second(self)
        # Draining pods hand their calls off, one each, to where resumes are sent.
        told = None if self.store.is_away else _now(self.store.weights())
        routed = frozenset() if told is None else told.routed
        sent_to = {color for rule in self.router.rules for color, weight in rule.items() if weight > 0}
        if routed - sent_to:
            self.broken.append(f"{now_s}: pods are told that callers are sent to {routed - sent_to}")
        to = [color for color, weight in self.router.rules[1].items() if weight > 0 and self.ready_pods(color)]
        to = [color for color in to if color in routed]
        for pod in self.pods:
            if pod.alive and pod.draining and pod.calls > pod.not_resumable and to:
                pod.calls -= 1
                self.ready_pods(to[-1])[0].calls += 1
        for number, rule in enumerate(self.router.rules):
            for color in rule:
                # With a weight, or by a cookie: whoever is sent there must be served.
                if self.of(color) and not self.ready_pods(color):
                    self.broken.append(f"{now_s}: rule {number} sends callers to {color}, which drains")


def _now(awaitable: Any) -> Any:
    """The result of a coroutine that never really waits, as those of `MemoryStore`."""
    try:
        awaitable.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")
