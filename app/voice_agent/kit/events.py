"""What an agent is told of a call.

Each event waits in the call's record until it is acknowledged, which asking for the next one does. An event that was
not acknowledged comes again on the pod that takes the call over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from voice_agent.kit.clip import Clip


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEvent:
    """What all of them have."""

    number: int
    """Counts up within a call, across pods; the same when it comes again. 0 of one that is in no record."""
    at_ms: int
    """When it happened, wall clock, milliseconds since 1970 UTC; the same when it comes again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(CallEvent):
    """The call begins, or (`resumed`) another pod has taken it over, behind what had not been acknowledged."""

    resumed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard(CallEvent):
    """The caller said something. It only informs: whether a reply is due, `Asked` says."""

    item_id: str
    text: str | None
    """None: it was not understood, or the item has been deleted."""
    uncertain: bool = False
    """The ear doubts it."""
    alternatives: Sequence[str] = ()
    """What else it may have been, likeliest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(CallEvent):
    """A reply is due. A response is open for it until the next event is asked for."""

    response_id: str
    text: str
    """All that the caller said and typed since the assistant spoke last, joined by blanks; "" for nothing."""
    unclear: bool = False
    """Something of it was said but not understood."""
    uncertain: bool = False
    """The ear doubts something of it: to be asked back rather than acted on."""
    alternatives: Sequence[str] = ()
    """What else `text` may have been, likeliest first, for what was spoken last; at most 3."""
    clip: Clip | None = None
    """The audio of what the caller said last, if it was spoken."""
    was_cut: bool = False
    """The caller was still speaking when the turn was ended, for it had grown too long: music on hold, a television."""
    out_of_band: bool = False
    """The client asked for a reply outside the conversation; what is said stands in no item of it."""
    instructions: str = ""
    wants_audio: bool = True
    """False: the reply is written, and no voice is asked."""
    tools: Sequence[Mapping[str, Any]] = ()
    """The client's functions, as the protocol describes them."""
    tool_choice: str | Mapping[str, Any] = "auto"
    """``auto``, ``none``, ``required``, or ``{"type": "function", "name": …}``: the tool that must be called."""
    parallel_tool_calls: bool = True
    max_output_tokens: int | None = None
    """None for as long as the agent likes."""
    truncation: str | Mapping[str, Any] = "auto"
    """What to do with a conversation too long for a model: as `session.truncation` of the protocol."""
    items: Sequence[Mapping[str, Any]] = ()
    """What is to be answered, as protocol items, oldest first: the conversation up to here, or what the client gave."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the client noted on this response; at most 16 pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted(CallEvent):
    """What the agent said was cut short: the caller spoke into it, or the client cancelled or truncated it."""

    item_id: str
    text: str
    """Of that item, as much as was heard."""
    heard_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dtmf(CallEvent):
    """The caller pressed a key of the telephone: 0 to 9, ``*``, ``#``, A to D."""

    digit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult(CallEvent):
    """The client gave what one of its functions returned. It only informs: the client asks for the reply."""

    item_id: str
    tool_call_id: str
    output: str | None
    """None: the item has been deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timer(CallEvent):
    """It is the time that the agent asked for, with `Call.at`, or later."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(CallEvent):
    """The call is over; nothing can be said or kept any more. It is told to the pod that has the call, at most once."""

    outcome: str
    """``hangup``, ``agent``, ``transferred``, ``timeout``, ``abandoned``, ``deleted``, …"""


Event = Started | Heard | Asked | Interrupted | Dtmf | ToolResult | Timer | Ended
