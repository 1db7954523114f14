"""What a caller's message becomes, and that nothing a caller sends can do more than that."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import replace
from random import Random
from typing import Any, get_args

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openai.types.realtime import RealtimeClientEvent
from pydantic import TypeAdapter

from tests.protocol.mutations import COPIES, VALID, as_text, mutate, random_message, valid_event
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
from voice_agent.call.session import merge_session
from voice_agent.call.session_config import new_session
from voice_agent.errors import ProtocolError
from voice_agent.protocol.realtime import (
    MAX_APPEND_BYTES,
    SLICE_BYTES,
    Long,
    parse,
    parse_long,
    received,
)
from voice_agent.settings import Settings

SDK_CLIENT_EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeClientEvent)
SESSION = new_session("call_1", "frontdesk", "marin", expires_at_s=0)


def said(kind: str, **more: Any) -> str:
    """The text of an event."""
    return json.dumps({"type": kind, **more})


def error_in(message: str | bytes, **limits: int) -> ProtocolError:
    """What is invalid in a message."""
    found = parse(message, **limits)
    assert isinstance(found, InvalidEvent), found
    return found.error


# --- what is right ---------------------------------------------------------

ITEM = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
UNDERSTOOD: list[tuple[str, FromCaller]] = [
    (said("session.update", session={"type": "realtime"}), UpdateSession({"type": "realtime"})),
    (said("input_audio_buffer.append", audio="AQID", event_id="e"), AppendAudio(b"\x01\x02\x03", "e")),
    (said("input_audio_buffer.append", audio=""), AppendAudio(b"")),
    (said("input_audio_buffer.commit", event_id="e"), CommitAudio("e")),
    (said("input_audio_buffer.clear"), ClearAudio()),
    (
        said("conversation.item.create", item=ITEM, previous_item_id="root", event_id="e"),
        CreateItem({"object": "realtime.item", "status": "completed", **ITEM}, b"", "root", "e"),
    ),
    (said("conversation.item.retrieve", item_id="item_1"), RetrieveItem("item_1")),
    (
        said("conversation.item.truncate", item_id="item_1", content_index=0, audio_end_ms=1500),
        TruncateItem("item_1", 0, 1500),
    ),
    (said("conversation.item.delete", item_id="item_1"), DeleteItem("item_1")),
    (said("response.create"), CreateResponse({})),
    (said("call.acknowledge", event_id="evt_41"), AcknowledgeEvents(41)),
    (said("response.create", response=None), CreateResponse({})),
    (said("response.create", response={"instructions": "x"}), CreateResponse({"instructions": "x"})),
    (said("response.cancel"), CancelResponse()),
    (said("response.cancel", response_id="resp_1", event_id=""), CancelResponse("resp_1")),
]


def test_what_stands_in_an_event_many_times_is_not_made_to_hold_many_things() -> None:
    """A random message once had 2.8 GB: its test waited 40 s for itself, and blamed the server's silence."""
    for seed in range(200):
        event: dict[str, Any] = {"items": [[]] * (COPIES + 1)}
        mutated = mutate(event, Random(seed))
        lists = mutated.get("items")
        assert not isinstance(lists, list) or all(len(each) < COPIES for each in lists if isinstance(each, list))


@pytest.mark.parametrize(("message", "meaning"), UNDERSTOOD)
def test_an_event_becomes_an_input(message: str, meaning: FromCaller) -> None:
    """Every client event of the protocol is understood, from text and from bytes."""
    assert parse(message) == meaning
    assert parse(message.encode()) == meaning


def test_every_client_event_of_the_sdk_is_known() -> None:
    """The types the SDK can send and those answered here are the same, but for the one of WebRTC."""
    union = get_args(get_args(RealtimeClientEvent)[0])
    types = {get_args(model.model_fields["type"].annotation)[0] for model in union}
    assert types - set(VALID) == {"output_audio_buffer.clear"}
    assert set(VALID) <= types


