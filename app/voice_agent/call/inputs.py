"""The inputs of a call: the closed union of what `machine.step` takes.

Six groups. From the client: parsed and checked by `protocol.realtime`, each with the client's own `event_id`, if it
gave one. From the agent: parts of the response under way, named by its id, and transcripts. From the engine: what an
agent does in the event that it handles, named by its number; ignored once that is acknowledged. From the meter:
requests to providers, named by their ids. From the runtime: what became of the connection. From the store: whose the
call is, and what became of its writes. Nothing else changes a call, so a recorded list of inputs with their times is a
replay (see `recording`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from voice_agent.call.alignment import Alignment
from voice_agent.call.apology import Apology
from voice_agent.call.changes import OutboxEntry
from voice_agent.call.input_buffer import Onset
from voice_agent.call.schema import SCHEMA
from voice_agent.errors import ProtocolError

# --- from the caller -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UpdateSession:
    """`session.update`: `patch` is the ``session`` object, checked by `protocol.session_fields`, not yet merged."""

    patch: dict[str, Any]
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class VoiceBoundary:
    """The caller started or stopped speaking.

    `at_bytes` counts bytes of input audio from the start of the current input format:
    the start of the speech without padding, or the end of the silence that ended it. `known_at`
    is where a start was certain, at the end of a window; the padding is counted back from there.
    """

    started: bool
    at_bytes: int
    known_at: int = field(default=0, compare=False)
    goes_on: bool = False
    """Of a stop: the turn grew too long, and the caller was still speaking. Of a start: it goes on where that one was
    cut."""
    spoken_to: int = field(default=0, compare=False)
    """Of a stop: where the pause began that ended it, `at_bytes` where none did; 0: not known."""
    onset: Onset | None = field(default=None, compare=False)
    """Of a start."""


@dataclass(slots=True)
class AppendAudio:
    """`input_audio_buffer.append`: decoded audio in the call's input format, and the boundaries heard in it.

    One is made for every frame, and a frozen dataclass takes twice as long to make. Treat it as frozen.
    """

    audio: bytes
    event_id: str | None = None
    boundaries: tuple[VoiceBoundary, ...] = ()


@dataclass(frozen=True, slots=True)
class CommitAudio:
    """`input_audio_buffer.commit`."""

    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class ClearAudio:
    """`input_audio_buffer.clear`."""

    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class CreateItem:
    """`conversation.item.create`.

    `item` has a known type, a role where it is a message, and checked content parts;
    audio parts were taken out into `audio` (decoded, all parts joined; b"" if none).
    `previous_item_id` None appends, "root" prepends. `audio_appended`: the audio has come before, by
    `AppendItemAudio`.
    """

    item: dict[str, Any]
    audio: bytes = b""
    previous_item_id: str | None = None
    event_id: str | None = None
    audio_appended: bool = False


@dataclass(frozen=True, slots=True)
class RetrieveItem:
    """`conversation.item.retrieve`."""

    item_id: str
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class TruncateItem:
    """`conversation.item.truncate`."""

    item_id: str
    content_index: int
    audio_end_ms: int
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteItem:
    """`conversation.item.delete`."""

    item_id: str
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class CreateResponse:
    """`response.create`: `params` is the ``response`` object as `protocol.session_fields` keeps it, {} if absent."""

    params: dict[str, Any]
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class CancelResponse:
    """`response.cancel`."""

    response_id: str | None = None
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class AcknowledgeEvents:
    """`call.acknowledge`: the client has events up to `number`, and will never ask for them again."""

    number: int
    event_id: None = None
    """It has none: the field names what is acknowledged."""


@dataclass(frozen=True, slots=True)
class InvalidEvent:
    """The client sent something that `protocol.realtime` does not accept; it becomes an `error` event."""

    error: ProtocolError
    event_id: str | None = None
    is_append: bool = False
    """It was a piece of audio, of which nothing is taken."""


FromCaller = (
    UpdateSession
    | AppendAudio
    | CommitAudio
    | ClearAudio
    | CreateItem
    | RetrieveItem
    | TruncateItem
    | DeleteItem
    | CreateResponse
    | CancelResponse
    | AcknowledgeEvents
    | InvalidEvent
)

# --- from the agent --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Transcribed:
    """What was said in an item. `text` None: the agent does not know."""

    item_id: str
    text: str | None
    by_agent: bool = False
    """No ear was asked: the agent itself will say it, with `TranscriptGiven`."""
    certain: bool = True
    """Whether the ear is sure of it."""
    alternatives: tuple[str, ...] = ()
    """What else it may have been, likeliest first."""


@dataclass(frozen=True, slots=True)
class TranscriptGiven:
    """The agent itself says what was said in an item. `text` None: it did not understand it."""

    item_id: str
    text: str | None
    certain: bool = True
    """Whether it is sure of it."""


@dataclass(frozen=True, slots=True)
class ResponseText:
    """More text, or more of the transcript.

    `joins`: it is said by the audio that says the text before it, some of which another pod has sent already. `voiced`:
    that audio is made by the call's voice. One that does not join begins a piece (see `agent_ledger.pieces_of`), even
    one without text: then audio follows that says nothing that is written.
    """

    response_id: str
    delta: str
    joins: bool = False
    voiced: bool = False


@dataclass(frozen=True, slots=True)
class ResponseAudio:
    """More speech: one chunk in the call's output format.

    It belongs to the text that came before it. Of all the audio that does, `made_bytes` are made by now (0: nothing new
    is told of it), and `words` tells where words begin in it, as [milliseconds, characters]; both count from where that
    text and its audio begin. The words are those from number `words_from` on, in place of what was told of them before.
    `is_partial`: more of that audio is being made; once it is not, that may be told without audio.
    """

    response_id: str
    audio: bytes
    made_bytes: int = 0
    words: Alignment = field(default_factory=list)
    words_from: int = 0
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class ResponseDiverged:
    """The agent was asked again on another pod, and what it says is not what was said.

    `said_to` None: its text is another, and goes on with a sentence of its own. Else only its voice is, or the pieces
    in which it comes: the text of the whole reply is said from that character on.
    """

    response_id: str
    said_to: int | None = None


FromAgent = Transcribed | TranscriptGiven | ResponseText | ResponseAudio | ResponseDiverged

# --- from the engine -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EventDone:
    """The agent is through with the event, and asks for the next one.

    One write drops the event and its acts, keeps `state` (None: as it is), and closes the response that belongs to it:
    with an `incomplete_reason` as incomplete.
    """

    event_number: int
    state: dict[str, Any] | None = None
    incomplete_reason: str = ""


@dataclass(frozen=True, slots=True)
class EventFailed:
    """The agent broke in the event, which is acknowledged; its response fails, with `message`, fit for the caller."""

    event_number: int
    message: str
    apology: Apology | None = None


@dataclass(frozen=True, slots=True)
class KeyedAct:
    """What the agent does in an event, under a key by which it is known when it is done again."""

    event_number: int
    key: str


@dataclass(frozen=True, slots=True)
class SpeechBegun(KeyedAct):
    """The agent is about to say something; what it says comes as `ResponseText` and `ResponseAudio`.

    Look at `AgentLedger.acts` under the key afterwards. ``begun``: its span names the response, which was opened if
    none was, and where in that it begins; known before, some of it may be durable. ``interrupted``: raise
    `SpeechInterrupted`, known before at the words that were not heard. ``refused``: there is no room in the
    conversation, or a response outside it is open. ``done``: it was said on another pod. No act: there are too many in
    this event.
    """

    interruptible: bool = True


@dataclass(frozen=True, slots=True)
class SpeechEnded(KeyedAct):
    """All of it has been given: the item is complete. Not to be given for a speech that was interrupted.

    Not `is_complete`: the agent has left it, and its item holds what was sent.
    """

    is_complete: bool = True


@dataclass(frozen=True, slots=True)
class ToolAsked(KeyedAct):
    """The agent wants the client to run a function. `arguments` is JSON text. A known key: it has been asked."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class OnceBegun(KeyedAct):
    """The agent is about to do something that must not be done twice: to be durable before it is done.

    Look at the act under the key afterwards: where it is ``done``, its `result` is known.
    """


