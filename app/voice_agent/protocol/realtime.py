"""The OpenAI Realtime (GA) protocol, as a server: messages in, event texts out.

Nothing here waits or remembers. `parse` takes one message of a caller and always gives
an input for the call; whatever is wrong with it becomes a `InvalidEvent`, and so an
``error`` event. `frame` makes the text of one numbered server event.

Both have a path for audio, which runs for every frame of every call. It does one JSON
parse and one base64 decode (or one encode and one concatenation) and nothing else: 1.6 µs
in and 0.6 µs out for 20 ms of PCM (``python -m tests.protocol.bench_realtime``).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import orjson
import pybase64

from voice_agent.call.event_ids import PREFIX
from voice_agent.call.events import pack
from voice_agent.call.inputs import (
    AcknowledgeEvents,
    AppendAudio,
    CancelResponse,
    ClearAudio,
    CommitAudio,
    CreateItem,
    CreateResponse,
    DeleteItem,
    FromCaller,
    InvalidEvent,
    RetrieveItem,
    TruncateItem,
    UpdateSession,
)
from voice_agent.errors import ProtocolError, invalid
from voice_agent.protocol.client_events import EVENTS, NOT_SERVED, read
from voice_agent.protocol.json_types import shown
from voice_agent.protocol.validation import missing, wrong_type

MAX_APPEND_BYTES = 15 * 1024 * 1024
"""Audio in one event, as with OpenAI."""
MAX_EVENT_ID_CHARS = 512
LARGE_MESSAGE = 256 * 1024
SLICE_BYTES = 24 * 1024
"""Of audio: what is decoded, and heard, in one turn of the event loop. About 1 ms of work, most of it endpointing."""
_SLICE_CHARS = SLICE_BYTES // 3 * 4
MAX_COMMAS = 100_000
"""A large message is large for its audio or its text. One made of a million empty values
would take seconds and hundreds of MiB to parse, and every call of the pod would wait."""

# --- from the caller -------------------------------------------------------


_APPEND = "input_audio_buffer.append"
_HOT_STARTS = (f'{{"type":"{_APPEND}","audio":"', f'{{"type": "{_APPEND}", "audio": "')
"""An append as JavaScript's and as Python's JSON writers begin it."""
_HOT_KEY = len(f'{{"type":"{_APPEND}","audio":')


def parse(message: str | bytes, *, max_audio_bytes: int = MAX_APPEND_BYTES) -> FromCaller:
    """What a caller's message asks for. Never raises: anything unacceptable is a `InvalidEvent`.

    `max_audio_bytes` bounds the decoded audio of one event. Whether audio holds whole
    samples, and whether the named items exist, is for the call to check. Unknown
    fields are invalid, except beside the audio of an append.
    """
    if type(message) is str and message.startswith(_HOT_STARTS) and len(message) < LARGE_MESSAGE:
        # The shortcut of the frame path: text that is an append and nothing else is not read as JSON.
        # What is not base64 between the quotes, more fields included, is left to the long way below.
        try:
            audio: bytes = pybase64.b64decode(message[message.index('"', _HOT_KEY) + 1 : -2], None, True)
        except ValueError:
            pass
        else:
            if message.endswith('"}') and len(audio) <= max_audio_bytes:
                return AppendAudio(audio)
    event = _load(message)
    if isinstance(event, InvalidEvent):
        return event
    event_id = None
    try:
        event_id = _event_id(event)
        if event.get("type") == _APPEND:
            return AppendAudio(_decode(event.get("audio"), "audio", max_audio_bytes), event_id)
        parsed, parts = _read(event, event_id)
        if isinstance(parsed, CreateItem) and parts:
            return replace(parsed, audio=_decode_parts(parts, max_audio_bytes))
        return parsed
    except ProtocolError as error:
        return InvalidEvent(error, event_id)


def _load(message: str | bytes) -> dict[str, Any] | InvalidEvent:
    """The JSON object that a message is, or what is wrong with it."""
    if len(message) > LARGE_MESSAGE and _commas(message) > MAX_COMMAS:
        return InvalidEvent(
            ProtocolError(
                f"The message holds more than {MAX_COMMAS} commas.", code="message_too_complex", limit="message_commas"
            )
        )
    try:
        event = orjson.loads(message)
    except orjson.JSONDecodeError as broken:
        return InvalidEvent(
            ProtocolError(f"The message is not valid JSON in UTF-8: {broken.msg}.", code="invalid_json")
        )
    return event if type(event) is dict else InvalidEvent(_no_event(event))


@dataclass(frozen=True, slots=True)
class Long:
    """An input whose audio is decoded piece by piece; in `event` it is missing. It is known to be base64."""

    event: AppendAudio | CreateItem
    texts: list[tuple[str, int, int]]
    """Where the audio's base64 stands: a text, from where and up to where."""
    size_bytes: int

    def pieces(self) -> Iterator[bytes]:
        """The audio, in pieces of at most `SLICE_BYTES`; of one text all but the last are as long."""
        for base64, start, end in self.texts:
            for at in range(start, end, _SLICE_CHARS):
                yield pybase64.b64decode(base64[at : min(at + _SLICE_CHARS, end)], None, True)


