"""The runtime's doors to the outside: what `web`, `observe` and tests must bring or may ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from typing import Any, Protocol

from voice_agent.call.usage import Settled
from voice_agent.stores.base import PodState

COLOR_HEADER = "X-Voice-Color"
"""In a request: the color that the router is to send it to, whatever the weights."""


class StoreState(StrEnum):
    """How writing to the store goes. In the last three the store is given up for now: calls go on from memory."""

    OK = "ok"
    DEGRADED = "degraded"
    """It takes writes, and not every call is written yet as it is now."""
    FULL = "full"
    """It answers, and has no memory for writes."""
    REFUSED = "refused"
    """It answers, and does not do what this pod asks: no permission, another program's key, a replica, a full disk."""
    UNREACHABLE = "unreachable"
    """It does not answer in time, or no server has what was asked for just now."""


class Listener(Protocol):
    """Gets a caller's messages from a transport."""

    def take(self, message: str | bytes) -> bool:
        """One message; False if it cannot be taken now: to be offered again after `ready`.

        Text comes as str, or as its UTF-8 if it is large; binary as bytes.
        """

    async def ready(self) -> None:
        """Wait until messages can be taken again."""

    def reserve(self, size_bytes: int) -> str | None:
        """The transport holds so many bytes for it, of messages that are incomplete or not taken.

        Told when they are many, and when they are few again. None, or the reason to close with: that is too much.
        """

    def limit_reached(self, limit: str) -> None:
        """A bound of the transport cut something short; see `Observer`."""


class Transport(Protocol):
    """One accepted connection to a caller.

    `write` and `deliver` are for the path of every frame: a transport that can do without
    a task switch brings its own.
    """

    __slots__ = ()

    async def receive(self) -> str | bytes | int:
        """The next message (see `Listener.take`), or the close code once the connection is gone.

        1006 stands for a connection that broke without a close frame.
        """

    async def deliver(self, listener: Listener) -> int:
        """Give every message to the listener until the connection is gone; returns the close code.

        The peer's, if its close frame came before this side closed; else this side's own, whatever the peer answers it
        with (some answer every close with 1000). Raises what the listener raises.
        """
        while not isinstance(message := await self.receive(), int):
            while not listener.take(message):
                await listener.ready()
        return message

    def write(self, text: bytes) -> bool:
        """Send one text message (UTF-8) without waiting; False if that cannot be done now: `send` it.

        Once the peer is gone, nothing is sent and nothing waits: True.
        """
        return False

    async def send(self, text: bytes) -> None:
        """Send one text message (UTF-8); waits while the socket is congested. Never raises for a peer that is gone."""

    def probe(self, answered: Callable[[], None]) -> None:
        """Ask the peer for a sign of life; `answered` is called once it comes, behind all that was sent before it.

        Nothing happens while an earlier one is not answered, as none is by a peer that is gone. Here: none is.
        """
        return

    async def close(self, code: int, reason: str) -> None:
        """Close with a code. Returns within 0.5 s even if the peer is dead; safe to call twice."""


class Clock(Protocol):
    """Where the runtime gets the time from."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970 UTC."""

    def monotonic_s(self) -> float:
        """Seconds that never go back."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class FleetClock(Clock, Protocol):
    """A clock by which the pods of a store agree on the time."""

    def follow(self, wall_ms: float, *, leaps: bool) -> None:
        """The store's clock says `wall_ms` now. `leaps`: nothing is measured by this clock yet, so it may be set."""


@dataclass(slots=True)
class Frames:
    """Audio frames, counted where they pass: a call for each of them would cost more than the addition."""

    came: int = 0
    went: int = 0


