"""What an agent has yet to handle of a call, and what it has done for the first of it.

Theory of operation. What happens to a call is queued as an `AgentEvent` in the write of the change that it tells of,
and waits until the agent acknowledges it (`inputs.EventDone`). The first one is the one that is handled, or will be;
what the agent does meanwhile are its *acts*, each under a key that another pod finds again. With the acknowledgement
the event and its acts go, in one write. ::

    waiting     [5 heard] [6 asked] [7 dtmf]        oldest first: 5 is being handled
    acts        of 5:  "note" once, done     "reply" speak, begun
    timers      {"remind": 1764000000000}           outlive events and pods
    later       responses that wait until the one under way is over

`agent_events` queues, `agent_acts` takes what the agent does, `agent_fields` stores it. A runtime reads: `first`,
`acts`, `earliest_timer_ms`, and what was said of a speech: `pieces_of`, `played`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Any, NamedTuple

from voice_agent.call.conversation import Conversation
from voice_agent.call.response import Response


class EventKind(StrEnum):
    """What an agent is told. `data` of the event holds what is named here."""

    STARTED = "started"
    """``resumed``: whether another pod has had the call."""
    HEARD = "heard"
    """``item_id``."""
    ASKED = "asked"
    """``response_id``; of one that was cut short also what it asked for (see `agent_events.request_of`)."""
    INTERRUPTED = "interrupted"
    """``item_id``; how much of it was heard says `played`."""
    DTMF = "dtmf"
    """``digit``."""
    TOOL_RESULT = "tool_result"
    """``item_id``, of the `function_call_output`."""
    TIMER = "timer"
    """``name``, ``due_ms``."""


class ActKind(StrEnum):
    """What an agent may do under a key."""

    SPEAK = "speak"
    ONCE = "once"
    TOOL = "tool"
    TIMER = "timer"
    SEND = "send"
    TRANSFER = "transfer"
    HANG_UP = "hang_up"


class ActStatus(StrEnum):
    """Where an act stands."""

    BEGUN = "begun"
    DONE = "done"
    INTERRUPTED = "interrupted"
    """Of a speech: cut short. Begun again under its key it is interrupted where it was, at words not heard."""
    REFUSED = "refused"
    """A bound, or what else goes on, forbade it; nothing of it was done."""


@dataclass(frozen=True, slots=True)
class AgentEvent:
    """Something that an agent is told, until it acknowledges it."""

    number: int
    """Counts up from 1 within a call, across pods."""
    kind: EventKind
    at_ms: int
    up_to_rank: str
    """Rank of the newest item when it happened: what the agent is shown of the conversation ends there."""
    data: dict[str, Any]
    is_interrupted: bool = False
    """Its handler was interrupted, and it is not acknowledged yet. Another pod's handler of it is, too: where it begins
    a speech that was cut short, or, if none was, with the first act that is not known."""
    extras: dict[str, Any] = field(default_factory=dict)
    """Fields of a newer version; kept as they are."""

    @property
    def key_id(self) -> str:
        """For idempotency keys, behind the call's id: of no other event.

        And the same of an event that is told anew because the store had lost it, wherever it can be known: by the
        response that is due, by what was heard or given, by the timer's name and time. A pod may have acted on it.
        """
        match self.kind:
            case EventKind.ASKED:
                return str(self.data["response_id"])
            case EventKind.HEARD | EventKind.TOOL_RESULT:
                return f"{self.kind}_{self.data['item_id']}"
            case EventKind.TIMER if "due_ms" in self.data:
                return f"{self.kind}_{self.data['due_ms']}_{self.data['name']}"
            case EventKind.STARTED if not self.data["resumed"]:
                return str(self.kind)
            case _:
                return f"{self.number}_{self.at_ms}"


@dataclass(slots=True)
class SpokenSpan:
    """Which part of a response a speech is."""

    response_id: str
    text_from: int
    audio_from: int
    """Where it begins in all that the response has said, in characters and bytes."""
    text_to: int | None = None
    audio_to: int | None = None
    """Where it ends; None while it is not over."""
    is_interruptible: bool = True
    """Whether the caller's speaking into it stops it; the client's events do in any case."""
    extras: dict[str, Any] = field(default_factory=dict)
    """Fields of a newer version; kept as they are."""


@dataclass(slots=True)
class AgentAct:
    """Something that an agent does, or did, in the event that it handles."""

    key: str
    number: int
    """Counts up from 0 within its event."""
    kind: ActKind
    status: ActStatus
    result: Any = None
    """Of what was to be done once: what it gave."""
    item_id: str = ""
    """Of a speech: the message item that says it, once it has been closed. Of a tool: its `function_call`."""
    span: SpokenSpan | None = None
    """Of a speech that was not refused."""
    extras: dict[str, Any] = field(default_factory=dict)
    """Fields of a newer version; kept as they are."""


@dataclass(frozen=True, slots=True)
class LaterResponse:
    """A response that is opened once the one under way is over."""

    params: dict[str, Any]
    """See `inputs.CreateResponse`; {} for a turn of its own."""
    of_turn: bool = False
    """Turn detection wants it, not the client."""
    cut: bool = False
    """See `ResponseRequest.cut`."""
    extras: dict[str, Any] = field(default_factory=dict)
    """Fields of a newer version; kept as they are."""

    @property
    def in_conversation(self) -> bool:
        """Whether what it says stands in the conversation."""
        return self.params.get("conversation") != "none"


@dataclass(slots=True)
class AgentLedger:
    """What is between a call and its agent."""

    made: int = 0
    """Number of the newest event."""
    waiting: list[AgentEvent] = field(default_factory=list)
    """Events not acknowledged yet, oldest first."""
    acts: dict[str, AgentAct] = field(default_factory=dict)
    """Of the first of them, by key, oldest first."""
    timers: dict[str, int] = field(default_factory=dict)
    """When each is due, by name: wall clock, in milliseconds."""
    later: list[LaterResponse] = field(default_factory=list)
    unsaved_acts: dict[int, AgentAct] = field(default_factory=dict)
    """By number: those that changed since the last write."""
    stored_acts: int = 0
    """So many record fields hold an act."""
    extras: dict[str, Any] = field(default_factory=dict)
    """Fields of a newer version; kept as they are."""

    @property
    def first(self) -> AgentEvent | None:
        """The event that is handled, or will be next; None: there is nothing to do."""
        return self.waiting[0] if self.waiting else None

    @property
    def speech(self) -> AgentAct | None:
        """The speech under way."""
        for act in reversed(self.acts.values()):
            if act.kind is ActKind.SPEAK and act.status is ActStatus.BEGUN:
                return act
        return None

    @property
    def earliest_timer_ms(self) -> int | None:
        """When the next timer is due; None without one."""
        return min(self.timers.values(), default=None)

    def later_in_conversation(self) -> LaterResponse | None:
        """The response in the conversation that waits; there is at most one."""
        return next((one for one in self.later if one.in_conversation), None)

    def note(self, act: AgentAct) -> None:
        """An act is new, or changed; the record's ``acts`` change with it."""
        self.acts[act.key] = act
        self.unsaved_acts[act.number] = act

    def drop_acts(self) -> None:
        """Their event is over; the record's ``acts`` change with it."""
        self.acts = {}
        self.unsaved_acts = {}

    def clear(self) -> None:
        """Nothing is to be done any more."""
        self.waiting, self.timers, self.later = [], {}, []
        self.drop_acts()


