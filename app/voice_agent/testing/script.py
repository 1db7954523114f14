"""What a simulated caller does, step by step.

A step waits for nothing but what it says: for the caller to have heard out what is being said before (`Say`, `Type`,
`GiveResult`, `UntilSilent`), or for so much of a reply (`BargeIn`, `Cancel` and the like). A string is
`Say`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Say:
    """Speak, once all is silent; voice activity detection ends the turn."""

    text: str


@dataclass(frozen=True, slots=True)
class Type:
    """Write, once all is silent, and ask for a reply."""

    text: str


@dataclass(frozen=True, slots=True)
class BargeIn:
    """Speak into the next reply, or the one under way, when so much of it has been heard.

    The client says how much that was, as one does that plays the audio.
    """

    text: str
    after_ms: int


@dataclass(frozen=True, slots=True)
class SpeakOver:
    """Speak while the reply goes on, when so much of it has been heard, and listen on.

    Of a reply that the server then cuts short, how much comes depends on the pace of things: for speech that is not
    interruptible.
    """

    text: str
    after_ms: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop the reply with ``response.cancel`` when so much of it has been heard."""

    after_ms: int


@dataclass(frozen=True, slots=True)
class Truncate:
    """Tell the server that no more than this was heard of the reply, when it has been."""

    after_ms: int


@dataclass(frozen=True, slots=True)
class GiveResult:
    """Answer the oldest function call that has no result yet, and ask for the reply."""

    output: str


@dataclass(frozen=True, slots=True)
class Press:
    """Press a key of the telephone."""

    digit: str


@dataclass(frozen=True, slots=True)
class SendEvent:
    """Send an event of the protocol as it stands, without waiting for anything."""

    event: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for a time."""

    ms: int


@dataclass(frozen=True, slots=True)
class UntilSilent:
    """Hear out all that is being said, and a second of silence."""


@dataclass(frozen=True, slots=True)
class HandOffNow:
    """Have the pod leave, as for a release: the call goes on at the next one."""


@dataclass(frozen=True, slots=True)
class HangUpNow:
    """End the call, whatever is being said."""

    after_ms: int = 0
    """When so much has been heard of the next reply, or the one under way; 0: at once."""


ScriptStep = (
    Say
    | Type
    | BargeIn
    | SpeakOver
    | Cancel
    | Truncate
    | GiveResult
    | Press
    | SendEvent
    | Wait
    | UntilSilent
    | HandOffNow
    | HangUpNow
)
Script = str | Sequence[ScriptStep | str]
"""Behind its last step the caller hears out what is said and hangs up."""


def steps_of(script: Script) -> list[ScriptStep]:
    """The steps, in order."""
    steps = [script] if isinstance(script, str) else script
    return [Say(step) if isinstance(step, str) else step for step in steps]
