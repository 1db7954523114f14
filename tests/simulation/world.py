"""Pods, a store, callers and faults, put together for one schedule and run to its end."""

from __future__ import annotations

import copy
from asyncio import Task, TimerHandle
from collections import Counter, deque
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from tests.simulation.accounts import Accounts
from tests.simulation.agent import Cast
from tests.simulation.caller import Caller, Refusal, Utterance
from tests.simulation.edge import SimEdge
from tests.simulation.edge_line import EdgeCaller, EdgePhone
from tests.simulation.network import Connection, StoreLink
from tests.simulation.plain_caller import PlainCaller
from tests.simulation.schedule import COMES_BACK, Fault, Schedule
from tests.simulation.weather import Weather
from tests.simulation.witness import Broken, Witness
from tests.upgrade.releases import RELEASE, Release
from voice_agent.call.drain import DrainMode
from voice_agent.call.inputs import DtmfPressed
from voice_agent.call.record import CallRecord
from voice_agent.call.tokens import resume_token
from voice_agent.call.usage import Settled
from voice_agent.edge.dialing import PodRefused
from voice_agent.errors import ConnectionRefused
from voice_agent.runtime.calls.live_call import LiveCall
from voice_agent.runtime.durability.call_writer import FENCED
from voice_agent.runtime.pod.attachment import Attachment
from voice_agent.runtime.pod.options import CallSettings, PodLimits, PodPorts
from voice_agent.runtime.pod.pod import Pod
from voice_agent.runtime.pod.pod_request import Destination, PodRequest
from voice_agent.runtime.ports import ClientOptions, Frames, ResumeCall, StartCall
from voice_agent.runtime.recordings import NoRecordings, Recordings
from voice_agent.stores.memory import MemoryStore
from voice_agent.testing.virtual_loop import PROCESS, Process, VirtualClock, VirtualLoop

SECRET = b"a secret of the simulation"
MIN_DRAIN_S = 0.1
MOVED_S = 3
"""So long a pod tries to give its calls to another one."""
HEAL_S = 20.0
"""When all faults are over at the latest."""
END_S = 150.0
"""Whoever is not done by then is stuck."""
KEPT_PAST_S = 0.5
EDGES = 2
EDGE_STOP_S = 1.0
"""A caller of whom nothing is heard for longer may be taken to have finished."""


class AccountObserver:
    """`runtime.ports.Observer` for whom nothing is worth a word but what providers were asked for."""

    def __init__(self, accounts: Accounts) -> None:
        self.frames = Frames()
        self._accounts = accounts

    def usage_settled(self, _provider: str, model: str, settled: Settled) -> None:
        self._accounts.shown(model, settled)

    def __getattr__(self, name: str) -> Any:
        return _nothing


def _nothing(*_: object) -> None: ...


def _is_done(task: Task[Any]) -> bool:
    """Raises what it came to if it failed."""
    if task.done():
        task.result()
        return True
    return False


@dataclass(slots=True)
class Host:
    """A machine on which one pod process after the other runs."""

    name: str
    process: Process
    pod: Pod
    ready: bool = False
    connections: list[Connection] = field(default_factory=list)
    away_s: float = 0.0
    """How long after its death the next process starts."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `broken` None: every promise was kept."""

    broken: str | None
    trace: tuple[str, ...]
    turns: int
    seconds: float
    counts: Counter[str]


