"""Random messages of a caller, right, wrong and absurd, for fuzzing `wire.parse` and whole servers.

`random_message(rng)` depends on nothing but `rng`, so a seed names a whole run. About a
third of the messages are valid, half are valid ones with something changed, the rest is
garbage. Audio is kept short.
"""

from __future__ import annotations

import copy
import json
from base64 import b64encode
from collections.abc import Callable
from random import Random
from typing import Any

Json = Any

MAX_AUDIO_BYTES = 4800


def random_message(rng: Random) -> str | bytes:
    """One message."""
    luck = rng.random()
    if luck < 0.35:
        return as_text(valid_event(rng, with_extensions=True), rng)
    if luck < 0.70:
        return as_text(mutate(valid_event(rng, with_extensions=True), rng), rng)
    if luck < 0.85:
        return _spoil(as_text(valid_event(rng, with_extensions=True), rng), rng)
    return rng.choice(_GARBAGE)(rng)


def as_text(event: Json, rng: Random) -> str:
    """An event as a client might write it down."""
    compact = rng.random() < 0.5
    return json.dumps(event, ensure_ascii=rng.random() < 0.5, separators=(",", ":") if compact else None)


# --- valid events ----------------------------------------------------------


def valid_event(rng: Random, *, with_extensions: bool = False) -> dict[str, Any]:
    """An event of any type, right in shape (what it names may not exist)."""
    makers = {**VALID, **EXTENSIONS} if with_extensions else VALID
    kind = rng.choice(list(makers))
    event = {"type": kind, **makers[kind](rng)}
    if rng.random() < 0.5 and kind in VALID:
        event["event_id"] = f"event_{rng.randrange(10_000)}"
    return event


