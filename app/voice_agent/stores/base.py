"""The session store: what every store promises, whatever it is made of.

To write one, make a subclass of `Store`, offer it under the entry point group `voice_agent.stores` with its URL scheme
as the name, and hold it against the contract (`voice_agent.testing.StoreContract`). What is to be answered to a write,
a claim and an erasure `voice_agent.stores.record_rules` decides. For every verb its docstring says what of it is atomic
and what asking again with the same arguments does: a caller that missed an answer asks again.

Errors. Verbs that talk to the store raise `StoreUnavailable` if there is no answer in time, `StoreFull` if there is no
memory for what was asked, and `StoreRefused` if trying again cannot help. After the first of these what was asked may
have taken effect, after the others it has not. Cancelling a verb leaves each of its atomic parts done or not done,
never half done.

Fencing. A record carries an epoch. `claim` adds one and hands the call to a new
owner; a write with an older epoch than the record's is refused as a whole. So at
any time at most one owner's writes are taken, whatever the others believe. The name of
the claim settles what epochs alone cannot: see `CallWrite`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum

from voice_agent.call.changes import CallWrite, Snapshot
from voice_agent.errors import MAX_SCHEMA_CHARS, SettingsError

AGREED_SCHEMA = "schema"
"""Under which name the pods settle the schema of what is kept."""
ERASED = "erased"
"""Field of a record whose call was erased."""
TOMBSTONE_FIELDS = (
    "schema call_id model mirror api_key_hash call_key_hash created_at_ms owner color status outcome ended_at_ms "
    "left_at_ms handed_off resumable counts seq updated_at_ms epoch revision"
).split()
"""What stays of an erased record: nothing that was said."""


class WriteOutcome(Enum):
    """What became of one `CallWrite`."""

    COMMITTED = "committed"
    SUPERSEDED = "superseded"
    """A newer epoch owns the call; nothing was written."""
    UNKNOWN = "unknown"
    """The store holds no such call (expired or lost), or lost a part of it or writes before this one; nothing was
    written."""
    ENDED = "ended"
    """The call was erased; nothing was written."""
    FULL = "full"
    """The store has no memory for it; nothing was written, but that a call which ended holds no audio any more."""
    REJECTED = "rejected"
    """The store takes every write but this one; nothing was written, and trying again cannot help."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A pod's request to own a call.

    `api_key_hash` is compared with the record's field of that name; None skips the
    comparison (a resume token is proof enough).
    """

    call_id: str
    owner: str
    color: str
    now_ms: int
    api_key_hash: str | None = None
    name: str = ""
    """Unique to this claim; asked again under the same name, a claim that took effect is not made twice."""
    schemas: tuple[int, int] | None = None
    """The lowest and the highest schema of records that the claimant reads; None skips the comparison."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The call is the claimant's, under `epoch`.

    The snapshot is taken after the claim; `previous_owner` and `previous_status` are what the record said before it.
    """

    epoch: int
    snapshot: Snapshot
    previous_owner: str
    previous_status: str


class NotClaimed(Enum):
    """Why a claim was turned down. Nothing was changed."""

    UNKNOWN = "unknown"
    ENDED = "ended"
    FOREIGN = "foreign"
    """The record belongs to another API key."""


@dataclass(frozen=True, slots=True)
class PodCounters:
    """What a pod has counted since it started, for a cutover without Prometheus."""

    ended: int = 0
    failed: int = 0
    """Calls that ended as an error."""
    dropped: int = 0
    resumed: int = 0
    turns: Mapping[str, int] = field(default_factory=dict)
    """How many turns had their first audio within so many seconds (cumulative; the last key is ``inf``)."""
    causes: Mapping[str, int] = field(default_factory=dict)
    """Of `dropped`: how many by each cause (see `runtime.ports.Observer.call_dropped`); empty: not said."""


class PodState(StrEnum):
    """What a pod says of itself, as one word."""

    OK = "ok"
    DEGRADED = "degraded"
    """It takes calls, and something is wrong: its store, or it is overloaded and no other pod of its color is not."""
    DRAINING = "draining"
    OVERLOADED = "overloaded"
    """It takes no new calls for now."""
    FAILING = "failing"
    """A task of the pod itself ended: it is to be replaced."""
    LEFT = "left"
    """In its last heartbeat: it has given up its calls, and its process ends."""


@dataclass(frozen=True, slots=True)
class PodHeartbeat:
    """One pod's heartbeat."""

    name: str
    color: str
    version: str
    status: str
    """A `PodState`. A pod of a newer version may say another word: such a pod takes no calls."""
    active_calls: int
    parked_calls: int
    capacity: int
    started_at_ms: int
    heartbeat_at_ms: int
    """By the store's clock, where it has one of its own."""
    reads_schemas: tuple[int, int] = (0, 0)
    """The oldest and the newest schema that it reads (`voice_agent.call.schema`); 0: a version that does not say."""
    counters: PodCounters | None = None
    """None: a version that does not say."""
    keys: Mapping[str, int] = field(default_factory=dict)
    """Attached and parked calls by API key (the first digits of its hash), of keys that have any; empty too if the pod
    knows no quota, or its version does not say."""
    calls_not_resumable: int = 0
    """Of the active calls: those whose client never said that it can come back."""
    oldest_call_at_ms: int = 0
    """When the oldest of the active calls began; 0: there is none, or its version does not say."""
    took_call_at_ms: int = 0
    """When it last took a new call or a resume that was sent here as callers are, by the store's clock; 0: never yet,
    or its version does not say."""
    forwarded_call_at_ms: int = 0
    """The same of a call that a proxy handed on."""
    store: str = "ok"
    """How the store is to it: ok, degraded, full, refused or unreachable; ok too if its version does not say."""
    calls_resumable_now: int = 0
    """Of the active calls: those that may be handed off at any moment."""
    loop_lag_ms: int = 0
    """How late its event loop is, in the median of the last second."""
    address: str = ""
    """Where edges reach this very pod, such as ``ws://10.0.3.7:8080``; "": not known, or its version does not say."""
    node: str = ""
    """The machine that it runs on; the same."""
    applied_request: str | None = None
    """The id of the request to this very pod (`runtime.pod.pod_request`) that it took up last, "" for none. None: its
    version knows no such requests."""
    moves_left: int = 0
    """How many calls it has still to move for that request."""


