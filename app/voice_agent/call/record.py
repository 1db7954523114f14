"""A call: its state in memory.

Theory of operation. `machine.step` and the functions under it change a `Call` and mark
what they changed; `Outbox.emit` numbers a server event. `writes.take_write` collects all of it
into one `CallWrite`, which the runtime makes durable before it sends the events. So
every event that a client has seen is in the store.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from voice_agent.call.alignment import Alignment, Piece
from voice_agent.call.audio import PCM
from voice_agent.call.changes import SpeechEntry
from voice_agent.call.client_events import ClientEvents
from voice_agent.call.completeness import NOTHING_MISSING, Missing
from voice_agent.call.conversation import Conversation
from voice_agent.call.outbox import Outbox
from voice_agent.call.schema import SCHEMA
from voice_agent.call.session_config import SessionConfig
from voice_agent.call.speech_log import SpeechLog


class Status(StrEnum):
    """Where a call is in its life."""

    ATTACHED = "attached"
    PARKED = "parked"
    ENDED = "ended"


@dataclass(slots=True)
class InputAudioBuffer:
    """The input audio buffer, in bytes of the input format.

    `position` counts all audio ever appended in this format; `audio` is its tail that
    is not committed yet. While the caller is silent under voice activity detection the
    tail is only the padding that a coming utterance will need.
    """

    audio: bytearray = field(default_factory=bytearray)
    position: int = 0
    base_ms: int = 0
    """Milliseconds heard in earlier formats."""
    item_id: str | None = None
    """Id that the buffer's item will get; allotted when its first audio becomes durable."""
    speaking: bool = False
    saved: int = 0
    """How many bytes of `audio` have been handed to a write."""
    first_n: int = 0
    """Number of the buffer's first speech entry; 0 when it has none."""

    @property
    def start(self) -> int:
        """Position of the buffer's first byte."""
        return self.position - len(self.audio)

    @property
    def durable_position(self) -> int:
        """Everything before this is either stored or dealt with."""
        return self.start + self.saved


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
    """The spoken item that is answered; its audio is `Call.answered`."""
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
    extras: dict[str, Any] = field(default_factory=dict)
    """Fields of a newer version; kept as they are."""

    @property
    def item_audio_bytes(self) -> int:
        """Audio of the open item so far."""
        return self.audio_bytes - self.item_audio_from


@dataclass(slots=True)
class Playback:
    """What the caller is probably hearing: an assistant item whose audio began at a wall-clock time."""

    item_id: str
    started_at_ms: int
    """Moved on by every time in which there was nothing to hear."""
    audio_bytes: int = 0
    bytes_per_ms: int = PCM.bytes_per_ms
    """Of the audio's format."""
    extras: dict[str, Any] = field(default_factory=dict)
    """Fields of a newer version; kept as they are."""

    @property
    def sent_ms(self) -> int:
        """How long what was sent of it lasts."""
        return self.audio_bytes // self.bytes_per_ms


@dataclass(slots=True)
class HeardClip:
    """A spoken turn of the caller."""

    item_id: str
    audio: bytes
    first_n: int
    """Number of its first speech entry."""


@dataclass(slots=True)
class PendingItemAudio:
    """Audio of an item that is about to be created, stored piece by piece; the client is told of it with the item."""

    item_id: str
    entries: list[SpeechEntry] = field(default_factory=list)

    @property
    def first_n(self) -> int:
        """Number of its first speech entry."""
        return self.entries[0].n


