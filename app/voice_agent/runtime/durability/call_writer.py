"""One call's way into the store: what of it is not durable yet, and whether it may be written.

::

    OPEN ──pause_writes──> PAUSED ──resume_writes──> OPEN
      └────────fence─────────┴─────────fence───────> FENCED

`pause_writes` stands around a claim, which changes the epoch that writes carry. `FENCED` is final.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import NamedTuple, Protocol

import structlog

from voice_agent.call.audio import PCM, AudioFormat
from voice_agent.call.changes import CallWrite, OutboxEntry
from voice_agent.call.closing import CloseCode
from voice_agent.call.effects import Effect, Skipped, Write
from voice_agent.call.inputs import EventsReleased, Input, SkipWrite, TakeWrite, WriteLost
from voice_agent.call.record import CallRecord
from voice_agent.call.schema import SCHEMA
from voice_agent.call.status import Status
from voice_agent.runtime.durability.committer import Committer
from voice_agent.runtime.durability.usage_counting import UsageCounter
from voice_agent.runtime.ports import Clock, Observer

MAX_UNSAVED_EVENTS = 256
MAX_UNSAVED_BYTES = 1024 * 1024
"""Beyond either the client and the agent have to wait for the store: so much, and one message, is what one call adds to
a round of writes, and a client that makes it large takes no other client's time away."""

log = structlog.get_logger(__name__)


class WriteState(Enum):
    """Whether a call may be written; see the module's drawing."""

    OPEN = auto()
    PAUSED = auto()
    """A claim of this pod is under way."""
    FENCED = auto()
    """The call is another pod's, was erased, or was unloaded: this pod never writes it again."""


OPEN, PAUSED, FENCED = WriteState
"""As names of their own: the state is read for each frame."""
TAKE_WRITE = TakeWrite()
"""Made once, for there is one for every write."""


class SavedInput(NamedTuple):
    """What a write carried of the client's."""

    input_audio_bytes: int
    """As `CallRecord.heard_bytes`."""
    last_client_event_id: str | None
    audio_format: AudioFormat = PCM
    """In which the bytes were counted."""


class WrittenCall(Protocol):
    """The call's loop, which learns here what became of its writes."""

    def apply(self, event: Input) -> list[Effect]:
        """Have the rules change the call; also of one that this pod has lost. The effects are the giver's to see to."""

    def push(self, events: list[OutboxEntry]) -> None:
        """The client may see these events from now on."""

    def drop(self, code: int, *, outcome: str = "") -> None:
        """This pod has lost the call: stop all work for it and close its connection with `code` at once.

        `outcome`: as what the call's end is counted, and nothing of it is kept; "" if it goes on elsewhere.
        """


