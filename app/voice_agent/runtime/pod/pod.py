"""A pod: everything one server process knows of its calls, and the work that goes on beside them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

import structlog

from voice_agent.call.drain import Drain, DrainMode
from voice_agent.call.event_ids import event_id
from voice_agent.call.machine import Attached
from voice_agent.call.record import Status
from voice_agent.call.tokens import resume_token
from voice_agent.errors import ConnectionRefused, StoreError
from voice_agent.runtime.budget import Budget
from voice_agent.runtime.calls.connection import Connection
from voice_agent.runtime.calls.live_call import LiveCall
from voice_agent.runtime.durability.committer import Committer
from voice_agent.runtime.durability.store_fitness import StoreFitness
from voice_agent.runtime.pod.admission import Admission, unavailable
from voice_agent.runtime.pod.attachment import Attachment
from voice_agent.runtime.pod.drainer import Drainer
from voice_agent.runtime.pod.fleet import ReadyPods
from voice_agent.runtime.pod.heartbeat import Heartbeat
from voice_agent.runtime.pod.overload import ENTER_S
from voice_agent.runtime.pod.ownership import Agents, CallSettings, Ownership, ResumedCall
from voice_agent.runtime.pod.quota import KeyQuota
from voice_agent.runtime.pod.records import describe
from voice_agent.runtime.ports import (
    Arrival,
    CallSummary,
    FleetClock,
    Observer,
    PodStatus,
    ResumeCall,
    StartCall,
    StoreState,
)
from voice_agent.stores.base import DrainRequest, NotClaimed, PodCounters, PodHeartbeat, PodState, Store

log = structlog.get_logger(__name__)


class Pod:
    """Made once per process by the composition root; `open` before the first call, `close` after the last."""

    def __init__(
        self,
        *,
        settings: CallSettings,
        version: str,
        secret: bytes,
        capacity: int,
        calls_per_key: int,
        revoked: frozenset[str] = frozenset(),
        overload_lag_s: float = ENTER_S,
        caller_bytes: int,
        key_bytes: int,
        store: Store,
        agents: Agents,
        clock: FleetClock,
        observer: Observer,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        agreed: Mapping[str, bytes] | None = None,
        counters: Callable[[], PodCounters | None] = lambda: None,
    ) -> None:
        """`calls_per_key`: the most calls of one API key in the fleet, 0 for no limit. `revoked`: hashes of API keys.

        `overload_lag_s`: with a later event loop no new calls are taken; 0: however late it is.

        `caller_bytes`: what all callers may make the pod hold, `key_bytes` those of one API key (0: as much).

        `agreed`: what the pods of the store agreed on, told again to a store that comes back empty.

        `counters`: what the observer has counted, for the heartbeat.
        """
        self.name = settings.pod
        self.color = settings.color
        self.version = version
        self.started_at_ms = clock.wall_ms()
        self.settings = settings
        self.admission = Admission(capacity, KeyQuota(calls_per_key))
        self.budget = Budget(caller_bytes, key_bytes or caller_bytes)
        self.clock = clock
        self.observer = observer
        self.store = store
        self._secret = secret
        self.agreed = dict(agreed or {})
        self.counters = counters
        self.committer = Committer(store, clock, observer, lambda: list(self.ownership.calls.values()))
        self.admission.store_is_nearly_full = self._store_is_nearly_full
        self.ownership = Ownership(
            store, agents, self.committer, clock, observer, settings, random_bytes, self.admission, revoked, self.budget
        )
        self.is_leaving: Callable[[str], bool] = lambda name: False
        """Whether a pod of the fleet is known to leave, sooner than its heartbeat says so."""
        self.overload_lag_s = overload_lag_s
        self.next_turn: Callable[[], Awaitable[None]] = _at_once
        """Waits as long as a caller's message does that comes now, where work is shared out over turns of the loop."""
        self._took_call_at_s: float | None = None
        self._forwarded_call_at_s: float | None = None
        self.fitness = StoreFitness(store, clock, capacity)
        self.heartbeat = Heartbeat(self)
        self._drainer = Drainer(self)
        self._tasks: list[asyncio.Task[None]] = []

    # --- life ---------------------------------------------------------------

    async def open(self) -> None:
        """Start the work beside the calls and show up in the fleet. Raises `StoreUnfit`."""
        await self.fitness.begin()
        self._start("committer", self.committer.run())
        self._start("write back", self.committer.write_back.run())
        self._start("upkeep", self.heartbeat.upkeep())
        self._start("parking", self.heartbeat.bound_parking())
        self._start("overload", self.heartbeat.watch_loop())
        await self.heartbeat.heartbeat()
        # By the store's clock, which the first heartbeat has told: others compare it with what happened to them.
        self.started_at_ms = self.clock.wall_ms()
        self._start("heartbeat", self.heartbeat.run())

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(_report_crash)
        self._tasks.append(task)

    async def close(self) -> None:
        """Make the last changes durable and leave the fleet. Parked calls stay in the store for other pods."""
        for live in list(self.ownership.calls.values()):
            await live.stop_work()
            await self.committer.flush(live)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.heartbeat.leave()

    def _store_is_nearly_full(self) -> bool:
        """Whether new calls would fill it. One that cannot be reached is not asked about; calls go on from memory."""
        return self.committer.memory.is_nearly_full and self.store_state is not StoreState.UNREACHABLE

    # --- connections ----------------------------------------------------------

    def refusal_of_new_calls(self) -> ConnectionRefused | None:
        """What any caller of a new call would be refused with right now, or None; to be asked before the handshake."""
        return self.admission.refusal_of_new_calls()

    async def start(self, request: StartCall) -> Attachment:
        """Take a new call, or the one its call key stands for. Raises `ConnectionRefused`."""
        if request.call_key_hash is None:
            self.admission.take_new(request.api_key_hash)
        else:
            # It may be a call that exists; whether a new one may be made is asked once that is known.
            self.admission.take_resume()
        try:
            began_s = self.clock.monotonic_s()
            if request.call_key_hash is None:
                found: ResumedCall | LiveCall = await self.ownership.make(request)
            else:
                found = await self.ownership.start_by_key(request)
            connection = Connection(self.observer, going_away=request.going_away, resumable=request.resumable)
            if isinstance(found, ResumedCall):
                return self._resumed(found, connection, request, began_s)
            self.observer.call_started()
            self._note_taken(request)
            return Attachment(self, found, connection, None)
        except BaseException:
            self.admission.give_back()
            raise

    async def resume(self, request: ResumeCall) -> Attachment:
        """Take up a call again. Raises `ConnectionRefused`: 404 unknown, 410 ended, 503 cannot tell or won't.

        No quota and no overload keeps a call from being taken up again.
        """
        self.admission.take_resume()
        try:
            began_s = self.clock.monotonic_s()
            taken = await self.ownership.take_over(request.call_id, request, api_key_hash=None)
            if isinstance(taken, NotClaimed):
                raise _not_claimed(taken)
            connection = Connection(self.observer, going_away=request.going_away, resumable=True)
            return self._resumed(taken, connection, request, began_s)
        except BaseException:
            self.admission.give_back()
            raise

    def _resumed(
        self, found: ResumedCall, connection: Connection, request: StartCall | ResumeCall, began_s: float
    ) -> Attachment:
        if request.is_gone() and found.live.connection is not None:
            raise unavailable("caller_left", "The caller left, and the call goes on over another connection.")
        self.observer.resume_took(self.clock.monotonic_s() - began_s)
        self._note_taken(request)
        attachment = Attachment(self, found.live, connection, request.last_event, resumed=True)
        self.observer.call_resumed(found.kind, max(0, self.clock.wall_ms() - found.left_at_ms) / 1000)
        return attachment

    def _note_taken(self, request: StartCall | ResumeCall) -> None:
        """Callers are sent here, unless the request names its color."""
        if request.arrival is not Arrival.ASKED_FOR:
            self._took_call_at_s = self.clock.monotonic_s()
        if request.arrival is Arrival.FORWARDED:
            self._forwarded_call_at_s = self._took_call_at_s

    def greeting_of(self, live: LiveCall, attached: Attached, *, resumed: bool) -> dict[str, Any]:
        """The extension object ``session.call`` of the first event on a connection (design, section 4.2)."""
        call = live.call
        return {
            "id": call.call_id,
            "resume_token": resume_token(self._secret, call.call_id),
            "color": self.color,
            "pod": self.name,
            "epoch": call.epoch,
            "resumed": resumed,
            "input_audio_ms": call.heard_ms,
            "input_audio_bytes": call.heard_bytes,
            "last_client_event_id": call.last_client_event_id,
            "gap": _gap(attached),
            "ttl_s": self.settings.ttl_s,
            "resume_window_s": self.settings.resume_window_s,
        }

    # --- what operators see ---------------------------------------------------

    @property
    def state(self) -> PodState:
        """What the pod says of itself to other pods, as one word."""
        if self.draining:
            return PodState.DRAINING
        if any(task.done() for task in self._tasks):
            return PodState.FAILING
        if self.admission.is_full or self.admission.overloaded:
            return PodState.OVERLOADED
        return PodState.OK if self.store_state is StoreState.OK else PodState.DEGRADED

    @property
    def store_state(self) -> StoreState:
        """How it goes with the store: as the committer knows it while it is given up, or else the heartbeat."""
        is_told = self.committer.degraded or self.heartbeat.store_state is StoreState.OK
        return self.committer.state if is_told else self.heartbeat.store_state

    def _store_reason(self) -> str:
        """Why the store refuses, in its own words; nothing in its other states."""
        if self.store_state is not StoreState.REFUSED:
            return ""
        failure = self.committer.write_back.failure if self.committer.degraded else self.heartbeat.failure
        return f" ({failure.reason})" if isinstance(failure, StoreError) else ""

    def status(self) -> PodStatus:
        """Health as one word, and the numbers beside it.

        A pod that is overloaded says so only while another pod of its color takes calls, as their heartbeats say;
        until then it is `degraded`: a load balancer must not lose its last target, through which calls come back.
        """
        state = self.state
        if state is PodState.OVERLOADED and not self.heartbeat.others_take_calls:
            state = PodState.DEGRADED
        return PodStatus(
            status=state,
            pod=self.name,
            color=self.color,
            version=self.version,
            active_calls=self.admission.active,
            parked_calls=self.parked_calls,
            capacity=self.admission.capacity,
            store=f"{self.store.kind}:{self.store_state}{self._store_reason()}",
            drain_waits=self._drainer.waits,
        )

    @property
    def parked_calls(self) -> int:
        """Calls whose connection broke and whose resume window runs."""
        return sum(live.call.status is Status.PARKED for live in self.ownership.calls.values())

    def calls_not_resumable(self) -> int:
        """Attached calls whose client never said that it can come back: a drain waits for them."""
        return sum(live.connection is not None and not live.call.resumable for live in self.ownership.calls.values())

    def oldest_call_at_ms(self) -> int:
        """When the oldest attached call began; 0: there is none."""
        attached = (live.call for live in self.ownership.calls.values() if live.connection is not None)
        return min((call.created_at_ms for call in attached), default=0)

    def took_call_at_ms(self) -> int:
        """When a new call or a resume was last taken, by the store's clock; 0: never."""
        return self._stores_ms(self._took_call_at_s)

    def forwarded_call_at_ms(self) -> int:
        """The same of one that a proxy handed on."""
        return self._stores_ms(self._forwarded_call_at_s)

    def _stores_ms(self, at_s: float | None) -> int:
        if at_s is None:
            return 0
        now_ms = self.store.wall_ms() or self.clock.wall_ms()
        return int(now_ms - (self.clock.monotonic_s() - at_s) * 1000)

    def calls(self) -> list[CallSummary]:
        """The calls this pod owns."""
        return [
            CallSummary(
                call_id=live.call.call_id,
                model=live.call.model,
                status=live.call.status.value,
                epoch=live.call.epoch,
                started_at_ms=live.call.created_at_ms,
                events=live.call.seq,
                turns=live.call.turns,
                resumable=live.call.resumable,
            )
            for live in self.ownership.calls.values()
        ]

    async def all_calls(self) -> list[CallSummary]:
        """For the web layer: the calls of all workers, of which a pod by itself is the only one."""
        return self.calls()

    async def call_record(self, call_id: str) -> dict[str, Any] | None:
        """A call's record and transcript, from memory or from the store."""
        live = self.ownership.calls.get(call_id)
        if live is not None:
            return describe(live.call)
        snapshot = await self.store.load(call_id)
        return None if snapshot is None else describe(snapshot)

    async def erase(self, call_id: str) -> bool:
        """End a call, on whichever pod it is, and erase what was said; False if there is none. Raises `StoreError`.

        Another pod learns of it with its next write, and within `ASK_EPOCH_S` and `UPKEEP_S` of a silent call.
        """
        live = self.ownership.calls.get(call_id)
        erased = await self.store.erase(call_id, self.clock.wall_ms())
        if not erased and live is not None:
            # The store has lost it, or has not got it yet, or has no memory for it.
            await self.committer.flush(live)
            await self.committer.settle(live)
            await self.store.erase(call_id, self.clock.wall_ms())
        elif not erased:
            return False
        log.info("call erased", call_id=call_id)
        if live is not None:
            live.erased()
        return True

    async def fleet(self) -> list[PodHeartbeat]:
        """Every pod that is alive."""
        return await self.store.pods()

    # --- drain ------------------------------------------------------------------

    @property
    def draining(self) -> bool:
        """Whether the pod takes nothing new."""
        return self.admission.draining

    @property
    def drains_as_wished(self) -> bool:
        """Whether the drain under way was requested of the pod's color."""
        return self.draining and self._drainer.is_requested

    def drain(self, mode: DrainMode, deadline_s: float) -> None:
        """Take nothing new from now on and let attached calls go. A second call changes mode and deadline."""
        self._drainer.start(Drain(mode, deadline_s))

    def apply(self, request: DrainRequest | None) -> None:
        """Drain as an operator requests of the pod's color, or end such a drain; a drain of this pod alone stays."""
        if request is not None:
            known = request.mode in DrainMode.__members__.values()
            mode = DrainMode(request.mode) if known else DrainMode.HANDOFF  # A newer version may know more modes.
            self._drainer.start(Drain(mode, request.deadline_s), is_requested=True)
        elif self._drainer.is_requested:
            self._drainer.cancel()

    async def begin_drain(self, mode: DrainMode, deadline_s: float, *, only: str | None = None) -> bool:
        """Drain as an administrator requests; False if `only` is another pod's name."""
        if only not in {None, self.name}:
            return False
        self.drain(mode, deadline_s)
        return True

    async def ready_pods(self) -> ReadyPods:
        """Who would take up the calls that this pod hands off."""
        return await self._drainer.ready_pods()

    async def end_drain(self, *, only: str | None = None) -> bool | None:
        """Take calls again; None if `only` is another pod's name."""
        return self.cancel_drain() if only in {None, self.name} else None

    def cancel_drain(self) -> bool:
        """Take calls again; False if no drain was under way."""
        return self._drainer.cancel()

    async def wait_drained(self) -> None:
        """Wait until a drain has let the last attached call go."""
        await self._drainer.done.wait()


async def _at_once() -> None:
    """Messages are taken as they come."""


def _report_crash(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("pod task crashed", task=task.get_name(), exc_info=task.exception())


def _gap(attached: Attached) -> dict[str, Any] | None:
    """What the store has no more: events that this client has missed, and how many items and pieces of speech."""
    first, last = attached.gap or (None, None)
    lost = {part: count for part, count in attached.missing._asdict().items() if count and part != "events"}
    if first is None and not lost:
        return None
    return {"from": None if first is None else event_id(first), "to": None if last is None else event_id(last), **lost}


def _not_claimed(why: NotClaimed) -> ConnectionRefused:
    if why is NotClaimed.ENDED:
        return ConnectionRefused(410, "call_ended", "The call has ended.", param="call_id")
    return ConnectionRefused(404, "call_not_found", "There is no such call, or it has expired.", param="call_id")