class Observer(Protocol):
    """Told what happens, so that the runtime needs no metrics library. Every method is cheap and never raises."""

    @property
    def frames(self) -> Frames:
        """To be counted up by whoever takes or sends audio; always the same object."""

    def call_started(self) -> None: ...
    def call_ended(self, outcome: str) -> None:
        """`outcome`: hangup, abandoned, timeout, admin, agent, error."""

    def call_dropped(self, cause: str) -> None:
        """A call was lost through a fault of ours.

        `cause`: drain (cut at the deadline, and its client never said that it can come back),
        handoff (closed for another pod, and nobody came back within the resume window) or
        error (its state could not be written).
        """

    def call_resumed(self, kind: str, gap_s: float | None) -> None:
        """`kind`: handoff, drop, crash. `gap_s`: last byte on the old connection to first on the new."""

    def call_incomplete(self, part: str) -> None:
        """The store had lost some of a call that was taken over. `part`: items, events, speech."""

    def resume_took(self, seconds: float) -> None: ...
    def turn_stage(self, stage: str, seconds: float) -> None:
        """`stage`: stt, think, tts, first_audio."""

    def store_call(self, op: str, seconds: float) -> None: ...
    def store_failed(self, op: str) -> None: ...
    def write_fenced(self) -> None: ...
    def drain_finished(self, seconds: float) -> None: ...
    def calls_moved(self, moved: int, left: int) -> None:
        """A move that an operator asked for is over, or was taken back: so many went, so many stay that were to go."""

    def refused(self, status: int, reason: str) -> None:
        """A connection was refused before its upgrade. `reason`: the code in the answer's body."""

    def limit_reached(self, limit: str) -> None:
        """A bound cut something short. `limit`: its name in docs/limits.md, never a caller's words."""

    def certificate_read(self, outcome: str) -> None:
        """The files of the server's certificate changed: ``taken``, or the old one is ``kept``."""

    def agent_fault(self, kind: str) -> None:
        """An agent did something wrong, and the log says which.

        `kind`: raised, no_part (it yielded what is no part of a reply), silent (for too long), blocked (it kept the
        event loop), other_text or other_audio (asked again on another pod, it did not say what had been said).
        """

    def usage_settled(self, provider: str, model: str, settled: Settled) -> None:
        """Requests to a provider's model are over: so many, and what they used. Told once it is durable."""

    def loop_lag(self, seconds: float) -> None: ...


def _is_here() -> bool:
    return False


class Arrival(Enum):
    """What a request tells about where callers are sent."""

    ASKED_FOR = auto()
    """Nothing: it names the color it is for, as a smoke call's does."""
    DIRECT = auto()
    """Little: no proxy handed it on, so perhaps no router saw it."""
    FORWARDED = auto()
    """It came through a proxy: the router sends callers here."""


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """What a client said of itself in its URL; it holds for the connection."""

    going_away: bool = False
    """It wants `call.going_away` before a planned close."""
    resumable_now: bool = False
    """It may be handed off at any moment (`resumable=now`)."""
    received: bool = False
    """It wants `call.received`, and to know at which of its bytes an append was refused."""
    directed: bool = False
    """It is an edge that goes on at the pod that is named when the call is handed off."""


@dataclass(frozen=True, slots=True)
class StartCall:
    """A caller wants a call. With `call_key_hash` it may already exist, and is then resumed."""

    model: str
    api_key_hash: str
    call_key_hash: str | None = None
    last_event: int | None = None
    """Of a resume by key: the last event seen; None goes on at the end of the outbox."""
    resumable: bool = False
    """The client said that it can come back (`call_key`, `resumable=1` or `going_away=1`)."""
    client: ClientOptions = ClientOptions()
    arrival: Arrival = Arrival.DIRECT
    caller: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """What the agent is told of who calls: see `Identity.caller`. Never logged."""
    address: str = field(default="", compare=False)
    """Where the caller connects from, as trusted proxies tell; IPv4 is never written as IPv6. "" is not known."""
    is_gone: Callable[[], bool] = field(default=_is_here, compare=False, repr=False)
    """Whether the caller has left before the upgrade: a pod that was stopped finds such requests when it wakes
    up, and must not take the call from where it goes on meanwhile."""


@dataclass(frozen=True, slots=True)
class ResumeCall:
    """A caller comes back with a checked resume token."""

    call_id: str
    last_event: int | None = None
    client: ClientOptions = ClientOptions()
    arrival: Arrival = Arrival.DIRECT
    is_gone: Callable[[], bool] = field(default=_is_here, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class PodStatus:
    """What `/healthz/realtime` and `fleet` say of this pod."""

    status: PodState
    """It takes new calls in those of `fleet.TAKES_CALLS`; never `LEFT`."""
    pod: str
    color: str
    version: str
    active_calls: int
    parked_calls: int
    capacity: int
    store: str
    """``<kind>:<state>``, the state one of `StoreState`; behind ``refused`` why, in the store's own words."""
    drain_waits: str = ""
    """Why a drain under way hands nobody off yet; empty if it does, or there is none."""

    @property
    def store_state(self) -> str:
        """The state alone."""
        return self.store.partition(":")[2].partition(" ")[0]


@dataclass(frozen=True, slots=True)
class CallSummary:
    """A line of `/admin/calls`."""

    call_id: str
    model: str
    status: str
    epoch: int
    started_at_ms: int
    events: int
    turns: int
    resumable: bool
