"""The inputs of a call, as bytes: how its owner's memory began, then each input with its time and the events it gave.

A recording is a list of entries, each a JSON text with raw bytes beside it (audio, packed events)::

    4 bytes   length of the JSON text, big-endian
    4 bytes   length of what stands beside it
    JSON      the first entry: {"format", "version", "pod", "kind", "beginning"};
              every other: [now_ms, kind of the input, its fields, [[n, bytes of the event, digest of its audio], …]]
    bytes     of all fields that are bytes, in order, and then the events without their audio

Fields are written by their types (`_shape`), so a new kind of input needs nothing here. Audio of events is among the
inputs already, so a digest of it is enough. A recording may end in the middle of an entry: its pod died.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from hashlib import blake2b
from itertools import takewhile
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import orjson

from voice_agent.call import inputs
from voice_agent.call.beginnings import Beginning, CallClaimed, CallMade
from voice_agent.call.changes import OutboxEntry
from voice_agent.call.record import CallRecord
from voice_agent.errors import ProtocolError, RecordingUnreadable

FORMAT = 1
DIGEST_BYTES = 8
LENGTH_BYTES = 4
HEAD_BYTES = 2 * LENGTH_BYTES

INPUTS: dict[str, type] = {kind.__name__: kind for kind in get_args(inputs.Input)}
BEGINNINGS: dict[str, type] = {kind.__name__: kind for kind in (CallMade, CallClaimed)}


class EmittedEvent(NamedTuple):
    """A server event, as far as a recording holds it."""

    n: int
    head: bytes
    """As `OutboxEntry.head`."""
    audio_digest: str
    """"" for an event without audio."""


@dataclass(frozen=True, slots=True)
class Opening:
    """The first entry."""

    version: str
    """Of the server that recorded."""
    pod: str
    beginning: Beginning


@dataclass(frozen=True, slots=True)
class RecordedInput:
    """What happened, and the events that it gave."""

    now_ms: int
    kind: str
    fields: Any
    beside: bytes
    events: list[EmittedEvent]

    def input(self) -> inputs.Input:
        """Raises `RecordingUnreadable` for one that this version does not know."""
        try:
            found: inputs.Input = _read(INPUTS[self.kind], self.fields, _Beside(self.beside))
        except _DAMAGE as error:
            raise RecordingUnreadable(f"this version does not know the input {self.kind}: {error!r}") from error
        return found


def opening(beginning: Beginning, *, version: str, pod: str) -> bytes:
    """The first entry of a recording."""
    beside: list[bytes] = []
    kind: Any = type(beginning)
    head = {"format": FORMAT, "version": version, "pod": pod, "kind": kind.__name__}
    return _framed({**head, "beginning": _shape(kind).write(beginning, beside)}, beside)


class InputText:
    """One input, taken down before the rules have it: they may go on to change what it holds."""

    def __init__(self, event: inputs.Input, now_ms: int) -> None:
        kind: Any = type(event)
        self._beside: list[bytes] = []
        self._text = [now_ms, kind.__name__, _shape(kind).write(event, self._beside)]
        # As JSON at once: the beside is immutable, the rest may be a dictionary that the call keeps.
        self._packed = orjson.dumps(self._text)[:-1]

    def entry(self, events: list[EmittedEvent]) -> bytes:
        """The whole entry, with the events that it gave."""
        told = orjson.dumps([[event.n, len(event.head), event.audio_digest] for event in events])
        return _joined(self._packed + b"," + told + b"]", [*self._beside, *(event.head for event in events)])


def emitted_after(call: CallRecord, n: int) -> list[EmittedEvent]:
    """The events of a call with numbers above `n`: the newest of those that wait for the store."""
    new: list[OutboxEntry] = list(takewhile(lambda entry: entry.n > n, reversed(call.outbox.unsaved)))
    return [EmittedEvent(entry.n, entry.head, digest(entry.audio)) for entry in reversed(new)]


def digest(audio: bytes) -> str:
    """Of an event's audio."""
    return blake2b(audio, digest_size=DIGEST_BYTES).hexdigest() if audio else ""


def read(recording: bytes) -> tuple[Opening, Iterator[RecordedInput]]:
    """A recording's first entry and all others. Raises `RecordingUnreadable`, also while the others are read."""
    frames = _frames(recording)
    first, beside = next(frames, (b"", b""))
    try:
        head = orjson.loads(first)
        if head["format"] != FORMAT:
            raise RecordingUnreadable(f"it is of format {head['format']!r}, this version reads {FORMAT}")
        beginning = _read(BEGINNINGS[head["kind"]], head["beginning"], _Beside(beside))
        begun = Opening(head["version"], head["pod"], beginning)
    except _DAMAGE as error:
        raise RecordingUnreadable(f"it does not begin as a recording does: {error!r}") from error
    return begun, map(_entry, frames)


_DAMAGE = (LookupError, ValueError, TypeError, AttributeError)
"""What reading raises where something is missing, or is something else than its kind."""