def parse_long(
    message: str | bytes, *, max_audio_bytes: int = MAX_APPEND_BYTES
) -> Generator[None, None, FromCaller | Long]:
    """As `parse`, for a message of any length: looks at a slice of its audio each time it is asked to go on."""
    if isinstance(message, str) and message.startswith(_HOT_STARTS) and message.endswith('"}'):
        start, end = message.index('"', _HOT_KEY) + 1, len(message) - 2
        size = yield from _measure(message, start, end, max_audio_bytes)
        if size is not None:
            return _long(AppendAudio(b""), [(message, start, end)], size)
    event = _load(message)
    if isinstance(event, InvalidEvent):
        return event
    event_id = None
    try:
        event_id = _event_id(event)
        if event.get("type") == _APPEND:
            parsed: FromCaller = AppendAudio(b"", event_id)
            parts: Sequence[tuple[str, Any]] = [("audio", event.get("audio"))]
        else:
            parsed, parts = _read(event, event_id)
        if not isinstance(parsed, AppendAudio | CreateItem):
            return parsed
        return _long(parsed, *(yield from _measure_parts(parts, max_audio_bytes)))
    except ProtocolError as error:
        return InvalidEvent(error, event_id)


def _long(parsed: AppendAudio | CreateItem, texts: list[tuple[str, int, int]], size_bytes: int) -> FromCaller | Long:
    long = Long(parsed, texts, size_bytes)
    return long if size_bytes > SLICE_BYTES else replace(parsed, audio=b"".join(long.pieces()))


def _measure(base64: str, start: int, end: int, max_bytes: int) -> Generator[None, None, int | None]:
    """How much audio ``base64[start:end]`` holds; None if it is not base64, or too much.

    What is decoded for that is freed: to decode twice costs less than to hold all of it twice.
    """
    size = 0
    if (end - start) // 4 * 3 > max_bytes + 2:
        return None
    for at in range(start, end, _SLICE_CHARS):
        upto = min(at + _SLICE_CHARS, end)
        try:
            piece = len(pybase64.b64decode(base64[at:upto], None, True))
        except ValueError:
            return None
        if upto < end and piece < SLICE_BYTES:
            return None  # Padding in the middle.
        size += piece
        yield
    return None if size > max_bytes else size


def _measure_parts(
    parts: Sequence[tuple[str, Any]], max_bytes: int
) -> Generator[None, None, tuple[list[tuple[str, int, int]], int]]:
    texts: list[tuple[str, int, int]] = []
    size = 0
    for path, audio in parts:
        found = (yield from _measure(audio, 0, len(audio), max_bytes - size)) if isinstance(audio, str) else None
        size += len(_decode(audio, path, max_bytes - size)) if found is None else found  # The first raises its fault.
        texts.append((audio, 0, len(audio)))
    return texts, size


def _commas(message: str | bytes) -> int:
    return message.count(",") if isinstance(message, str) else message.count(b",")


def _read(event: dict[str, Any], event_id: str | None) -> tuple[FromCaller, list[tuple[str, str]]]:
    """What an event other than an append asks for, and the base64 texts of its audio, each with its path."""
    if event.get("type") == "conversation.item.create":
        given = read("conversation.item.create", event)
        item, parts = given["item"]
        paths = [(f"item.{path}", audio) for path, audio in parts]
        return CreateItem(item, b"", given.get("previous_item_id"), event_id), paths
    return _read_silent(event, event_id), []


def _read_silent(event: dict[str, Any], event_id: str | None) -> FromCaller:
    kind = _kind(event)
    given = read(kind, event)
    match kind:
        case "session.update":
            return UpdateSession(given["session"], event_id)
        case "input_audio_buffer.commit":
            return CommitAudio(event_id)
        case "input_audio_buffer.clear":
            return ClearAudio(event_id)
        case "conversation.item.retrieve":
            return RetrieveItem(given["item_id"], event_id)
        case "conversation.item.truncate":
            return TruncateItem(given["item_id"], given["content_index"], given["audio_end_ms"], event_id)
        case "conversation.item.delete":
            return DeleteItem(given["item_id"], event_id)
        case "response.create":
            return CreateResponse(given.get("response") or {}, event_id)
        case "call.acknowledge":
            return AcknowledgeEvents(given["event_id"])
        case _:
            return CancelResponse(given.get("response_id"), event_id)