@pytest.mark.parametrize("seed", range(60))
def test_what_the_sdk_finds_valid_is_taken(seed: int) -> None:
    """Random valid events pass the SDK's types, `parse`, and the session's own rules."""
    event = valid_event(Random(seed))
    SDK_CLIENT_EVENT.validate_python(_without_references(event))
    found = parse(as_text(event, Random(seed)))
    assert not isinstance(found, InvalidEvent), found
    assert found.event_id == event.get("event_id")
    if isinstance(found, UpdateSession):
        merge_session(SESSION, found.patch, voice_locked=False)


def _without_references(event: dict[str, Any]) -> dict[str, Any]:
    """The SDK knows ``item_reference`` in the parameters it sends, yet not in the type it reads."""
    response = event.get("response", {})
    if {"type": "item_reference"}.items() <= (response.get("input") or [{}])[0].items():
        return {**event, "response": {**response, "input": []}}
    return event


def test_an_items_audio_is_decoded_and_joined() -> None:
    """All audio parts of an item are one piece of audio; the item keeps none of it."""
    parts = [
        {"type": "input_audio", "audio": "AQI="},
        {"type": "input_text", "text": "and"},
        {"type": "input_audio", "audio": "AwQ=", "transcript": "t"},
    ]
    item = {"type": "message", "role": "user", "content": parts}
    found = parse(said("conversation.item.create", item=item))
    assert isinstance(found, CreateItem)
    assert found.audio == b"\x01\x02\x03\x04"
    assert found.item["content"][0] == {"type": "input_audio", "transcript": None}


# --- what is wrong ---------------------------------------------------------

APPEND = "input_audio_buffer.append"
WRONG: list[tuple[str | bytes, str, str | None]] = [
    ("", "invalid_json", None),
    ("{", "invalid_json", None),
    (b"\xff\xfe", "invalid_json", None),
    ("\ud800", "invalid_json", None),
    ('{"type":"\\ud800"}', "invalid_json", None),
    ("NaN", "invalid_json", None),
    ("[" * 100_000, "invalid_json", None),
    ('{"type":' * 100_000, "invalid_json", None),
    ("[]", "invalid_type", None),
    ("null", "invalid_type", None),
    ('"session.update"', "invalid_type", None),
    ("{}", "missing_required_parameter", "type"),
    ('{"type":null}', "invalid_type", "type"),
    ('{"type":["input_audio_buffer.append"]}', "invalid_type", "type"),
    (said("session.updte"), "unknown_event", "type"),
    (said("response.done"), "unknown_event", "type"),
    (said("x" * 100_000), "unknown_event", "type"),
    (said("output_audio_buffer.clear"), "unknown_event", "type"),
    (said("transcription_session.update"), "unknown_event", "type"),
    (said("response.create", event_id=7), "invalid_type", "event_id"),
    (said("response.create", event_id="e" * 513), "string_above_max_length", "event_id"),
    (said(APPEND), "missing_required_parameter", "audio"),
    (said(APPEND, audio=None), "missing_required_parameter", "audio"),
    (said(APPEND, audio=[1]), "invalid_type", "audio"),
    (said(APPEND, audio="AQI"), "invalid_base64", "audio"),
    (said(APPEND, audio="AQ\nI="), "invalid_base64", "audio"),
    (said(APPEND, audio="AQ=I"), "invalid_base64", "audio"),
    (said(APPEND, audio="_-_-"), "invalid_base64", "audio"),
    (said(APPEND, audio="äöüß"), "invalid_base64", "audio"),
    (said("session.update"), "missing_required_parameter", "session"),
    (said("session.update", session=None), "missing_required_parameter", "session"),
    (said("session.update", session={}, voice="marin"), "unknown_parameter", "voice"),
    (said("conversation.item.create"), "missing_required_parameter", "item"),
    (said("conversation.item.create", item={**ITEM, "role": "robot"}), "invalid_value", "item.role"),
    (said("conversation.item.create", item=ITEM, previous_item_id=3), "invalid_type", "previous_item_id"),
    (
        said("conversation.item.create", item={**ITEM, "content": [{"type": "input_audio", "audio": "!"}]}),
        "invalid_base64",
        "item.content[0].audio",
    ),
    (said("conversation.item.delete"), "missing_required_parameter", "item_id"),
    (said("conversation.item.delete", item_id=""), "invalid_value", "item_id"),
    (said("conversation.item.truncate", item_id="i", content_index=0), "missing_required_parameter", "audio_end_ms"),
    (
        said("conversation.item.truncate", item_id="i", content_index=0, audio_end_ms=-1),
        "invalid_value",
        "audio_end_ms",
    ),
    (
        said("conversation.item.truncate", item_id="i", content_index=0, audio_end_ms=10**30),
        "invalid_value",
        "audio_end_ms",
    ),
    (said("response.create", response=[]), "invalid_type", "response"),
    (said("response.cancel", response_id=1), "invalid_type", "response_id"),
]