class CallWriter:
    """The `committer.Writer` of one call. The call's loop marks changes; only the committer calls `take_write`."""

    def __init__(
        self, call: CallRecord, host: WrittenCall, committer: Committer, clock: Clock, observer: Observer
    ) -> None:
        self.call = call
        self.state = OPEN
        self.in_doubt = False
        """The connection was given the call while the store could not be asked; another pod may own it. Set by
        `Ownership`, cleared by the first write that a store took."""
        self.committed_at_s = clock.monotonic_s()
        """When a write was durable last, or its events were released without one."""
        self.key_kept_at_s = self.committed_at_s
        """When the call's key was bound last."""
        self._host = host
        self._committer = committer
        self._clock = clock
        self._observer = observer
        self.saved: SavedInput | None = None
        """What the newest durable write carried of the client's; None unless the client wants to know."""
        self._taken: SavedInput | None = None
        """The same of the newest write."""
        self._usage = UsageCounter(call, observer)
        self._progress = asyncio.Event()
        """Set when a write is durable, and when the call is fenced."""

    # --- for those who wait ---------------------------------------------------

    @property
    def is_backlogged(self) -> bool:
        """Whether too much is not durable yet, in bytes or in events."""
        call = self.call
        unsaved_bytes = call.unsaved_bytes + call.conversation.unsaved_bytes
        is_much = unsaved_bytes > MAX_UNSAVED_BYTES or len(call.outbox.unsaved) > MAX_UNSAVED_EVENTS
        return is_much and self.state is not FENCED

    async def wait_for_capacity(self) -> None:
        """Wait while too much is not durable yet."""
        if self.is_backlogged:
            self._observer.limit_reached("unsaved_bytes")
        while self.is_backlogged:
            self._progress.clear()
            self._committer.mark(self)
            await self._progress.wait()

    async def wait_durable(self) -> None:
        """Wait until all that happened so far is durable, or the store is given up for now."""
        while True:
            await self._committer.flush(self)
            if self.state is not PAUSED:
                return
            self._progress.clear()
            await self._progress.wait()

    # --- for who owns the call ------------------------------------------------

    @property
    def writes_paused(self) -> bool:
        """Whether a claim of this pod is under way."""
        return self.state is PAUSED

    async def pause_writes(self) -> None:
        """Write what changed, then let no new write start: the epoch is about to change.

        Undone with `resume_writes`, also when this was cancelled.
        """
        await self._committer.flush(self)
        if self.state is OPEN:
            self.state = PAUSED
        await self._committer.settle(self)

    def resume_writes(self) -> None:
        """Writes may start again."""
        if self.state is PAUSED:
            self.state = OPEN
        self._committer.mark(self)

    def fence(self) -> None:
        """Write nothing of the call any more; those who wait for a write wait no longer."""
        self.state = FENCED
        self._progress.set()

    # --- for the committer: see `writing.Writer` ------------------------------

    def take_write(self) -> tuple[CallWrite, list[OutboxEntry]] | None:
        """See `writing.Writer`."""
        if self.state is not OPEN:
            return None
        memory, schema = self._committer.memory, self._committer.schema
        is_usual = schema == SCHEMA and not memory.is_scarce and not memory.is_nearly_full
        asked = TAKE_WRITE if is_usual else TakeWrite(memory.is_scarce, memory.is_nearly_full, schema)
        [taken] = self._host.apply(asked)
        assert isinstance(taken, Write)
        self._usage.taken(taken.usage)
        if self.call.client_events.counts_bytes:
            call = self.call
            self._taken = SavedInput(call.heard_bytes, call.client_events.saved_id, call.session.input_format)
        return taken.write, taken.waiting

    @property
    def has_ended(self) -> bool:
        """See `writing.Writer`."""
        return self.call.lifecycle.status is Status.ENDED

    def ownership_check(self) -> CallWrite | None:
        """See `writing.Writer`."""
        if self.state is not OPEN:
            return None
        owner = self.call.owner
        return CallWrite(self.call.call_id, owner.epoch, claim=owner.claim, doubted=owner.doubted_claim)

    def release_unsaved(self) -> None:
        """See `writing.Writer`."""
        if self.state is OPEN:
            [skipped] = self._host.apply(SkipWrite())
            assert isinstance(skipped, Skipped)
            self._release(skipped.waiting)

    def committed(self, events: list[OutboxEntry]) -> None:
        """See `writing.Writer`."""
        if not self._committer.degraded:
            self.saved = self._taken
        self._release(events)

    def stored(self) -> None:
        """See `writing.Writer`."""
        self._usage.stored()

    def _release(self, events: list[OutboxEntry]) -> None:
        self.committed_at_s = self._clock.monotonic_s()
        self.in_doubt = self.in_doubt and self._committer.degraded
        self._progress.set()
        if events:
            self._host.apply(EventsReleased(events[-1].n))
        self._host.push(events)

    def requeue_whole(self, waiting: list[OutboxEntry]) -> None:
        """See `writing.Writer`."""
        self._host.apply(WriteLost(waiting))

    def unwritable(self) -> None:
        """See `writing.Writer`: a fault of ours. The store keeps the last good state, which can be resumed."""
        self._observer.call_dropped("error")
        self.fence()
        self._host.drop(CloseCode.INTERNAL_ERROR)

    def superseded(self) -> None:
        """See `writing.Writer`: another pod owns the call now."""
        if self.state is FENCED:
            return
        log.info("call taken over elsewhere", call_id=self.call.call_id, epoch=self.call.owner.epoch)
        self.fence()
        # A client that came back in doubt has no other connection: the owner is to be found with a resume.
        self._host.drop(CloseCode.SERVICE_RESTART if self.in_doubt else CloseCode.ATTACHED_ELSEWHERE)

    def erased(self) -> None:
        """See `writing.Writer`."""
        if self.state is FENCED:
            return
        log.info("call erased by an administrator", call_id=self.call.call_id)
        self.fence()
        self._host.drop(CloseCode.CALL_ENDED, outcome="admin")