class SaidPiece(NamedTuple):
    """What one `inputs.ResponseText` that does not join the one before began."""

    text: str
    text_from: int
    audio_from: int
    """Where both begin in all that the response has said, in characters and bytes."""
    audio_bytes: int
    """How much of its audio there is by now."""
    is_voiced: bool
    """The call's voice makes its audio, not the agent."""


def pieces_of(response: Response, span: SpokenSpan) -> Iterator[SaidPiece]:
    """What was said of a speech, whose response is open, piece by piece.

    What another release said of it, which noted none, is one; so is what is only written and not the agent's own audio.
    """
    begin = [span.text_from, span.audio_from]
    end = [
        len(response.said.text) if span.text_to is None else span.text_to,
        response.said.audio_bytes if span.audio_to is None else span.audio_to,
    ]
    starts = [each for each in response.said.pieces if _is_within(each, begin, end)]
    if not starts or starts[0][:2] != begin:
        starts = [[*begin, False], *starts]
    for (text_from, audio_from, voiced), (text_to, audio_to, _) in pairwise([*starts, [*end, False]]):
        if (text_to, audio_to) != (text_from, audio_from):
            text = response.said.text[text_from:text_to]
            yield SaidPiece(text, text_from, audio_from, audio_to - audio_from, voiced)


def _is_within(piece: list[Any], begin: list[int], end: list[int]) -> bool:
    text_from, audio_from = int(piece[0]), int(piece[1])
    return begin[0] <= text_from <= end[0] and begin[1] <= audio_from <= end[1]


def played(conversation: Conversation, item_id: str) -> tuple[str, int]:
    """What is left of an item that the agent said, once it was cut: its text, and milliseconds; ("", 0) if deleted."""
    entry = conversation.get(item_id)
    if entry is None or not entry.item.get("content"):
        return "", 0
    part = entry.item["content"][0]
    text = part.get("transcript") or part.get("text") or ""
    return text, entry.alignment[-1][0] if entry.alignment else entry.audio_ms
