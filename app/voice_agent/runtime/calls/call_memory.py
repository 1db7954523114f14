"""What a call takes of the pod's memory, and whether it may take more (`runtime.budget`)."""

from __future__ import annotations

from collections.abc import Callable

from voice_agent.call.bounds import kept_audio_bytes
from voice_agent.call.record import CallRecord
from voice_agent.errors import ProtocolError
from voice_agent.runtime.budget import Holder
from voice_agent.runtime.ports import Observer

GRANTED_BYTES = 1024 * 1024
"""What a call may always hold, twenty seconds of PCM, so that no other caller of its key, or of a pod without keys, can
keep it from being heard by taking all there is."""


class CallMemory:
    """One call's. Counted anew by `update` now and then, and by `reserve` before a message that makes it grow."""

    def __init__(
        self, call: CallRecord, holder: Holder, observer: Observer, *, unsent_bytes: Callable[[], int]
    ) -> None:
        """`unsent_bytes`: how much waits to be sent to the client."""
        self.holder = holder
        """What of the pod's budget this call takes."""
        self.is_over_budget = False
        """Whether what makes the pod hold more is refused; set by `update`."""
        self.incoming_bytes = 0
        """Audio of the message that is being taken, as far as the call does not hold it yet: room for it is kept."""
        self._call = call
        self._observer = observer
        self._unsent_bytes = unsent_bytes
        self._is_released = False

    @property
    def held_bytes(self) -> int:
        """What this call makes the pod hold, beside the outbox."""
        call = self._call
        audio_bytes = kept_audio_bytes(call) + call.speech.unsaved_bytes + self.incoming_bytes
        return (
            audio_bytes
            + call.conversation.held_bytes
            + call.unsaved_bytes
            + call.session.size_bytes
            + self._unsent_bytes()
        )

    def reserve(self, more_bytes: int) -> ProtocolError | None:
        """What is wrong with holding so many bytes more; None: nothing, and they count from now on."""
        if self._is_released:
            return None
        size_bytes = self.held_bytes + more_bytes
        if size_bytes <= GRANTED_BYTES:
            self.holder.force(size_bytes)
            return None
        if self.holder.resize(size_bytes):
            return None
        self._observer.limit_reached("caller_bytes")
        budget = self.holder.budget
        return ProtocolError(
            f"Not taken: with {more_bytes} bytes more, what this API key's callers hold in the server's memory would "
            f"exceed {min(budget.key_bytes, budget.limit_bytes)} bytes, or what all callers hold {budget.limit_bytes}.",
            code="server_memory_budget",
        )

    def update(self) -> None:
        """Count what is held by now, whether or not there is room for it; until there is, nothing more is taken."""
        if not self._is_released:
            self.holder.force(self.held_bytes)
            self.is_over_budget = self.holder.size_bytes > GRANTED_BYTES and not self.holder.may_grow

    def release(self) -> None:
        """The call is gone from this pod: it holds nothing from now on. Safe to call twice."""
        self._is_released = True
        self.holder.release()
