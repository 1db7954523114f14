"""A call: its state in memory.

Theory of operation. `machine.step` and the functions under it change a `Call` and mark
what they changed; `emit` numbers a server event. `writes.take_write` collects all of it
into one `CallWrite`, which the runtime makes durable before it sends the events. So
every event that a client has seen is in the store.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from voice_agent.call.alignment import Alignment, Piece
from voice_agent.call.audio import PCM, AudioFormat
from voice_agent.call.changes import OutboxEntry, SpeechEntry
from voice_agent.call.completeness import NOTHING_MISSING, Missing
from voice_agent.call.conversation import Conversation
from voice_agent.call.events import pack
from voice_agent.call.outbox import ENTRY_OVERHEAD_BYTES, Outbox, entry_bytes
from voice_agent.call.schema import SCHEMA
from voice_agent.call.session_config import ResponseSettings, TurnDetection, input_format, turn_detection

REMEMBERED_CLIENT_EVENTS = 256


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
    session: dict[str, Any]
    outbox: Outbox
    created_at_ms: int
    schema: int = SCHEMA
    """Of its record in the store: see `schema`."""
    mirror: bool = False
    """The agent is `loopback`: appended frames come straight back."""
    checkpoint_ms: int = 200
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
    seq: int = 0
    """Number of the newest event."""
    visible_seq: int = 0
    """Number of the newest event that may be sent."""
    sent_seq: int = 0
    """Number of the newest event that a caller can have seen from this pod."""
    items_made: int = 0
    responses_made: int = 0
    turns: int = 0
    speech_made: int = 0
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
    voice_locked: bool = False
    seen: OrderedDict[str, tuple[int, int]] = field(default_factory=OrderedDict)
    """Ids of client events that took effect, oldest first, each with its number and the input position that its audio
    reaches (0: it has none)."""
    seen_made: int = 0
    resent_to: int | None = None
    """Number of the last client event that was known when it came again on this connection; None: none is taken for one
    that comes again any more. Never stored, for it is the connection's."""
    last_client_event_id: str | None = None
    counts_bytes: bool = False
    """The client is told where in its audio an append was refused. Never stored, for it is the connection's."""
    fields_to_empty: list[str] = field(default_factory=list)
    """Of the record: what a reply that is over leaves there."""
    unsaved_seen: list[tuple[str, int, int]] = field(default_factory=list)
    """Client event id, its number, and the input position from which on it may be made durable."""
    unsaved_events: list[OutboxEntry] = field(default_factory=list)
    unsaved_speech: list[SpeechEntry] = field(default_factory=list)
    under_memory_pressure: bool = False
    """The store is short of memory: see `memory_pressure`."""
    keeps_turns: bool = True
    """Whether the audio of turns that are not answered or understood yet is stored; not in a store nearly full."""
    unsaved_bytes: int = 0
    """What of events, speech and session the next write carries; the conversation counts its own."""
    session_bytes: int = field(init=False)
    """Size of the session as it is stored."""
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
    stored_speech: deque[int] = field(default_factory=deque)
    """Numbers of the speech entries that the store holds after the last write."""
    missing: Missing = NOTHING_MISSING
    """What the store had lost of the call when this pod claimed it, until the client is known to have been told."""
    missing_told_at: int | None = None
    """The event after which the latest connection began, with whose greeting `missing` was told."""
    listening: TurnDetection | None = field(init=False)
    """The session's turn detection, at hand for every frame; None: the client commits turns itself."""
    input_format: AudioFormat = field(init=False)
    """Format of the caller's audio."""
    delta_head: tuple[str, bytes] = ("", b"")
    """The packed body of an audio event and the item it is for: all of an item's are the same."""
    effective: tuple[dict[str, Any], dict[str, Any], ResponseSettings] | None = None
    """See `response_items.settings_of`: the session, what `response.create` asked for, and what holds under both."""
    idle_from_ms: int | None = None
    """Input position at which the caller had heard the last reply out, and from which silence is counted;
    None while it is not the caller's turn."""
    unknown_fields: dict[str, bytes] = field(default_factory=dict)
    """Record fields of a newer version; kept as they are."""

    def __post_init__(self) -> None:
        self.use_session(self.session)

    # --- what the rules use ------------------------------------------------

    def use_session(self, session: dict[str, Any]) -> None:
        """Go on under these settings."""
        self.session = session
        self.session_bytes = len(orjson.dumps(session))
        self.listening = turn_detection(session)
        self.input_format = input_format(session)

    def emit(self, body: dict[str, Any], audio: bytes = b"") -> None:
        """Number a server event; it becomes visible once it is durable."""
        self.emit_packed(pack(body), audio)

    def emit_packed(self, head: bytes, audio: bytes) -> None:
        """As `emit`, of a body that is JSON already."""
        self.seq += 1
        entry = OutboxEntry(self.seq, head, audio)
        self.unsaved_events.append(entry)
        self.unsaved_bytes += len(head) + len(audio) + ENTRY_OVERHEAD_BYTES
        self.outbox.add(entry)

    def add_speech(self, item_id: str, audio: bytes) -> SpeechEntry:
        """Have a piece of what the caller said stored."""
        self.speech_made += 1
        entry = SpeechEntry(self.speech_made, item_id, audio)
        self.unsaved_speech.append(entry)
        self.unsaved_bytes += len(audio)
        self.mark("counts")
        return entry

    def requeue_events(self, events: list[OutboxEntry]) -> None:
        """Events of a write that did not land wait for the next one."""
        self.unsaved_events = events + self.unsaved_events
        self.unsaved_bytes += sum(map(entry_bytes, events))

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
        return self.input_audio.base_ms + self.input_format.ms(self.input_audio.durable_position)

    @property
    def heard_bytes(self) -> int:
        """The same to the byte: all the caller's audio, counted as if it had been in the current input format."""
        return self.input_format.size(self.input_audio.base_ms) + self.input_audio.durable_position

    @property
    def came_bytes(self) -> int:
        """As `heard_bytes`, of all that was appended, durable or not."""
        return self.input_format.size(self.input_audio.base_ms) + self.input_audio.position

    @property
    def saved_client_event_id(self) -> str | None:
        """Id of the last client event that took effect and has been handed to a write; None if there is none."""
        waiting = {event_id for event_id, _, _ in self.unsaved_seen}
        return next((event_id for event_id in reversed(self.seen) if event_id not in waiting), None)

    @property
    def pending_audio_bytes(self) -> int:
        """Audio of the item that is about to be created."""
        return sum(len(entry.audio) for entry in self.pending_audio.entries) if self.pending_audio is not None else 0

    def recognises(self, event_id: str) -> bool:
        """Whether a client event comes again that has taken effect before.

        That is only so on a connection resumed with `last_event_id`, and until the first that is not known or
        does not come in the order in which it came first: ids are the client's own affair, and may be few.
        """
        is_resent = self.is_resent(event_id)
        self.resent_to = self.seen[event_id][0] if is_resent else None
        return is_resent

    def is_resent(self, event_id: str) -> bool:
        """What `recognises` would say; nothing changes."""
        number = self.seen[event_id][0] if event_id in self.seen else 0
        return self.resent_to is not None and number > self.resent_to

    def remember(self, event_id: str, *, heard_to: int) -> None:
        """Note that a client event took effect.

        `heard_to` is the input position its audio reaches, 0 if it has none: the id becomes durable no
        sooner than that audio, else a re-sent append would be ignored after its audio was lost.
        """
        self.seen_made += 1
        self.seen[event_id] = (self.seen_made, heard_to)
        self.seen.move_to_end(event_id)
        self.last_client_event_id = event_id
        if len(self.seen) > REMEMBERED_CLIENT_EVENTS:
            self.seen.popitem(last=False)
        self.unsaved_seen.append((event_id, self.seen_made, heard_to))
        del self.unsaved_seen[: -2 * REMEMBERED_CLIENT_EVENTS]

    def forget_seen(self, heard_to: int) -> None:
        """Appends beyond an input position did not take effect after all: they may be sent again."""
        undone = [event_id for event_id, _, at in self.unsaved_seen if at > heard_to]
        self.unsaved_seen = [seen for seen in self.unsaved_seen if seen[2] <= heard_to]
        for event_id in undone:
            self.seen.pop(event_id, None)
        if undone:
            self.last_client_event_id = next(reversed(self.seen), None)

    # --- for the store -----------------------------------------------------

    def own(self, epoch: int, claim: str) -> None:
        """Go on under a new epoch."""
        self.epoch, self.claim, self.doubted_claim = epoch, claim, ""

    @property
    def has_changes(self) -> bool:
        """Whether there is anything that a write should carry."""
        return bool(self.dirty or self.unsaved_events or self.unsaved_speech or self.write_whole)