@dataclass(frozen=True, slots=True)
class DrainRequest:
    """What an operator asked of every pod of one color."""

    mode: str
    """A `DrainMode`. A tool of a newer version may say another word."""
    deadline_s: int
    requested_at_ms: int


@dataclass(frozen=True, slots=True)
class RouterWeights:
    """How the router splits callers over colors, as the tool that last set it has told the store."""

    weights: Mapping[str, int]
    """Percent by color. A color that is not named gets no callers; without any, a change is under way."""
    told_at_ms: int
    """By the store's clock, where it has one of its own."""

    @property
    def routed(self) -> frozenset[str]:
        """Colors that callers are sent to."""
        return frozenset(color for color, weight in self.weights.items() if weight > 0)


@dataclass(frozen=True, slots=True)
class StoreMemory:
    """How much of its memory a store uses. `limit_bytes` 0: it has no limit."""

    used_bytes: int
    limit_bytes: int


def schema_of(settled: bytes) -> int:
    """The schema that pods settled; 0, which no version reads, for what is no number."""
    return int(settled) if settled.isdigit() and len(settled) <= MAX_SCHEMA_CHARS else 0


class CallStore(ABC):
    """What a store does with calls and call keys."""

    @abstractmethod
    async def commit(self, writes: Sequence[CallWrite]) -> list[WriteOutcome]:
        """Carry out writes of different calls in one round trip; the outcomes are in the order of the writes.

        Each write is atomic, and independent of the others: an error that concerns one write alone is its outcome.
        What is raised concerns all of them, and any of them may have taken effect. A committed write refreshes the TTL
        of all that is kept of its call.

        Again: a write that comes twice, or after a later one of the same ownership, is reported committed and
        changes nothing (`CallWrite.revision`). One that is not whole finds a call unknown of which the store holds
        less than its record counts (see `voice_agent.call.completeness`).
        """

    @abstractmethod
    async def claim(self, claim: Claim) -> Claimed | NotClaimed:
        """Take over a call: epoch + 1, owner, color and status ``attached`` in its record; returns all it holds.

        Atomic, but that a large call may be read in several pieces after it was claimed; if another pod claims it
        meanwhile, that raises `StoreUnavailable`. Raises `RecordUnreadable`: before anything was changed if the
        record's schema is none of the claim's; after it was claimed if what is held cannot be read.

        Again: with the same `Claim.name` it is claimed once, and the snapshot is of now; without a name each claim
        counts.
        """

    @abstractmethod
    async def erase(self, call_id: str, now_ms: int) -> bool:
        """End a call, whichever pod owns it, and erase what was said; False when there is none.

        Atomic. What stays, until the TTL, are `TOMBSTONE_FIELDS`, so that a claim is told `ENDED`; every
        write of the call from now on is answered `ENDED`. Its call key stays bound. A call that had ended
        keeps its outcome. Again: the same, the TTL begins anew.
        """

    @abstractmethod
    async def load(self, call_id: str) -> Snapshot | None:
        """Read a call without owning it; None when there is none. Changes nothing. Raises `RecordUnreadable`.

        Changes made meanwhile may show in a part of a large call.
        """

    @abstractmethod
    async def bind_call_key(self, key_hash: str, call_id: str, *, instead_of: str | None = None) -> str:
        """Bind a call key to a call unless it is bound; return the call it is bound to now.

        Atomic: of two pods that ask at once both get the same call. `instead_of` names a call that has ended: a key
        still bound to that one is rebound. Again: the same answer, and the binding's TTL begins anew.
        """

    @abstractmethod
    async def find_call_key(self, key_hash: str) -> str | None:
        """The call a key is bound to, or None, also if that cannot be the id of a call. Refreshes the binding's TTL."""