@dataclass(frozen=True, slots=True)
class OnceDone(KeyedAct):
    """It gave `result`, which survives JSON."""

    result: Any = None


@dataclass(frozen=True, slots=True)
class TimerSet(KeyedAct):
    """`Timer(name)` is to come at a time, wall clock; in place of the one of that name."""

    name: str
    when_ms: int


@dataclass(frozen=True, slots=True)
class AgentEventSent(KeyedAct):
    """An event of the agent's own for the client; its ``type`` begins with ``agent.``."""

    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TransferAsked(KeyedAct):
    """The client is to call `target`; the call ends. To be given once all that was said has been heard."""

    target: str


@dataclass(frozen=True, slots=True)
class HangUpAsked(KeyedAct):
    """The call ends. To be given once all that was said has been heard."""

    reason: str = ""


FromEngine = (
    EventDone
    | EventFailed
    | SpeechBegun
    | SpeechEnded
    | ToolAsked
    | OnceBegun
    | OnceDone
    | TimerSet
    | AgentEventSent
    | TransferAsked
    | HangUpAsked
)

# --- from the meter --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UsageBegun:
    """A request to a provider is about to be sent: to be durable before it is.

    `response_id`: the response for which it is made, if that is known. Names are short; `provider` has no ``/``.
    """

    request_id: str
    provider: str
    model: str
    response_id: str | None = None