def _audio(rng: Random) -> str:
    return b64encode(rng.randbytes(2 * rng.randrange(MAX_AUDIO_BYTES // 2))).decode()


def _words(rng: Random) -> str:
    return " ".join(
        rng.choice(["tomorrow", "at", "three", "naïve", "🎧", "\u2028", '"quoted"', "\\", "日本"]) for _ in range(5)
    )


def _item_id(rng: Random) -> str:
    return f"item_{rng.randrange(30)}"


def _format(rng: Random) -> dict[str, Any]:
    return rng.choice([{"type": "audio/pcm", "rate": 24000}, {"type": "audio/pcmu"}, {"type": "audio/pcma"}])


def _some(rng: Random, options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if rng.random() < 0.4}


def _turn_detection(rng: Random) -> dict[str, Any] | None:
    both = _some(rng, {"create_response": rng.random() < 0.5, "interrupt_response": rng.random() < 0.5})
    server = {"threshold": rng.random(), "prefix_padding_ms": 300, "silence_duration_ms": rng.randrange(100, 900)}
    return rng.choice(
        [
            None,
            {"type": "server_vad", **both, **_some(rng, {**server, "idle_timeout_ms": rng.choice([None, 6000])})},
            {"type": "semantic_vad", **both, **_some(rng, {"eagerness": rng.choice(["low", "auto", "high"])})},
        ]
    )


def _tool(rng: Random) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"when": {"type": "string"}}, "required": ["when"]}
    return {"type": "function", "name": "book", "description": _words(rng), "parameters": schema}


def _shared(rng: Random) -> dict[str, Any]:
    return {
        "instructions": _words(rng),
        "output_modalities": [rng.choice(["audio", "text"])],
        "tools": [_tool(rng)] if rng.random() < 0.5 else [],
        "tool_choice": rng.choice(["auto", "none", "required", {"type": "function", "name": "book"}]),
        "max_output_tokens": rng.choice(["inf", 1, 4096]),
    }


def _session(rng: Random) -> dict[str, Any]:
    heard = {
        "format": _format(rng),
        "transcription": rng.choice([None, {"model": "whisper-1", "language": "en"}]),
        "noise_reduction": rng.choice([None, {"type": "near_field"}]),
        "turn_detection": _turn_detection(rng),
    }
    spoken = {"format": _format(rng), "voice": rng.choice(["marin", {"id": "voice_1"}]), "speed": 1.0}
    audio = _some(rng, {"input": _some(rng, heard), "output": _some(rng, spoken)})
    options = {**_shared(rng), "audio": audio, "tracing": None, "truncation": "auto", "include": None}
    return {"session": {"type": "realtime", **_some(rng, options)}}


def _message_item(rng: Random) -> dict[str, Any]:
    role, part = rng.choice(
        [
            ("system", {"type": "input_text", "text": _words(rng)}),
            ("user", {"type": "input_text", "text": _words(rng)}),
            ("user", {"type": "input_audio", "audio": _audio(rng) or "AAAA", "transcript": _words(rng)}),
            ("assistant", {"type": "output_text", "text": _words(rng)}),
            ("assistant", {"type": "output_audio", "transcript": _words(rng)}),
        ]
    )
    return {"type": "message", "role": role, "content": [part] * rng.randrange(1, 3)}


def _item(rng: Random) -> dict[str, Any]:
    item = rng.choice(
        [
            _message_item(rng),
            _message_item(rng),
            {"type": "function_call", "name": "book", "call_id": "fc_1", "arguments": '{"when":"noon"}'},
            {"type": "function_call_output", "call_id": f"fc_{_item_id(rng)}", "output": _words(rng)},
        ]
    )
    return {**item, **_some(rng, {"id": f"mine_{rng.randrange(100)}", "status": "completed"})}


def _create_item(rng: Random) -> dict[str, Any]:
    return {"item": _item(rng), **_some(rng, {"previous_item_id": rng.choice([None, "root", _item_id(rng)])})}


def _create_response(rng: Random) -> dict[str, Any]:
    written = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": _words(rng)}]}]
    options = {
        **_shared(rng),
        "metadata": {"topic": "booking"},
        "conversation": rng.choice(["auto", "none"]),
        "input": rng.choice([[], written, [{"type": "item_reference", "id": _item_id(rng)}]]),
        "audio": {"output": {"format": _format(rng), "voice": "marin"}},
    }
    return _some(rng, {"response": _some(rng, options)})


VALID: dict[str, Callable[[Random], dict[str, Any]]] = {
    "session.update": _session,
    "input_audio_buffer.append": lambda rng: {"audio": _audio(rng)},
    "input_audio_buffer.commit": lambda rng: {},
    "input_audio_buffer.clear": lambda rng: {},
    "conversation.item.create": _create_item,
    "conversation.item.retrieve": lambda rng: {"item_id": _item_id(rng)},
    "conversation.item.truncate": lambda rng: {
        "item_id": _item_id(rng),
        "content_index": rng.randrange(2),
        "audio_end_ms": rng.randrange(5000),
    },
    "conversation.item.delete": lambda rng: {"item_id": _item_id(rng)},
    "response.create": _create_response,
    "response.cancel": lambda rng: _some(rng, {"response_id": f"resp_{rng.randrange(9)}"}),
}
"""For every event of OpenAI's that a caller may send, a maker of its fields."""
EXTENSIONS: dict[str, Callable[[Random], dict[str, Any]]] = {
    "call.acknowledge": lambda rng: {"event_id": f"evt_{rng.randrange(99)}"},
}
"""The same for our own."""


# --- wrong events ----------------------------------------------------------

_ODD_VALUES: list[Json] = [
    None, True, False, 0, -1, 1, 0.5, -0.0, 1e308, 2**53, 2**64, 10**40, "", "a", "auto", "null", "x" * 70_000,
    "\x00", "🎧", "pcm16", [], {}, [[]], [None], {"": ""}, {"type": "realtime"}, {"type": "message"}, ["audio", "text"],
    {"id": "x"}, [{"type": "function"}], "evt_1", "root", "item_1", "not base64!", "QUJD", "QUJ",
]  # fmt: skip
_ODD_NAMES = ["", "type", "id", "voice", "modalities", "audio", "item", "session", "nope", "x" * 5000, "a.b", "é"]
COPIES = 200


def mutate(event: dict[str, Any], rng: Random) -> Json:
    """The event with one to three things changed, at any depth."""
    changed = copy.deepcopy(event)
    for _ in range(rng.randrange(1, 4)):
        places = list(_containers(changed))
        # What stands in the event many times already is not made to hold many things more: that would be gigabytes.
        _change(rng.choice(places), rng, copies=1 if len(places) > COPIES else rng.choice([1, 1, 1, COPIES]))
    return changed


def _containers(value: Json) -> list[Json]:
    found, waiting = [], [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, (dict, list)):
            found.append(each)
            waiting += each.values() if isinstance(each, dict) else each
    return found


def _change(place: Json, rng: Random, copies: int) -> None:
    odd = _deep(rng) if rng.random() < 0.1 else copy.deepcopy(rng.choice(_ODD_VALUES))
    if isinstance(place, dict):
        names = list(place)
        action = rng.random()
        if names and action < 0.25:
            del place[rng.choice(names)]
        elif names and action < 0.75:
            place[rng.choice(names)] = odd
        else:
            place[rng.choice(_ODD_NAMES)] = odd
    elif place and rng.random() < 0.5:
        place[rng.randrange(len(place))] = odd
    else:
        place += [odd] * copies


def _deep(rng: Random) -> Json:
    value: Json = 1
    for _ in range(rng.choice([10, 70, 200, 300])):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


# --- garbage ---------------------------------------------------------------


def _spoil(message: str, rng: Random) -> str | bytes:
    """Cut, double, flip or splice the text of a message."""
    raw = bytearray(message.encode())
    action = rng.randrange(5)
    at = rng.randrange(len(raw))
    if action == 0:
        del raw[at:]
    elif action == 1:
        raw[at] ^= 1 << rng.randrange(8)
    elif action == 2:
        raw[at:at] = rng.randbytes(3)
    elif action == 3:
        raw += bytes(raw)
    else:
        del raw[at : at + rng.randrange(1, 9)]
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return bytes(raw)


_GARBAGE: list[Callable[[Random], str | bytes]] = [
    lambda rng: rng.randbytes(rng.randrange(200)),
    lambda rng: "".join(chr(rng.randrange(0x20, 0xD800)) for _ in range(rng.randrange(50))),
    lambda rng: rng.choice(["", " ", "null", "true", "0", "[]", "{}", '""', "NaN", "1e999", "\ufeff{}"]),
    lambda rng: b'{"type":"\xed\xa0\x80"}',
    lambda rng: "[" * rng.choice([10, 1000, 5000]),
    lambda rng: '{"type":' * rng.choice([10, 1000, 5000]),
    lambda rng: '{"type":"input_audio_buffer.append","audio":"AAAA","audio":' + rng.choice(['"!"}', "1}", '"AAA="}']),
    lambda rng: '{"type":"\\ud800"}',
    lambda rng: '{"type":"input_audio_buffer.append","audio":' + "9" * rng.choice([10, 400, 5000]) + "}",
    lambda rng: json.dumps(
        {"type": rng.choice(["session.created", "response.done", "x" * 9000, "output_audio_buffer.clear"])}
    ),
]