class FleetStore(ABC):
    """What pods and operators keep in a store together. No call depends on it but through `heartbeat`."""

    @abstractmethod
    async def heartbeat(self, heartbeat: PodHeartbeat, *, ttl_s: int) -> DrainRequest | None:
        """Keep a pod's heartbeat for `ttl_s`, in place of its last, and return the drain request of its color.

        Keeping it is atomic, and may have taken effect where reading the request then fails.
        """

    @abstractmethod
    async def pods(self) -> list[PodHeartbeat]:
        """Every pod whose heartbeat has not run out, by name; a malformed heartbeat is passed over. No snapshot."""

    @abstractmethod
    async def request_drain(self, color: str, request: DrainRequest | None) -> None:
        """Ask every pod of a color to drain, in place of an earlier request; None removes it. Atomic. No TTL."""

    @abstractmethod
    async def drain_request(self, color: str) -> DrainRequest | None:
        """The drain request of a color; None if there is none or it is malformed."""

    @abstractmethod
    async def tell_weights(self, weights: Mapping[str, int], now_ms: int) -> None:
        """Keep what the router is set to, all colors at once; `now_ms` counts in a store without a clock. No TTL."""

    @abstractmethod
    async def weights(self) -> RouterWeights | None:
        """What the router is set to, as `tell_weights` was told last; None: never, or it is malformed."""

    @abstractmethod
    async def get_or_set(self, name: str, proposal: bytes) -> bytes:
        """Settle a value for all pods: the first proposal under `name` wins and is what everyone gets. No TTL.

        Atomic; again: the same answer. The names are others than those of `get`.
        """

    async def layout(self, proposal: int | None) -> int | None:
        """The schema of what is kept here (`voice_agent.call.schema`); where nothing is kept yet, the first proposal.

        None: there is none yet, and no proposal; or the store cannot say. Again: the same answer.
        """
        if proposal is None:
            return None
        return schema_of(await self.get_or_set(AGREED_SCHEMA, b"%d" % proposal))

    @abstractmethod
    async def get(self, name: str) -> bytes | None:
        """What `compare_and_set` keeps under a name; None when nothing is."""

    @abstractmethod
    async def compare_and_set(self, name: str, old: bytes | None, new: bytes | None, *, ttl_s: int) -> bool:
        """Replace a value for `ttl_s` if it is still `old`; None stands for no value. False: it is something else.

        Atomic. Again: a value that is `new` already counts as replaced.
        """


class Store(CallStore, FleetStore):
    """A session store. One instance serves a whole pod; methods may run concurrently, on one event loop.

    A method whose task is cancelled ends with `CancelledError`, at whatever moment that comes.
    """

    def __init__(self, *, ttl_s: int) -> None:
        self.ttl_s = ttl_s
        self._retention_s: int | None = None

    @property
    def retention_s(self) -> int:
        """How long the conversation of a call that ended is kept; at most, and if not set otherwise, the TTL.

        Its record, in which nothing is that was said, stays until the TTL: a client that comes back is told that
        the call has ended.
        """
        return self.ttl_s if self._retention_s is None else min(self._retention_s, self.ttl_s)

    @retention_s.setter
    def retention_s(self, seconds: int | None) -> None:
        self._retention_s = seconds

    def use_prefix(self, prefix: str) -> None:
        """Put `prefix` before all keys, so that two installations can share a store; to be called before `open`.

        Raises `SettingsError` where the store can have none, as this one.
        """
        if prefix:
            raise SettingsError(f"VOICE_KEY_PREFIX: a store of the kind {self.kind!r} has no prefix")

    @property
    @abstractmethod
    def kind(self) -> str:
        """The store's name for people, such as ``memory`` or ``redis``."""

    @abstractmethod
    async def open(self) -> None:
        """Connect and make ready. Call once, before anything else. Raises `SettingsError` for what is set wrongly."""

    @abstractmethod
    async def close(self) -> None:
        """Close the connections, also where `open` has failed. The data stays. Again: nothing."""

    @abstractmethod
    async def ping(self) -> None:
        """Return if the store answers."""

    def wall_ms(self) -> float | None:
        """What time it is by the store's clock, in milliseconds since 1970 UTC; None while that is not known."""
        return None

    async def memory(self) -> StoreMemory | None:
        """How full the store is; None when it cannot say."""
        return None

    async def shortcomings(self, calls: int) -> list[str]:
        """What speaks against keeping so many calls at once in this store, each a sentence that ends with a remedy.

        Empty if nothing does, or the store does not say. Raises `StoreUnfit` if it cannot keep calls at all.
        """
        return []
