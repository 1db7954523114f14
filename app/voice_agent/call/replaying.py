"""A recording is given to the rules again, and the events are compared, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from voice_agent.call.beginnings import begin
from voice_agent.call.event_ids import event_id
from voice_agent.call.machine import step
from voice_agent.call.recording import EmittedEvent, RecordedInput, emitted_after, read
from voice_agent.errors import VoiceAgentError

MAX_DIFFERENCES = 20
"""So many are told; what differs once makes most of what follows differ."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One input that gave other events than it did."""

    number: int
    """Of the input, from 1."""
    kind: str
    recorded: str
    now: str


@dataclass(slots=True)
class Replayed:
    """What became of a recording."""

    call_id: str
    version: str
    """Of the server that recorded."""
    pod: str
    inputs: int = 0
    events: int = 0
    """Those recorded."""
    differences: list[Difference] = field(default_factory=list)
    """`MAX_DIFFERENCES` at most."""

    @property
    def is_identical(self) -> bool:
        """Whether every event came again as it was."""
        return not self.differences


def replay(recording: bytes) -> Replayed:
    """Give a recording to the rules. Raises `RecordingUnreadable`; whatever the rules raise is a difference."""
    opening, entries = read(recording)
    call = begin(opening.beginning)
    told = Replayed(call.call_id, opening.version, opening.pod)
    for entry in entries:
        told.inputs += 1
        told.events += len(entry.events)
        before = call.outbox.seq
        raised = ""
        try:
            step(call, entry.input(), entry.now_ms)
        except VoiceAgentError as error:
            raised = str(error)
        except Exception as error:  # noqa: BLE001 - another version's rules may do anything with these inputs
            raised = repr(error)
        told.differences += _compared(entry, told.inputs, emitted_after(call, before), raised)
        if len(told.differences) >= MAX_DIFFERENCES:
            break
    return told


def _compared(entry: RecordedInput, number: int, events: list[EmittedEvent], raised: str) -> Iterator[Difference]:
    if raised:
        yield Difference(number, entry.kind, "", f"raised: {raised}")
    for at in range(max(len(entry.events), len(events))):
        was, now = entry.events[at : at + 1], events[at : at + 1]
        if was != now:
            yield Difference(number, entry.kind, _line(was), _line(now))


def _line(events: list[EmittedEvent]) -> str:
    """One event or none, in words."""
    if not events:
        return ""
    n, head, audio_digest = events[0]
    audio = f" audio {audio_digest}" if audio_digest else ""
    return f"{event_id(n)} {head.decode(errors='backslashreplace')}{audio}"