def _event_id(event: dict[str, Any]) -> str | None:
    event_id = event.get("event_id")
    if event_id is None or event_id == "" or event.get("type") == "call.acknowledge":
        return None  # There it is an event of the server that is named.
    if not isinstance(event_id, str):
        raise wrong_type(event_id, "event_id", "a string")
    if len(event_id) > MAX_EVENT_ID_CHARS:
        raise invalid(
            "event_id",
            f"is {len(event_id)} characters long; at most {MAX_EVENT_ID_CHARS} are allowed",
            "string_above_max_length",
        )
    return event_id


def _kind(event: dict[str, Any]) -> str:
    if "type" not in event:
        raise missing("type")
    kind = event["type"]
    if not isinstance(kind, str):
        raise wrong_type(kind, "type", "a string")
    if kind in EVENTS:
        return kind
    if kind in NOT_SERVED:
        raise ProtocolError(f"'{kind}' is not taken: {NOT_SERVED[kind]}", code="unknown_event", param="type")
    near = get_close_matches(kind[:64], EVENTS, n=1)
    guess = f" Did you mean '{near[0]}'?" if near else ""
    raise ProtocolError(
        f"Unknown event type {shown(kind)}.{guess} Known types: {', '.join(EVENTS)}.",
        code="unknown_event",
        param="type",
    )


def _no_event(value: Any) -> ProtocolError:
    wrong = wrong_type(value, "message", "an object with a 'type'")
    return ProtocolError(wrong.message, code=wrong.code)


def _decode(audio: Any, path: str, max_bytes: int) -> bytes:
    if not isinstance(audio, str):
        raise missing(path) if audio is None else wrong_type(audio, path, "a string of base64")
    size = len(audio) // 4 * 3
    if size > max_bytes + 2:
        raise _too_much(path, size, max_bytes)
    try:
        decoded: bytes = pybase64.b64decode(audio, None, True)
    except ValueError:
        raise invalid(path, "must be base64 with padding and without line breaks", "invalid_base64") from None
    if len(decoded) > max_bytes:
        raise _too_much(path, len(decoded), max_bytes)
    return decoded


def _too_much(path: str, size: int, max_bytes: int) -> ProtocolError:
    return invalid(path, f"holds {size} bytes of audio; at most {max_bytes} are allowed", "audio_too_large")


def _decode_parts(parts: list[tuple[str, str]], max_bytes: int) -> bytes:
    left, decoded = max_bytes, []
    for path, audio in parts:
        decoded.append(_decode(audio, path, left))
        left -= len(decoded[-1])
    return b"".join(decoded)


# --- to the caller ---------------------------------------------------------

_FRAME = b'{"event_id":"' + PREFIX.encode() + b'%d",%b'
_AUDIO_FRAME = _FRAME + b',"delta":"%b"}'
_RETRIEVED = b'{"type":"conversation.item.retrieved"'


def frame(n: int, head: bytes, audio: bytes) -> bytes:
    """The n-th event as JSON text, from its packed body and the audio that belongs to it (b"" if none)."""
    if not audio:
        return _FRAME % (n, head[1:])
    if head.startswith(_RETRIEVED):
        return frame(n, _with_item_audio(head, audio), b"")
    return _AUDIO_FRAME % (n, head[1:-1], pybase64.b64encode(audio))


def received(input_audio_bytes: int, last_client_event_id: str | None) -> bytes:
    """`call.received`: what of the client's is durable. It has no number, and is never replayed."""
    told = {"type": "call.received", "input_audio_bytes": input_audio_bytes}
    return pack(told | {"last_client_event_id": last_client_event_id})


def greeting(n: int, session: Mapping[str, Any], call: Mapping[str, Any]) -> bytes:
    """The ``session.created`` of a connection that goes on after the n-th event; `call` becomes ``session.call``."""
    return frame(n, pack({"type": "session.created", "session": {**session, "call": call}}), b"")


def _with_item_audio(head: bytes, audio: bytes) -> bytes:
    body = orjson.loads(head)
    for part in body["item"]["content"]:
        if part.get("audio") == "":
            part["audio"] = pybase64.b64encode_as_string(audio)
    return pack(body)