@dataclass(slots=True, kw_only=True)
class Call:
    """One call, as its owner sees it."""

    call_id: str
    epoch: int
    owner: str
    color: str
    model: str
    session: SessionConfig
    outbox: Outbox
    created_at_ms: int
    schema: int = SCHEMA
    """Of its record in the store: see `schema`."""
    mirror: bool = False
    """The agent is `loopback`: appended frames come straight back."""
    api_key_hash: str = ""
    call_key_hash: str = ""
    resumable: bool = False
    """Some client of this call has shown that it can come back."""
    status: Status = Status.ATTACHED
    outcome: str = ""
    ended_at_ms: int = 0
    left_at_ms: int = 0
    """When the last connection was lost; 0 while attached."""
    handed_off: bool = False
    """The last connection was closed on purpose for another pod to go on."""
    items_made: int = 0
    responses_made: int = 0
    turns: int = 0
    client_events: ClientEvents = field(default_factory=ClientEvents)
    speech: SpeechLog = field(default_factory=SpeechLog)
    input_audio: InputAudioBuffer = field(default_factory=InputAudioBuffer)
    conversation: Conversation = field(default_factory=Conversation)
    response: Response | None = None
    cut_off: str = ""
    """The response that the client stopped by truncating or deleting what it said, until the next one: it may be
    cancelled, too. Not stored: after a resume that is an error like any other."""
    playback: Playback | None = None
    clip: HeardClip | None = None
    """What the caller said last; None if that was typed."""
    answered: HeardClip | None = None
    """What the reply under way answers: the caller may have gone on since."""
    untranscribed: dict[str, HeardClip] = field(default_factory=dict)
    """Spoken items whose words are not known yet; their audio is kept until they are."""
    pending_audio: PendingItemAudio | None = None
    """Never restored: a take-over trims it, and the client creates the item again."""
    failed_up_to: str = ""
    """The newest item that a reply was asked for which then failed: what was said until then is not asked again."""
    agent_state: dict[str, Any] = field(default_factory=dict)
    fields_to_empty: list[str] = field(default_factory=list)
    """Of the record: what a reply that is over leaves there."""
    dirty: set[str] = field(default_factory=set)
    write_whole: bool = False
    revision: int = 0
    """Number of the newest write that was taken, across owners."""
    claim: str = ""
    """Name of the claim, or of the making, by which this pod owns the call."""
    doubted_claim: str = ""
    """A later claim of this pod whose answer was lost: it may have taken effect."""
    trimmed_to: tuple[int, int] = (0, 0)
    """Oldest outbox and speech entries that the last write kept."""
    missing: Missing = NOTHING_MISSING
    """What the store had lost of the call when this pod claimed it, until the client is known to have been told."""
    missing_told_at: int | None = None
    """The event after which the latest connection began, with whose greeting `missing` was told."""
    delta_head: tuple[str, bytes] = ("", b"")
    """The packed body of an audio event and the item it is for: all of an item's are the same."""
    idle_from_ms: int | None = None
    """Input position at which the caller had heard the last reply out, and from which silence is counted;
    None while it is not the caller's turn."""
    unknown_fields: dict[str, bytes] = field(default_factory=dict)
    """Record fields of a newer version; kept as they are."""

    def pass_over_ids(self, forgotten_events: int) -> None:
        """Take no id again that may stand in events which the store has lost.

        Each item and each response was told in an event of its own.
        """
        self.items_made += forgotten_events
        self.responses_made += forgotten_events
        self.mark("counts")

    def new_item_id(self) -> str:
        """The next item id that no client has taken."""
        while True:
            self.items_made += 1
            item_id = f"item_{self.stem}_{self.items_made}"
            if item_id not in self.conversation:
                return item_id

    def new_response_id(self) -> str:
        """The next response id."""
        self.responses_made += 1
        return f"resp_{self.stem}_{self.responses_made}"

    @property
    def stem(self) -> str:
        """What the ids of this call's items and responses have in common, and those of no other call: 80 random bits.

        OpenAI takes ids of at most 32 characters: clients hand them on.
        """
        return self.call_id[5:21]

    def mark(self, *groups: str) -> None:
        """Note which groups of record fields changed."""
        self.dirty.update(groups)

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
    def pending_audio_bytes(self) -> int:
        """Audio of the item that is about to be created."""
        return sum(len(entry.audio) for entry in self.pending_audio.entries) if self.pending_audio is not None else 0

    def own(self, epoch: int, claim: str) -> None:
        """Go on under a new epoch."""
        self.epoch, self.claim, self.doubted_claim = epoch, claim, ""

    @property
    def has_changes(self) -> bool:
        """Whether there is anything that a write should carry."""
        return bool(self.outbox.unsaved or self.dirty or self.speech.unsaved or self.write_whole)

    @property
    def unsaved_bytes(self) -> int:
        """What of events, speech and session the next write carries; the conversation counts its own."""
        return self.outbox.unsaved_bytes + self.speech.unsaved_bytes + self.session.unsaved_bytes
