"""A call: its state in memory.

Theory of operation. `machine.step` and the functions under it change a `Call` and mark
what they changed; `Outbox.emit` numbers a server event. `writes.take_write` collects all of it
into one `CallWrite`, which the runtime makes durable before it sends the events. So
every event that a client has seen is in the store.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from voice_agent.call.alignment import Alignment, Piece
from voice_agent.call.client_events import ClientEvents
from voice_agent.call.clips import KeptClips
from voice_agent.call.conversation import Conversation
from voice_agent.call.dialogue import Dialogue
from voice_agent.call.ids import IdSequence
from voice_agent.call.input_buffer import InputAudioBuffer
from voice_agent.call.outbox import Outbox
from voice_agent.call.ownership import Owner
from voice_agent.call.session_config import SessionConfig
from voice_agent.call.speech_log import SpeechLog
from voice_agent.call.status import Lifecycle
from voice_agent.call.stored_record import StoredRecord


@dataclass(slots=True)
class Stored:
    """How much of something that grows the record has; see `response_chunks`."""

    length: int = 0
    """So many characters or entries have been handed to a write, and are what they were then."""
    chunks: int = 0
    """So many record fields hold something."""


@dataclass(slots=True)
class Response:
    """The response under way."""

    response_id: str
    params: dict[str, Any]
    """What `response.create` asked for; {} for a turn of its own."""
    started_at_ms: int
    clip_id: str = ""
    """The spoken item that is answered; its audio is `KeptClips.answered`."""
    clip_first_n: int = 0
    """Number of that audio's first speech entry."""
    heard_ms: int = 0
    """How long that audio is."""
    asked_up_to: str = ""
    """The newest item when it was asked for; "" for none."""
    items_up_to: str = ""
    """That item's rank: what the agent is told of the conversation ends there, on every pod."""
    cut: bool = False
    """The caller was still speaking when the turn that is answered was ended, for it had grown too long."""
    item_id: str | None = None
    """The message item, once it is open."""
    text: str = ""
    plan: dict[str, Any] | None = None
    alignment: Alignment = field(default_factory=list)
    """Of the open item, without its last piece."""
    piece: Piece = field(default_factory=Piece)
    """The last piece of the open item."""
    item_text_from: int = 0
    item_audio_from: int = 0
    """Where the open item begins in all that the reply has said."""
    functions_called: int = 0
    side_effects: list[dict[str, Any]] = field(default_factory=list)
    """What the agent did in the world: ``name``, idempotency ``key`` and, once it is done, ``result`` of each."""
    output_ids: list[str] = field(default_factory=list)
    out_of_band: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Items of a reply outside the conversation (``conversation: "none"``)."""
    audio_bytes: int = 0
    piece_checksum: int = 0
    """CRC-32 of the last piece's audio. Both are kept in a record field of their own: they change with every chunk."""
    stored: dict[str, Stored] = field(default_factory=dict)
    """What of all that grows the record has."""
    delta_head: tuple[str, bytes] = field(default=("", b""), compare=False)
    """The packed body of an audio event and the item it is for: all of an item's are the same. Not stored."""
    extras: dict[str, Any] = field(default_factory=dict)
    """Fields of a newer version; kept as they are."""

    @property
    def item_audio_bytes(self) -> int:
        """Audio of the open item so far."""
        return self.audio_bytes - self.item_audio_from


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What never changes of a call."""

    model: str
    created_at_ms: int
    mirror: bool = False
    """The agent is `loopback`: appended frames come straight back."""
    api_key_hash: str = ""
    call_key_hash: str = ""


@dataclass(slots=True, kw_only=True)
class Call:
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
