"""Between pods, callers and the store: messages take their time, get lost, and come too late."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import orjson

from tests.simulation.weather import Weather
from tests.simulation.witness import Witness
from tests.upgrade.releases import Release, added_to
from voice_agent.call.agent_fields import EVENTS
from voice_agent.call.agent_ledger import EventKind
from voice_agent.call.changes import CallWrite, OutboxEntry, Snapshot
from voice_agent.call.closing import CloseCode
from voice_agent.call.completeness import Kept, missing
from voice_agent.errors import StoreUnavailable
from voice_agent.runtime.ports import Transport
from voice_agent.stores.base import (
    Claim,
    Claimed,
    DrainRequest,
    NotClaimed,
    PodHeartbeat,
    RouterWeights,
    Store,
    WriteOutcome,
)
from voice_agent.stores.memory import MemoryStore
from voice_agent.testing.virtual_loop import VirtualLoop, run_now
from voice_agent.websocket.keepalive import Probe

_NUMBERED = b'{"event_id":"evt_'
ANSWER_S = 2.0
"""As `stores.redis_client` waits."""


class StoreLink(Store):
    """One pod's way to the store that all pods share."""

    def __init__(self, server: MemoryStore, loop: VirtualLoop, pod: str, weather: Weather, witness: Witness) -> None:
        super().__init__(ttl_s=server.ttl_s)
        self._server = server
        self._loop = loop
        self._pod = pod
        self.remembers: Callable[[str], int | None] = lambda call_id: None
        """The epoch under which the pod has a call in memory; None if it has not."""
        self.release = Release.THIS
        """Of the pod's process."""
        self._weather = weather
        self._witness = witness

    @property
    def kind(self) -> str:
        return "simulated"

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def _ask(
        self, ask: Callable[[], Coroutine[Any, Any, Any]], *, again: bool = False, changes: bool = True
    ) -> Any:
        """A question and its answer. With `again` the network may carry the question twice."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._loop.at(self._weather.store_delay_s(), self._arrive, ask, answer, again, changes)
        try:
            async with asyncio.timeout(ANSWER_S):
                return await answer
        except TimeoutError:
            raise StoreUnavailable("no answer in time") from None

    def _arrive(
        self, ask: Callable[[], Coroutine[Any, Any, Any]], answer: asyncio.Future[Any], again: bool, changes: bool
    ) -> None:
        way = self._weather.way_to_store(self._pod)
        if way == "locked":
            way = "refused" if changes else "free"
        if way == "refused":
            self._loop.at(0.001, _give, answer, StoreUnavailable("refused"))
            return
        if way == "silent":
            return
        if way == "late":
            # It waits in a buffer until the way is free; whoever asked has long given up.
            if again:
                self._loop.at(self._weather.late_s(), _once_more, ask)
            return
        try:
            result: Any = run_now(ask())
        except StoreUnavailable as error:
            result = error
        if again and self._weather.twice():
            self._loop.at(self._weather.late_s(), _once_more, ask)
        if not self._weather.loses_answer(self._pod):
            self._loop.at(self._weather.store_delay_s(), _give, answer, result)

    # --- calls ------------------------------------------------------------------

    async def commit(self, writes: Sequence[CallWrite]) -> list[WriteOutcome]:
        async def ask() -> list[WriteOutcome]:
            outcomes = []
            for write in writes:
                before = self._server._calls.get(write.call_id)
                added = added_to(before.fields, before.items) if before is not None else set()
                outcome = self._server._commit(write)
                if outcome is WriteOutcome.COMMITTED and write.fields.get(EVENTS):
                    self._witness.keys_wait(write.call_id, _keys_in(write.fields[EVENTS]))
                kept = self._server._calls.get(write.call_id)
                if outcome is WriteOutcome.COMMITTED and kept is not None and not write.ends:
                    gone = added - added_to(kept.fields, kept.items) - set(write.dropped_items)
                    self._witness.kept_what_was_added(self.release, write.call_id, gone)
                    self._witness.written_by(write.call_id, self.release)
                self._witness.written(self._pod, write, outcome, _newest(kept.outbox) if kept else [])
                if outcome is WriteOutcome.COMMITTED and kept is not None:
                    held = len(kept.items), len(kept.outbox), len(kept.speech)
                    self._witness.counted(write.call_id, Kept.unpack(kept.fields), held)
                    if "usage" in write.fields:
                        self._witness.usage_written(write.call_id, kept.fields["usage"])
                outcomes.append(outcome)
            return outcomes

        outcomes: list[WriteOutcome] = await self._ask(ask, again=True)
        return outcomes

    async def claim(self, claim: Claim) -> Claimed | NotClaimed:
        async def ask() -> Claimed | NotClaimed:
            claimed = await self._server.claim(claim)
            if isinstance(claimed, Claimed):
                self._witness.taken_by(claim.call_id, self.release)
                self._witness.claimed(self._pod, claim.call_id, claimed.epoch, remembered=self.remembers(claim.call_id))
                if any(missing(claimed.snapshot)):
                    self._witness.went_on_without(claim.call_id)
            return claimed

        claimed: Claimed | NotClaimed = await self._ask(ask)
        return claimed

    async def erase(self, call_id: str, now_ms: int) -> bool:
        erased: bool = await self._ask(lambda: self._server.erase(call_id, now_ms))
        return erased

    async def load(self, call_id: str) -> Snapshot | None:
        held: Snapshot | None = await self._ask(lambda: self._server.load(call_id), changes=False)
        return held

    async def bind_call_key(self, key_hash: str, call_id: str, *, instead_of: str | None = None) -> str:
        bound: str = await self._ask(lambda: self._server.bind_call_key(key_hash, call_id, instead_of=instead_of))
        return bound

    async def find_call_key(self, key_hash: str) -> str | None:
        async def ask() -> str | None:
            bound = await self._server.find_call_key(key_hash)
            if bound is None:
                self._witness.no_such_key(key_hash)
            return bound

        bound: str | None = await self._ask(ask)
        return bound

    # --- the fleet -----------------------------------------------------------------

    async def ping(self) -> None:
        await self._ask(self._server.ping, changes=False)

    async def heartbeat(self, heartbeat: PodHeartbeat, *, ttl_s: int) -> DrainRequest | None:
        request: DrainRequest | None = await self._ask(lambda: self._server.heartbeat(heartbeat, ttl_s=ttl_s))
        return request

    async def pods(self) -> list[PodHeartbeat]:
        pods: list[PodHeartbeat] = await self._ask(self._server.pods, changes=False)
        return pods

    async def request_drain(self, color: str, request: DrainRequest | None) -> None:
        await self._ask(lambda: self._server.request_drain(color, request))

    async def drain_request(self, color: str) -> DrainRequest | None:
        request: DrainRequest | None = await self._ask(lambda: self._server.drain_request(color))
        return request

    async def tell_weights(self, weights: Mapping[str, int], now_ms: int) -> None:
        await self._ask(lambda: self._server.tell_weights(weights, now_ms))

    async def weights(self) -> RouterWeights | None:
        told: RouterWeights | None = await self._ask(self._server.weights, changes=False)
        return told

    async def get_or_set(self, name: str, proposal: bytes) -> bytes:
        agreed: bytes = await self._ask(lambda: self._server.get_or_set(name, proposal))
        return agreed

    async def get(self, name: str) -> bytes | None:
        found: bytes | None = await self._ask(lambda: self._server.get(name), changes=False)
        return found

    async def compare_and_set(self, name: str, old: bytes | None, new: bytes | None, *, ttl_s: int) -> bool:
        swapped: bool = await self._ask(lambda: self._server.compare_and_set(name, old, new, ttl_s=ttl_s))
        return swapped


def _keys_in(events: bytes) -> set[tuple[int, int]]:
    """Number and time of each key of the telephone that waits for an agent."""
    waiting = orjson.loads(events)["waiting"]
    return {(one["number"], one["at_ms"]) for one in waiting if one["kind"] == EventKind.DTMF}


def _newest(outbox: deque[OutboxEntry]) -> list[OutboxEntry]:
    return [outbox[at] for at in range(-min(40, len(outbox)), 0)]


def _give(answer: asyncio.Future[Any], result: Any) -> None:
    if answer.done():
        return
    if isinstance(result, Exception):
        answer.set_exception(result)
    else:
        answer.set_result(result)


def _once_more(ask: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    run_now(ask())


class Lane:
    """One direction of a connection: in order, each message with a delay of its own."""

    def __init__(self, loop: VirtualLoop, weather: Weather) -> None:
        self._loop = loop
        self._weather = weather
        self._inbox: deque[Any] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._free_at_s = 0.0
        self.closed = False
        """Nothing more arrives."""
        self.is_silent = False
        """The same, and nobody knows."""

    def put(self, message: Any, *, last: bool = False) -> None:
        """Send; `last` ends the lane once it has arrived."""
        self._free_at_s = max(self._free_at_s, self._loop.time() + self._weather.wire_delay_s())
        # A delay in place of the time would be rounded, and what is put later could arrive sooner.
        self._loop.call_at(self._free_at_s, self._arrive, message, last, context=self._loop.world.context)

    def cut(self, message: Any, after_s: float) -> None:
        """Lose all that is on its way; the reader learns of it later."""
        if not self.closed:
            self.closed = True
            self._loop.at(after_s, self._deliver, message)

    def _arrive(self, message: Any, last: bool) -> None:
        if not (self.closed or self.is_silent):
            self.closed = last
            self._deliver(message)

    def _deliver(self, message: Any) -> None:
        self._inbox.append(message)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def get(self) -> Any:
        """The next message."""
        while not self._inbox:
            self._reader = self._loop.create_future()
            await self._reader
        return self._inbox.popleft()

    def get_more(self, wanted: Callable[[Any], bool]) -> list[Any]:
        """What else has arrived, as far as it is wanted."""
        more = []
        while self._inbox and wanted(self._inbox[0]):
            more.append(self._inbox.popleft())
        return more


class Connection(Transport):
    """A WebSocket between a caller and a pod; the pod's side is a `Transport`."""

    def __init__(self, loop: VirtualLoop, weather: Weather, witness: Witness, pod: str) -> None:
        self.pod = pod
        self.up = Lane(loop, weather)
        self.down = Lane(loop, weather)
        self.call_id = ""
        self.caller_left = False
        self.is_chosen = True
        """False while the caller has not decided for it."""
        self.is_passed_on: Callable[[], bool] = lambda: True
        """Whether an edge, if there is one, has a connection to the caller."""
        self.pings: Callable[[Callable[[], None]], None] | None = None
        """How an edge is asked whether the caller is there, if there is one: told what to call with the answer."""
        self.heard_ms: Callable[[], int] = lambda: 0
        """How much of the caller's audio the pod has taken."""
        self.reason = ""
        """What the pod closed with, beside the code."""
        self.pressed: Callable[[str], None] = lambda digit: None
        """What the pod does with a key of the telephone."""
        self._witness = witness
        self._over: int | None = None
        self._probe = Probe(self._ping)

    # --- the caller's side

    def tell(self, message: str | bytes) -> None:
        """The caller sends."""
        self.up.put(message)

    def press(self, digit: str) -> None:
        """The caller presses a key of the telephone."""
        self.up.put(lambda: self.pressed(digit))

    def leave(self, code: int) -> None:
        """The caller closes; 1006 is a broken connection."""
        self.caller_left = True
        if code == 1006:
            self.broke()
        else:
            self.up.put(code, last=True)

    def broke(self, after_s: float = 0.0) -> None:
        """The connection breaks; each side learns of it at its own time."""
        if self.up.is_silent:
            return
        self.up.cut(1006, after_s)
        self.down.cut(1006, after_s)

    def swallow(self) -> None:
        """From now on nothing arrives, and neither side learns of it."""
        self.up.is_silent = self.down.is_silent = True

    # --- the pod's side

    async def receive(self) -> str | bytes | int:
        while callable(message := await self.up.get()):
            message()
        told: str | bytes | int = message
        return told

    def probe(self, answered: Callable[[], None]) -> None:
        self._probe.ask(answered)

    def _ping(self) -> None:
        if self.pings is None:
            self.up.put(self._pong)
        else:
            self.pings(self._pong)

    def _pong(self) -> None:
        # Who has moved to another network answers nothing on this one; who still waits to see which of two connections
        # has the call sends nothing on either, and is not muted for that.
        if self.is_chosen and not self.caller_left:
            self._probe.answer()
        else:
            self._probe = Probe(self._ping)

    async def send(self, text: bytes) -> None:
        self.write(text)

    def write(self, text: bytes) -> bool:
        if text.startswith(_NUMBERED) and b'"type":"session.created"' not in text[:80]:
            number = int(text[len(_NUMBERED) : text.index(b'",')])
            lost = self.caller_left or self.down.closed or self.down.is_silent
            listened_to = self.is_chosen and self.is_passed_on() and not lost
            self._witness.sent(self.pod, self.call_id, number, text.decode(), listened_to=listened_to)
        self.down.put(text.decode())
        return True

    async def close(self, code: int, reason: str) -> None:
        if self._over is None:
            self._over, self.reason = code, reason
            if code == CloseCode.SERVICE_RESTART:
                self._witness.handed_off(self.pod, self.call_id, self.heard_ms())
            self.down.put(code, last=True)
            self.up.cut(code, 0.002)