def _entry(frame: tuple[bytes, bytes]) -> RecordedInput:
    text, beside = frame
    try:
        now_ms, kind, held, told = orjson.loads(text)
        at = len(beside) - sum(size for _, size, _ in told)
        split = at
        events = []
        for n, size, audio_digest in told:
            events.append(EmittedEvent(n, beside[at : at + size], audio_digest))
            at += size
    except _DAMAGE as error:
        raise RecordingUnreadable(f"an entry is damaged: {error!r}") from error
    return RecordedInput(now_ms, kind, held, beside[:split], events)


def _frames(recording: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while True:
        sizes = recording[at : at + HEAD_BYTES]
        text_bytes = int.from_bytes(sizes[:LENGTH_BYTES], "big")
        end = at + HEAD_BYTES + text_bytes + int.from_bytes(sizes[LENGTH_BYTES:], "big")
        if end > len(recording):  # Also where not even a head is left.
            return
        begins = at + HEAD_BYTES + text_bytes
        yield recording[at + HEAD_BYTES : begins], recording[begins:end]
        at = end


def _framed(value: Any, beside: list[bytes]) -> bytes:
    return _joined(orjson.dumps(value), beside)


def _joined(text: bytes, beside: list[bytes]) -> bytes:
    sizes = len(text).to_bytes(LENGTH_BYTES, "big") + sum(map(len, beside)).to_bytes(LENGTH_BYTES, "big")
    return b"".join((sizes, text, *beside))


# --- values by their types -------------------------------------------------


class _Beside:
    """What stands beside an entry's JSON, taken piece by piece."""

    def __init__(self, held: bytes) -> None:
        self._held = held
        self._at = 0

    def take(self, size: int) -> bytes:
        """The next piece."""
        piece = self._held[self._at : self._at + size]
        if len(piece) != size:
            raise ValueError("bytes are missing")
        self._at += size
        return piece


class _Shape(NamedTuple):
    """How values of a type become JSON with bytes beside it, and come back."""

    write: Callable[[Any, list[bytes]], Any]
    read: Callable[[Any, _Beside], Any]


def _read(kind: type, value: Any, beside: _Beside) -> Any:
    return _shape(kind).read(value, beside)


def _write_bytes(value: bytes, beside: list[bytes]) -> int:
    beside.append(bytes(value))
    return len(value)


_BYTES = _Shape(_write_bytes, lambda size, beside: beside.take(size))
_PLAIN = _Shape(lambda value, _: value, lambda value, _: value)
"""JSON as it is."""
_ERROR = _Shape(
    lambda error, _: [error.message, error.code, error.param, error.limit],
    lambda told, _: ProtocolError(told[0], code=told[1], param=told[2], limit=told[3]),
)


@cache
def _shape(hint: Any) -> _Shape:
    """By an annotation, once."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is bytes:
        return _BYTES
    if hint is ProtocolError:
        return _ERROR
    if is_dataclass(hint):
        return _of_fields(hint, {one.name: one.name for one in fields(hint) if one.init})
    if hasattr(hint, "_fields"):
        return _of_fields(hint, dict.fromkeys(hint._fields, ""))
    if origin in (list, tuple):
        return _of_items(origin, _shape(inner[0]))
    if origin is dict and inner[1] is bytes:
        return _Shape(
            lambda value, beside: {name: _write_bytes(one, beside) for name, one in value.items()},
            lambda value, beside: {name: beside.take(size) for name, size in value.items()},
        )
    if type(None) in inner:
        [other] = set(inner) - {type(None)}
        return _or_none(_shape(other))
    return _PLAIN


def _of_fields(kind: Any, names: dict[str, str]) -> _Shape:
    hints = get_type_hints(kind)
    shapes = [(name, _shape(hints[name])) for name in names]

    def write(value: Any, beside: list[bytes]) -> Any:
        return {name: shape.write(getattr(value, name), beside) for name, shape in shapes}

    def read(value: Any, beside: _Beside) -> Any:
        if unknown := value.keys() - names.keys():
            raise ValueError(f"fields {sorted(unknown)}")
        # What an earlier version did not know has its default.
        return kind(**{name: shape.read(value[name], beside) for name, shape in shapes if name in value})

    return _Shape(write, read)


def _of_items(kind: Any, shape: _Shape) -> _Shape:
    if shape is _PLAIN:
        return _Shape(lambda value, _: list(value), lambda value, _: kind(value))
    return _Shape(
        lambda value, beside: [shape.write(one, beside) for one in value],
        lambda value, beside: kind(shape.read(one, beside) for one in value),
    )


def _or_none(shape: _Shape) -> _Shape:
    if shape is _PLAIN:
        return _PLAIN
    return _Shape(
        lambda value, beside: None if value is None else shape.write(value, beside),
        lambda value, beside: None if value is None else shape.read(value, beside),
    )
