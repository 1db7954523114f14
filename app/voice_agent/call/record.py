"""A call: its state in memory.

Theory of operation. `machine.step` and the functions under it change a `CallRecord` and mark
what they changed; `Outbox.emit` numbers a server event. `writes.take_write` collects all of it
into one `CallWrite`, which the runtime makes durable before it sends the events. So
every event that a client has seen is in the store.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from voice_agent.call.agent_ledger import AgentLedger
from voice_agent.call.client_events import ClientEvents
from voice_agent.call.clips import KeptClips
from voice_agent.call.conversation import Conversation
from voice_agent.call.dialogue import Dialogue
from voice_agent.call.ids import IdSequence
from voice_agent.call.input_buffer import InputAudioBuffer
from voice_agent.call.outbox import Outbox
from voice_agent.call.ownership import Owner
from voice_agent.call.response import Response
from voice_agent.call.session_config import SessionConfig
from voice_agent.call.speech_log import SpeechLog
from voice_agent.call.status import Lifecycle
from voice_agent.call.stored_record import StoredRecord
from voice_agent.call.usage import UsageLedger

MAX_CALLER_BYTES = 4 * 1024
"""Of `Identity.caller` as JSON: whoever makes a call leaves out of it what does not fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What never changes of a call."""

    model: str
    created_at_ms: int
    mirror: bool
    """The agent is `loopback`: appended frames come straight back."""
    api_key_hash: str = ""
    call_key_hash: str = ""
    caller: dict[str, Any] = field(default_factory=dict)
    """Who calls, as the first connection said, for the agent: ``query``, ``headers``, ``number``, without secrets."""


@dataclass(slots=True, kw_only=True)
class CallRecord:
    """One call, as its owner sees it: parts, each with what changes it in its own module."""

    call_id: str
    identity: Identity
    owner: Owner
    ids: IdSequence
    session: SessionConfig
    outbox: Outbox
    speech: SpeechLog
    record: StoredRecord = field(default_factory=StoredRecord)
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    client_events: ClientEvents = field(default_factory=ClientEvents)
    input_audio: InputAudioBuffer = field(default_factory=InputAudioBuffer)
    clips: KeptClips = field(default_factory=KeptClips)
    conversation: Conversation = field(default_factory=Conversation)
    dialogue: Dialogue = field(default_factory=Dialogue)
    response: Response | None = None
    agent: AgentLedger | None = None
    """None: the call is mirrored (`loopback`), is over, or is only read."""
    usage: UsageLedger | None = None
    """None: no request to a provider has been counted."""

    @property
    def heard_ms(self) -> int:
        """How much input audio is durable: where a client that re-sends should go on."""
        return self.input_audio.base_ms + self.session.input_format.ms(self.input_audio.durable_position)

    @property
    def heard_bytes(self) -> int:
        """The same to the byte: all the caller's audio, counted as if it had been in the current input format."""
        return self.session.input_format.size(self.input_audio.base_ms) + self.input_audio.durable_position

    @property
    def came_bytes(self) -> int:
        """As `heard_bytes`, of all that was appended, durable or not."""
        return self.session.input_format.size(self.input_audio.base_ms) + self.input_audio.position

    @property
    def has_changes(self) -> bool:
        """Whether there is anything that a write should carry."""
        return bool(self.outbox.unsaved or self.record.dirty or self.speech.unsaved or self.record.write_whole)

    @property
    def unsaved_bytes(self) -> int:
        """What of events, speech and session the next write carries; the conversation counts its own."""
        return self.outbox.unsaved_bytes + self.speech.unsaved_bytes + self.session.unsaved_bytes