@pytest.mark.parametrize(
    ("message", "code", "param"), WRONG, ids=[f"{n}-{code}-{param}" for n, (_, code, param) in enumerate(WRONG)]
)
def test_an_invalid_message_is_named(message: str | bytes, code: str, param: str | None) -> None:
    """Whatever is wrong with a message comes back as one short error with a code and the field's path."""
    found = error_in(message)
    assert (found.code, found.param) == (code, param)
    assert len(found.message) < 700
    orjson.dumps(found.message)


def test_the_callers_event_id_comes_with_the_error() -> None:
    """An error in a message that has an id names that id, and none if the id itself is wrong."""
    assert parse(said("nonsense", event_id="mine")).event_id == "mine"
    assert parse(said(APPEND, event_id="mine", audio="!")).event_id == "mine"
    assert parse(said("session.update", event_id="mine")).event_id == "mine"
    assert parse(said("response.create", event_id=[])).event_id is None


def test_a_misspelt_type_gets_a_guess() -> None:
    """An unknown type is answered with the nearest one and the list of all."""
    message = error_in(said("session.updte")).message
    assert "Did you mean 'session.update'?" in message
    assert "'response.cancel'" in error_in(said("output_audio_buffer.clear")).message
    assert "WebRTC" in error_in(said("output_audio_buffer.clear")).message
    for kind in VALID:
        assert kind in message


def test_audio_has_a_limit_that_is_named() -> None:
    """Audio of exactly the limit is taken, one byte more is not, in an append and over all parts of an item."""
    at_limit, over = (b64encode(bytes(size)).decode() for size in (999, 1000))
    assert parse(said(APPEND, audio=at_limit), max_audio_bytes=999) == AppendAudio(bytes(999))
    for audio in (over, over * 50):
        found = error_in(said(APPEND, audio=audio), max_audio_bytes=999)
        assert (found.code, found.param) == ("audio_too_large", "audio")
        assert "at most 999" in found.message
    parts = [{"type": "input_audio", "audio": b64encode(bytes(600)).decode()}] * 2
    item = {"type": "message", "role": "user", "content": parts}
    assert isinstance(parse(said("conversation.item.create", item=item), max_audio_bytes=1200), CreateItem)
    found = error_in(said("conversation.item.create", item=item), max_audio_bytes=999)
    assert (found.code, found.param) == ("audio_too_large", "item.content[1].audio")


def test_the_largest_append_fits_into_the_largest_message() -> None:
    """15 MiB of audio are taken in one event, as by OpenAI, and its text is within the socket's bound."""
    message = said(APPEND, event_id="e" * 512, audio=b64encode(bytes(MAX_APPEND_BYTES)).decode())
    assert len(message) <= Settings.model_fields["max_message_bytes"].default
    found = parse(message)
    assert isinstance(found, AppendAudio)
    assert len(found.audio) == MAX_APPEND_BYTES


@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_message_of_a_million_values_is_not_even_parsed(as_bytes: bool) -> None:
    """A message that would take seconds to parse is refused by its commas; as much text with fewer is read."""
    message = said("session.update", session={"tools": [[]] * 1_000_000})
    assert error_in(message.encode() if as_bytes else message).code == "message_too_complex"
    text = "No, " * 65_000
    item = {"type": "function_call_output", "call_id": "c", "output": text}
    assert isinstance(parse(said("conversation.item.create", item=item)), CreateItem)