@dataclass(frozen=True, slots=True)
class UsageAttributed:
    """It is known now for which response the request is made; of one that is over it does not matter any more."""

    request_id: str
    response_id: str


@dataclass(frozen=True, slots=True)
class UsageKnown:
    """The request is over, and used `figures`: by unit (`usage.UNITS`), of `usage.MAX_FIGURE` at most."""

    request_id: str
    figures: dict[str, int]


@dataclass(frozen=True, slots=True)
class UsageUnknown:
    """The request is over, and it is not known what it used."""

    request_id: str


@dataclass(frozen=True, slots=True)
class UsageWithdrawn:
    """The request was not sent after all."""

    request_id: str


FromMeter = UsageBegun | UsageAttributed | UsageKnown | UsageUnknown | UsageWithdrawn

# --- from the runtime ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ConnectionMade:
    """A client connected, having seen events up to `last_event`; answered with `effects.Attached`.

    None: it begins with what is not visible yet. `resumable`: it can come back. `counts_bytes`: it keeps what it sent
    by positions in its audio, so it is told at which of them an append was refused.
    """

    last_event: int | None
    resumable: bool
    counts_bytes: bool = False


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """The caller's connection is gone. `hung_up`: with close code 1000, which ends the call."""

    hung_up: bool
    planned: bool = False
    """True when this pod closed it for a handoff."""


@dataclass(frozen=True, slots=True)
class HandoffPlanned:
    """This pod is about to close the connection so that another one goes on."""


@dataclass(frozen=True, slots=True)
class DrainAnnounced:
    """The connection will be closed, and its client asked to be told."""

    time_left_ms: int


@dataclass(frozen=True, slots=True)
class EndCall:
    """The call ends, and not by the client: an administrator or a time limit. `outcome` goes into the record."""

    outcome: str


@dataclass(frozen=True, slots=True)
class AppendItemAudio:
    """A piece of the audio of the item that the next `CreateItem` makes; `item_id` is the caller's id for it, if any.

    The client is told of it when the item is created.
    """

    item_id: str | None
    audio: bytes


@dataclass(frozen=True, slots=True)
class AudioStopped:
    """No audio has come for some seconds of an utterance: the client was muted, or sends none while it is silent."""

    spoken_to: int = 0
    """See `VoiceBoundary.spoken_to`."""


@dataclass(frozen=True, slots=True)
class TimersDue:
    """It is the time that `effects.SetTimer` named, or later."""


@dataclass(frozen=True, slots=True)
class DtmfPressed:
    """The caller pressed a key of the telephone: 0 to 9, ``*``, ``#``, A to D; anything else is ignored."""

    digit: str


FromRuntime = (
    ConnectionMade
    | ConnectionLost
    | HandoffPlanned
    | DrainAnnounced
    | EndCall
    | AppendItemAudio
    | AudioStopped
    | TimersDue
    | DtmfPressed
)

# --- from the store --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClaimAsked:
    """This pod asks the store for the call under this name. Until it is answered, that may have taken effect."""

    name: str


@dataclass(frozen=True, slots=True)
class ClaimGranted:
    """The call is this pod's under a new epoch, by the claim of this name, and what is in memory goes on."""

    epoch: int
    name: str


@dataclass(frozen=True, slots=True)
class TakeWrite:
    """The store is ready for a write; answered with `effects.Write`, and nothing is unsaved afterwards.

    The two say how full the store is: see `memory_pressure`.
    """

    is_scarce: bool = False
    is_nearly_full: bool = False
    schema: int = SCHEMA
    """What records are to be written in: a record in another one is written anew."""


@dataclass(frozen=True, slots=True)
class SkipWrite:
    """The store is given up for now; answered with `effects.Skipped`. The next write is of the whole call."""


@dataclass(slots=True)
class EventsReleased:
    """Events up to this number may be sent: they are durable, or the store is given up for now.

    One is made for every write; treat it as frozen, as `AppendAudio`.
    """

    last_event: int


@dataclass(frozen=True, slots=True)
class WriteLost:
    """The store may lack something of the call: the next write is of all of it.

    `events` waited for a write that was not made; they wait for the next one.
    """

    events: list[OutboxEntry] = field(default_factory=list)


FromStore = ClaimAsked | ClaimGranted | TakeWrite | SkipWrite | EventsReleased | WriteLost

Input = FromCaller | FromAgent | FromEngine | FromMeter | FromRuntime | FromStore