class Manifests:
    """One run."""

    def __init__(self, schedule: Schedule, recordings: Recordings | None = None) -> None:
        self.schedule = schedule
        self.random = Random(schedule.seed ^ 0x5EED)
        self.loop = VirtualLoop(self.random)
        self.witness = Witness()
        self.witness.now_s = self.loop.time
        self.weather = Weather(self.random, self.loop.time)
        self.server = MemoryStore(ttl_s=1800, now_s=self.loop.time)
        self.accounts = Accounts(Random(schedule.seed ^ 0xC057), self.witness, is_asked=schedule.asks)
        self.accounts.lacks = self._lacks_call
        self.cast = Cast(self.random, self.witness, self.accounts)
        self.cast.lacks_speech = self._lacks_speech
        self.cast.is_saved = self._is_saved
        self.clock = VirtualClock(self.loop)
        self.recordings = recordings or NoRecordings()
        self._past: deque[tuple[float, Any, Any]] = deque()
        self.hosts: list[Host] = []
        self.callers: list[Caller] = []
        self.edges: list[SimEdge] = []
        """Those that have not left, and those that drain and still hold somebody."""
        self._tasks: list[Any] = []

    def run(self) -> Outcome:
        """Play the schedule."""
        try:
            self._begin()
            done = self.loop.run(self._over, deadline_s=END_S)
            if not self.witness.verdict:
                self._judge(done)
        except Broken:
            pass
        finally:
            seconds = self.loop.time()
            self.loop.dispose()
        witness = self.witness
        return Outcome(witness.verdict or None, tuple(witness.trace), self.loop.turns, seconds, witness.counts)

    def _begin(self) -> None:
        for number in range(self.schedule.pods):
            self.hosts.append(self._boot(f"pod-{number}"))
        for _ in range(EDGES if self.schedule.behind_edge else 0):
            self._start_edge()
        for number, (model, lines) in enumerate(zip(self.schedule.models, self.schedule.lines, strict=True)):
            process = self.loop.process(f"caller-{number}")
            caller = self._caller(number, model, lines)
            self.callers.append(caller)
            self._tasks.append(self.loop.spawn(process, caller.run()))
        for fault in self.schedule.faults:
            self.loop.at(fault.at_s, self._strike, fault)
        if any(fault.kind == "rollback" for fault in self.schedule.faults):
            self._remember()
        self.loop.at(HEAL_S, self._heal)

    def _caller(self, number: int, model: str, lines: tuple[Utterance, ...]) -> Caller:
        name = f"caller-{number}"
        known = (self.random, self.witness)
        if not self.edges:
            return Caller(name, model, lines, self, *known, by_key=number in self.schedule.by_key)
        ids = self.schedule.behind_edge[number]
        if ids == COMES_BACK:
            return EdgeCaller(name, model, lines, EdgePhone(name, self._choose_edge), *known)
        return PlainCaller(name, model, lines, self, *known, edges=self._choose_edge, ids=ids)

    def _start_edge(self) -> None:
        name = f"edge-{len(self.edges)}"
        self.edges.append(SimEdge(name, self.loop, self.weather, self.witness, self.random, self))

    def _choose_edge(self) -> SimEdge:
        """As a load balancer before them."""
        healthy = [edge for edge in self.edges if not edge.edge.draining]
        return self.random.choice(healthy if self.random.random() < 0.8 else self.edges)

    def _over(self) -> bool:
        if self.witness.verdict:
            return True
        # Asked at every turn: so it makes no lists.
        is_over = True
        for task in self._tasks:
            is_over &= _is_done(task)
        for edge in self.edges:
            for task in edge.holding:
                is_over &= _is_done(task)
        for task in self.loop.world.tasks:
            _is_done(task)
        return is_over and not self._behind()

    def _behind(self) -> list[str]:
        return [host.name for host in self.hosts if host.ready and host.pod.committer.write_back.is_behind]

    def _judge(self, done: bool) -> None:
        if not done:
            stuck = [caller.name for caller in self.callers if not caller.outcome]
            for caller in self.callers:
                if caller.waits_for:
                    self.witness.broken(f"what waits comes: {caller.name} waited in vain for {caller.waits_for}")
            self.witness.broken(
                f"a call outlives its pod: {', '.join(stuck)} got no further"
                if stuck
                else f"the store may fail: {', '.join(self._behind())} never wrote everything back"
            )
        for process in (*(host.process for host in self.hosts), *(edge.process for edge in self.edges)):
            for task in process.tasks:
                error = task.exception() if process.alive and task.done() and not task.cancelled() else None
                # That a call is refused is what looking for its next pod may come to.
                if error is not None and not isinstance(error, PodRefused):
                    self.witness.broken(f"a task of {process.name} failed: {error!r}")
        if self.loop.faults:
            self.witness.broken(f"the event loop was told: {self.loop.faults[0]}")
        self.witness.counts.update(caller.outcome for caller in self.callers)

    # --- pods -------------------------------------------------------------------

    def _boot(self, name: str) -> Host:
        process = self.loop.process(name)
        release = self.random.choice(list(Release)) if self.schedule.is_mixed else Release.THIS
        process.context.run(RELEASE.set, release)
        link = StoreLink(self.server, self.loop, name, self.weather, self.witness)
        pod = process.context.run(self._make_pod, name, link)
        host = Host(name, process, pod)
        link.release = release
        process.on_death = lambda: self._died(host)
        self._watch(pod.committer)
        calls = pod.owned.by_id
        link.remembers = lambda call_id: calls[call_id].call.owner.epoch if call_id in calls else None

        async def open_pod() -> None:
            await pod.open()
            host.ready = True

        self.loop.spawn(process, open_pod())
        return host

    def _watch(self, committer: Any) -> None:
        """Have the witness told what is let out while the store is given up."""
        degrade, continue_unsaved = committer._degrade, committer._continue_unsaved
        write_some_back = committer.write_back.write_some

        def degrading(batch: Any, why: Any) -> None:
            for writer, _, waiting in batch:
                self.witness.let_out(writer.call.call_id, waiting)
            degrade(batch, why)

        def continuing_unsaved() -> None:
            for writer in committer._marked:
                self.witness.let_out(writer.call.call_id, writer.call.outbox.unsaved)
            continue_unsaved()

        async def writing_back() -> bool:
            for writer in committer.write_back.unsaved:
                self.witness.let_out(writer.call.call_id, writer.call.outbox.unsaved)
            return bool(await write_some_back())

        committer._degrade, committer._continue_unsaved = degrading, continuing_unsaved
        committer.write_back.write_some = writing_back

    def _is_saved(self, call_id: str) -> bool:
        """Whether the pod whose turn it is has the call, and a store that takes what it writes of it."""
        return self._saved_call(call_id) is not None

    def _lacks_speech(self, call_id: str) -> bool:
        """Whether the pod whose turn it is has something to write of what its agent said, while the store takes it."""
        call = self._saved_call(call_id)
        return call is not None and any(b'"response.output_' in entry.head[:80] for entry in call.outbox.unsaved)

    def _saved_call(self, call_id: str) -> CallRecord | None:
        pod, live = self._held(call_id)
        if live is None or live.writer.state is FENCED or pod.committer.lacks(live.writer):
            return None
        return live.call

    def _lacks_call(self, call_id: str) -> bool:
        """Whether the pod whose turn it is has given the store up for this call."""
        pod, live = self._held(call_id)
        return live is not None and live.writer.state is not FENCED and pod.committer.lacks(live.writer)

    def _held(self, call_id: str) -> tuple[Pod, LiveCall | None]:
        """The pod whose turn it is, and the call if it has it in memory."""
        pod = next(host.pod for host in self.hosts if host.process is PROCESS.get())
        return pod, pod.owned.by_id.get(call_id)

    def _make_pod(self, name: str, link: StoreLink) -> Pod:
        return Pod(
            settings=CallSettings(
                pod=name,
                color="blue" if name.endswith("0") else "green",
                resume_window_s=60,
                address=f"ws://{name}:80",
            ),
            limits=PodLimits(capacity=10, caller_bytes=256 * 1024 * 1024),
            ports=PodPorts(
                store=link,
                agents=self.cast,
                clock=self.clock,
                observer=AccountObserver(self.accounts),
                random_bytes=self.random.randbytes,
                recordings=self.recordings,
            ),
            version="1",
            secret=SECRET,
        )

    def _died(self, host: Host) -> None:
        self.witness.note(f"{host.name}: gone")
        host.ready = False
        self.loop.at(host.away_s, self._restart, host)
        for connection in host.connections:
            connection.broke(self.random.choice((0.0, 0.01, 1.0)) * self.random.random())

    # --- `caller.Phone` -----------------------------------------------------------

    def pick(self) -> str:
        """A load balancer that health checks have told of drains and dead pods, but not always in time."""
        healthy = [host for host in self.hosts if host.ready and not host.pod.draining]
        return self.random.choice(healthy if healthy and self.random.random() < 0.8 else self.hosts).name

    async def connect(self, pod: str, query: dict[str, Any], *, is_chosen: bool) -> Connection:
        """Reach a pod."""
        await self.clock.sleep(self.weather.wire_delay_s())
        host = next(host for host in self.hosts if host.name == pod)
        if not host.ready:
            raise ConnectionError(f"{pod} is not there")
        connection = Connection(self.loop, self.weather, self.witness, pod)
        connection.call_id = query.get("call_id", "")
        connection.is_chosen = is_chosen
        host.connections.append(connection)
        answer = self.loop.create_future()
        self.loop.spawn(host.process, self._serve(host, connection, query, answer))
        try:
            status = await answer
        except BaseException:
            connection.leave(1006)
            raise
        if status != 101:
            raise Refusal(status)
        return connection

    async def _serve(self, host: Host, connection: Connection, query: dict[str, Any], answer: Any) -> None:
        """What `web` does: a refusal before the upgrade, or the upgrade and the call."""
        try:
            attachment = await self._attach(host, connection, query)
        except ConnectionRefused as refused:
            self._answer(answer, refused.status)
            return
        if connection.caller_left:
            await attachment.abandon()
            return
        connection.call_id = attachment.call_id
        live = host.pod.owned.by_id[attachment.call_id]
        committer = host.pod.committer
        # At its deadline a drain may have to leave without the store.
        connection.heard_ms = lambda: (
            0 if committer.degraded or committer.has_pending(live.writer) else _heard_ms(live.call)
        )
        connection.pressed = partial(self._press, host.pod, attachment.call_id)
        self._answer(answer, 101)
        await attachment.serve(connection)

    def _press(self, pod: Pod, call_id: str, digit: str) -> None:
        """A key of the telephone has come over a connection."""
        if (live := pod.owned.by_id.get(call_id)) is not None:
            live.feed(DtmfPressed(digit))

    async def _attach(self, host: Host, connection: Connection, query: dict[str, Any]) -> Attachment:
        last_event = int(query["last_event"].removeprefix("evt_")) if "last_event" in query else None
        client = ClientOptions(
            resumable_now=query.get("resumable_now", False),
            received=query.get("received", False),
            directed=query.get("directed", False),
        )
        if "call_id" not in query:
            key = query.get("key")
            return await host.pod.start(
                StartCall(
                    query["model"],
                    "key",
                    key,
                    last_event,
                    resumable=True,
                    client=client,
                    is_gone=lambda: connection.caller_left,
                )
            )
        call_id = query["call_id"]
        if query["token"] != resume_token(SECRET, call_id):
            raise ConnectionRefused(403, "bad_token", "wrong token")
        return await host.pod.resume(ResumeCall(call_id, last_event, client, is_gone=lambda: connection.caller_left))

    def _answer(self, answer: Any, status: int) -> None:
        self.loop.at(self.weather.wire_delay_s(), _settle, answer, status)

    # --- faults ---------------------------------------------------------------------

    def _strike(self, fault: Fault) -> None:
        self.witness.note(f"fault: {fault}")
        self.witness.counts[f"fault {fault.kind}"] += 1
        host = self.hosts[fault.target % len(self.hosts)]
        match fault.kind:
            case "crash":
                host.process.dies_at_step = host.process.steps + fault.steps
                host.away_s = fault.lasts_s + 0.2
            case "stop":
                host.process.stopped = True
                self.loop.at(fault.lasts_s, self._continue, host)
            case "drain":
                if host.ready:
                    self.loop.spawn(host.process, self._drain(host, MIN_DRAIN_S + fault.lasts_s))
            case "drain-cancel":
                if host.ready:
                    host.process.context.run(host.pod.drain, DrainMode.HANDOFF, MIN_DRAIN_S + 2 * fault.lasts_s)
                    self.loop.at(fault.lasts_s, self._cancel_drain, host)
            case "moved":
                if host.ready:
                    to = self.hosts[(fault.target + 1) % len(self.hosts)].name
                    self.loop.spawn(host.process, self._move_calls(host, to))
            case "cut" | "move" | "unread" | "cut-at-change" | "move-at-resume":
                self._disturb(fault)
            case "edge-stop":
                self._stop_edge(fault.target, min(fault.lasts_s, EDGE_STOP_S))
            case "edge-drain":
                self._drain_edge(fault.target)
            case "refused" | "silent" | "late" | "unanswered":
                self.weather.begin(fault.kind, host.name, fault.lasts_s)
            case "slow" | "locked":
                self.weather.begin(fault.kind, None, fault.lasts_s)
            case "outage":
                self.weather.begin("refused", None, fault.lasts_s)
            case "full":
                self.server.is_full = True
                self.loop.at(fault.lasts_s, self._make_room)
            case "flush":
                self._lose_store({}, {})
            case "rollback":
                _, calls, keys = self._past[0]
                self._lose_store(calls, keys)
            case "evict":
                self._evict()

    def _disturb(self, fault: Fault) -> None:
        caller = self.callers[fault.target % len(self.callers)]
        if fault.kind == "move":
            caller.move()
        elif fault.kind == "cut":
            caller.cut(fault.lasts_s)
        elif isinstance(caller, PlainCaller):
            if fault.kind == "unread":
                caller.stop_reading()
                self.loop.at(fault.lasts_s, caller.read_again)
            elif fault.kind == "cut-at-change":
                caller.cut_at_change = True
            else:
                caller.move_at_resume = True

    def _stop_edge(self, target: int, lasts_s: float) -> None:
        edge = self.edges[target % len(self.edges)]
        edge.process.stopped = True
        self.loop.at(lasts_s, self._continue, edge)

    def _drain_edge(self, target: int) -> None:
        """As a deployment replaces it: another one serves first."""
        serving = [edge for edge in self.edges if not edge.edge.draining]
        self._start_edge()
        serving[target % len(serving)].drain()

    async def _move_calls(self, host: Host, to: str) -> None:
        """An operator has a pod give its calls to another one, by name."""
        destination = Destination(f"ws://{to}:80", len(self.callers))
        host.pod.heartbeat.requests.mover.start(
            PodRequest("4f", 1, MOVED_S, evacuates=False, destinations=[destination])
        )

    async def _drain(self, host: Host, deadline_s: float) -> None:
        """SIGTERM: drain, close, leave."""
        host.pod.drain(DrainMode.HANDOFF, deadline_s)
        await host.pod.wait_drained()
        await host.pod.close()
        self.loop.at(0.0, self._leave, host)

    def _leave(self, host: Host) -> None:
        self.loop.kill(host.process)

    def _cancel_drain(self, host: Host) -> None:
        if host.process.alive:
            host.process.context.run(host.pod.drainer.cancel)

    def _continue(self, host: Host | SimEdge) -> None:
        if self.random.random() < 0.5:
            # A process that wakes up may see first that time has passed, and only then what has arrived.
            host.process.queue = deque(sorted(host.process.queue, key=lambda turn: not isinstance(turn, TimerHandle)))
        host.process.stopped = False

    def _restart(self, host: Host) -> None:
        fresh = self._boot(host.name)
        self.hosts[self.hosts.index(next(h for h in self.hosts if h.name == host.name))] = fresh
        self.witness.note(f"{host.name}: started again")

    def _remember(self) -> None:
        """Keep the store's recent past, for a failover that falls back into it."""
        now_s = self.loop.time()
        self._past.append((now_s, copy.deepcopy(self.server._calls), copy.deepcopy(self.server._keys)))
        while self._past[0][0] < now_s - KEPT_PAST_S:
            self._past.popleft()
        if now_s < HEAL_S:
            self.loop.at(0.05, self._remember)

    def _lose_store(self, calls: Any, keys: Any) -> None:
        before = list(self.server._calls)
        self.server._calls.clear()
        self.server._calls.update(copy.deepcopy(calls))
        self.server._keys.clear()
        self.server._keys.update(keys)
        for call_id in before:
            kept = self.server._calls.get(call_id)
            newest = int(kept.fields["seq"]) if kept is not None else 0  # What was acknowledged is in no outbox.
            self.witness.store_lost(call_id, newest, int(kept.fields["epoch"]) if kept is not None else 0)

    def _evict(self) -> None:
        """One key of one call is gone."""
        if not self.server._calls:
            return
        call_id = self.random.choice(list(self.server._calls))
        kept = self.server._calls[call_id]
        part = self.random.choice((kept.items, kept.outbox, kept.speech))
        if part:
            part.clear()
            self.witness.evicted(call_id)

    def _make_room(self) -> None:
        self.server.is_full = False

    def _heal(self) -> None:
        self.witness.note("all faults are over")
        self.weather.clear()
        self._make_room()
        for host in list(self.hosts):
            host.process.stopped = False
            host.process.dies_at_step = None
            self._cancel_drain(host)


def _heard_ms(call: CallRecord) -> int:
    """What a pod has taken of its caller's words; between utterances that is not the padding of the next one."""
    buffer = call.input_audio
    waits = call.session.turn_detection is None or buffer.speaking
    return buffer.base_ms + call.session.input_format.ms(buffer.position if waits else buffer.durable_position)


def _settle(answer: Any, status: int) -> None:
    if not answer.done():
        answer.set_result(status)