def test_the_last_of_two_equal_keys_counts() -> None:
    """Doubled keys are read as every JSON reader does, and never as both."""
    assert parse('{"type":"response.cancel","type":"input_audio_buffer.append","audio":"!","audio":"AQI="}') == (
        AppendAudio(b"\x01\x02")
    )


# --- anything at all -------------------------------------------------------

SEEDS = st.integers(min_value=0, max_value=2**64)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def take(message: str | bytes) -> None:
    """Parse, then apply the rules of the session: the only outcomes are an input or an `InvalidEvent`."""
    found = parse(message)
    assert isinstance(found, FromCaller)
    try:
        if isinstance(found, UpdateSession):
            session = merge_session(SESSION, found.patch, voice_locked=True)
            assert len(orjson.dumps(session)) < 1024 * 1024
        if isinstance(found, CreateResponse):
            orjson.dumps(found.params)
        if isinstance(found, CreateItem):
            orjson.dumps(found.item)
        if isinstance(found, InvalidEvent):
            raise found.error
    except ProtocolError as error:
        assert len(error.message) < 1000  # noqa: PT017  # most messages raise nothing
        orjson.dumps([error.message, error.code, error.param])


@given(st.binary() | st.text(st.characters(), max_size=200))
@example(b"")
@example("\ud800")
def test_any_bytes_give_an_input(message: str | bytes) -> None:
    """Whatever arrives, `parse` returns an input and raises nothing."""
    take(message)


@given(
    st.sampled_from(sorted(VALID)),
    st.dictionaries(st.sampled_from(["event_id", "audio", "session", "item", "response"]) | st.text(), JSON),
)
def test_any_fields_give_an_input(kind: str, fields: dict[str, Any]) -> None:
    """Known types with arbitrary fields are taken or are invalid, never more."""
    take(json.dumps({**fields, "type": kind}))


@settings(max_examples=400)
@given(SEEDS)
def test_mutated_events_give_an_input(seed: int) -> None:
    """Valid events with anything in them exchanged are taken or are invalid, never more."""
    rng = Random(seed)
    take(as_text(mutate(valid_event(rng), rng), rng))


@settings(max_examples=400)
@given(SEEDS)
def test_random_messages_give_an_input(seed: int) -> None:
    """The generator that load and end-to-end tests use finds nothing that gets through, and can be sent."""
    message = random_message(Random(seed))
    if isinstance(message, str):
        message.encode()
    take(message)


def test_random_messages_reach_every_input() -> None:
    """The generator is worth its name: it makes every kind of input and every code of `parse`."""
    rng = Random(7)
    found = [parse(random_message(rng)) for _ in range(6000)]
    assert {type(each) for each in found} == set(get_args(FromCaller))
    codes = {each.error.code for each in found if isinstance(each, InvalidEvent)}
    assert codes >= {
        "invalid_json", "invalid_type", "missing_required_parameter", "unknown_event", "unknown_parameter",
        "invalid_base64", "invalid_value", "string_above_max_length",
    }  # fmt: skip


def _told(meaning: FromCaller) -> object:
    """An input as something that can be compared: errors are equal if they say the same."""
    return (str(meaning.error), meaning.event_id) if isinstance(meaning, InvalidEvent) else meaning


HOT = '{"type":"input_audio_buffer.append","audio":"%s"}'
NEAR_BASE64 = st.text('AQz/+=\\"\u00e9 ,:}', max_size=12)


@given(
    st.one_of(
        st.binary(max_size=3000).map(lambda audio: b64encode(audio).decode()),
        NEAR_BASE64,
        st.tuples(st.binary(max_size=9).map(lambda audio: b64encode(audio).decode()), NEAR_BASE64).map("".join),
    ),
    st.sampled_from([HOT, HOT.replace(":", ": ").replace(",", ", ")]),
    st.sampled_from(["", " ", "}", ',"event_id":"x"}', "\n"]),
)
def test_the_shortcut_for_an_append_agrees_with_json(audio: str, shape: str, end: str) -> None:
    """The shortcut is for text alone: the same message as bytes is read as JSON, and means the same."""
    message = shape % audio
    message = message[: -len(end)] + end if end.startswith(",") else message + end
    assert _told(parse(message, max_audio_bytes=2000)) == _told(parse(message.encode(), max_audio_bytes=2000))


# --- long messages ---------------------------------------------------------


def in_slices(message: str | bytes, **limits: int) -> tuple[FromCaller | Long, int]:
    """What a message means, decoded in slices, and how many there were."""
    slices, decoding = 0, parse_long(message, **limits)
    while True:
        try:
            next(decoding)
        except StopIteration as done:
            return done.value, slices
        slices += 1


def joined(meaning: FromCaller | Long) -> object:
    """The same with all its audio in one piece."""
    if isinstance(meaning, Long):
        audio = b"".join(meaning.pieces())
        assert len(audio) == meaning.size_bytes > SLICE_BYTES
        meaning = replace(meaning.event, audio=audio)
    return _told(meaning)


SIZES = st.sampled_from([0, 1, 2, SLICE_BYTES - 1, SLICE_BYTES, SLICE_BYTES + 1, 3 * SLICE_BYTES - 2, 3 * SLICE_BYTES])


@given(
    SIZES,
    st.sampled_from(["hot", "named", "item", "items"]),
    st.none() | st.tuples(st.integers(0, 200_000), st.sampled_from('=!"\u00e9')),
    st.booleans(),
    st.sampled_from([10**6, 3 * SLICE_BYTES - 1, 1000]),
)
def test_a_message_read_in_slices_means_the_same(
    size: int, kind: str, spoilt: tuple[int, str] | None, as_bytes: bool, max_audio_bytes: int
) -> None:
    """Append or item, whole or spoilt anywhere, too long or not: as read at once, errors included."""
    audio = b64encode(bytes(range(256)) * (size // 256) + bytes(size % 256)).decode()
    if spoilt is not None and audio:
        at = spoilt[0] % len(audio)
        audio = audio[:at] + spoilt[1] + audio[at + 1 :]
    part = {"type": "input_audio", "audio": audio}
    item = {"type": "message", "role": "user", "content": [part] * (2 if kind == "items" else 1)}
    messages = {
        "hot": HOT % audio,
        "named": said(APPEND, event_id="e", audio=audio),
        "item": said("conversation.item.create", item=item, event_id="e"),
        "items": said("conversation.item.create", item=item),
    }
    message: str | bytes = messages[kind].encode() if as_bytes else messages[kind]
    found, _ = in_slices(message, max_audio_bytes=max_audio_bytes)
    assert joined(found) == _told(parse(message, max_audio_bytes=max_audio_bytes))


def test_a_slice_is_small() -> None:
    """Each step decodes so much and no more, and the pieces are whole samples of every format."""
    found, slices = in_slices(HOT % b64encode(bytes(10 * SLICE_BYTES + 2)).decode())
    assert isinstance(found, Long)
    assert [len(piece) for piece in found.pieces()] == [SLICE_BYTES] * 10 + [2]
    assert slices == 11
    assert SLICE_BYTES % 6 == 0


@given(SEEDS)
def test_random_messages_mean_the_same_in_slices(seed: int) -> None:
    """Whatever arrives."""
    message = random_message(Random(seed))
    assert joined(in_slices(message)[0]) == _told(parse(message))


@pytest.mark.parametrize("event_id", ["", "evt_", "evt_-1", "evt_1.5", "41", None, 41, f"evt_{2**53 + 1}"])
def test_only_an_event_of_the_server_can_be_acknowledged(event_id: object) -> None:
    """The field names what the client has, and is no id of the client's own."""
    error = error_in(said("call.acknowledge", event_id=event_id))
    assert error.param == "event_id"


def test_what_is_durable_of_the_clients_is_told_without_a_number() -> None:
    """So it is never replayed, and nobody takes it for an event that is missing."""
    assert orjson.loads(received(96, None)) == {
        "type": "call.received",
        "input_audio_bytes": 96,
        "last_client_event_id": None,
    }
