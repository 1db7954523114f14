"""Each message of a caller is one event, however the caller numbers its own. Here are the tests of `event_ids`, too."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from websockets.speedups import apply_mask

from voice_agent.edge.caller_messages import MAX_JSON_BYTES, CallerMessage, CallerMessages, MessageKind, TooMuchJson
from voice_agent.edge.event_ids import MAX_ID_CHARS, EventIds, client_id
from voice_agent.edge.long_messages import LongMessage
from voice_agent.protocol.realtime import LARGE_MESSAGE, MAX_COMMAS
from voice_agent.websocket.frame_reader import LARGE_TEXT_BYTES
from voice_agent.websocket.frames import payload_start


def messages() -> CallerMessages:
    """Of a connection."""
    return CallerMessages(EventIds("0123abcd"), wants_received=False)


def sent(message: CallerMessage) -> Any:
    """What the pod gets."""
    start = payload_start(message.frame)
    return orjson.loads(apply_mask(message.frame[start:], message.frame[start - 4 : start]))


@pytest.mark.parametrize("own", ["mine", "", "with_under_scores", "two\nlines", "edge_0123abcd_7", None])
def test_an_id_of_ours_tells_the_clients(own: str | None) -> None:
    """Also one that has gone through an edge before, or looks as if it had."""
    ids = EventIds("0123abcd")
    number, event_id = ids.next(own)
    assert (number, ids.number(event_id)) == (1, 1)
    assert client_id(event_id) == own
    assert EventIds("ffffffff").number(event_id) == 0


@pytest.mark.parametrize("spare", [0, -1])
def test_an_id_is_kept_behind_ours_as_far_as_there_is_room(spare: int) -> None:
    """So that the newest of the client's is known by any of ours; one that is too long is not cut."""
    ids = EventIds("0123abcd")
    own = "x" * (MAX_ID_CHARS - len("edge_0123abcd_2-") - spare)
    ids.next(own)
    _, behind = ids.next(None)
    assert behind == ("edge_0123abcd_2" if spare else f"edge_0123abcd_2-{own}")


def test_an_id_that_no_edge_gave_is_the_clients() -> None:
    """And one that leaves no room for ours stays as it is."""
    assert client_id("mine") == "mine"
    assert client_id(None) is None
    ids = EventIds("0123abcd")
    assert ids.next("x" * 512) == (1, "x" * 512)
    assert ids.number("x" * 512) == ids.number(None) == 0


def test_two_events_of_one_id_are_two() -> None:
    """What else is in them stays as it is."""
    read = messages()
    first, second = (read.read('{"type":"response.create","event_id":"a","response":{"n":1.50}}') for _ in range(2))
    assert sent(first) == {"type": "response.create", "event_id": "edge_0123abcd_1_a", "response": {"n": 1.5}}
    assert sent(second)["event_id"] == "edge_0123abcd_2_a"
    assert (first.kind, first.number, second.number) == (MessageKind.EVENT, 1, 2)


@pytest.mark.parametrize(
    ("audio", "size"),
    [
        (base64.b64encode(b"abc").decode(), 3),
        (base64.b64encode(b"abcd").decode(), 4),
        (base64.b64encode(bytes(400_001)).decode(), 400_001),
        ("not base64!", 0),
        (7, 0),
        (None, 0),
    ],
    ids=["three", "four", "many", "text", "number", "null"],
)
def test_audio_is_counted_as_the_pod_counts_it(audio: object, size: int) -> None:
    """What it will refuse is nothing."""
    read = messages().read(orjson.dumps({"type": "input_audio_buffer.append", "audio": audio}))
    assert (read.kind, read.audio_bytes) == (MessageKind.AUDIO, size)


@pytest.mark.parametrize("written", ['{"type":"%s","audio":"%s"}', '{"type": "%s", "audio": "%s"}'])
def test_an_append_and_nothing_else_gets_no_id(written: str) -> None:
    """Its place in the audio tells it from others; a pod would have to remember the id, in the store too."""
    read = messages()
    text = written % ("input_audio_buffer.append", base64.b64encode(bytes(960)).decode())
    found = read.read(text)
    start = payload_start(found.frame)
    assert apply_mask(found.frame[start:], found.frame[start - 4 : start]).decode() == text
    assert (found.kind, found.number, found.audio_bytes) == (MessageKind.AUDIO, 0, 960)
    named = read.read(text.replace("}", ', "event_id": "mine"}'))
    assert (named.number, sent(named)["event_id"]) == (1, "edge_0123abcd_1_mine")


def test_an_event_that_is_just_not_too_long_is_read() -> None:
    """A byte more, and the pod gets it as it is."""
    short = '{"type":"response.create","pad":""}'
    for longer, kind in ((0, MessageKind.EVENT), (1, MessageKind.NOTHING)):
        text = short[:-2] + "a ".ljust(MAX_JSON_BYTES - len(short) + longer) + short[-2:]
        assert messages().read(text).kind is kind


def test_an_append_may_hold_so_much_besides_its_audio_and_no_more() -> None:
    """The audio itself does not count."""
    head, foot = '{"type":"input_audio_buffer.append","audio":"%s","pad":"' % ("A" * 400), '"}'
    room = MAX_JSON_BYTES - len(LongMessage((head + foot).encode()).json)
    assert messages().read(head + "a ".ljust(room) + foot).kind is MessageKind.AUDIO
    with pytest.raises(TooMuchJson):
        messages().read(head + "a ".ljust(room + 1) + foot)


def test_a_long_event_may_hold_so_many_commas_and_no_more() -> None:
    """They tell how long it takes to read; what is short is read in any case."""
    for commas, kind in ((MAX_COMMAS, MessageKind.EVENT), (MAX_COMMAS + 1, MessageKind.NOTHING)):
        text = '{"type":"response.create","pad":[%s1]}' % ("1, " * (commas - 1))
        assert (text.count(","), len(text) > LARGE_MESSAGE) == (commas, True)
        assert messages().read(text).kind is kind


@pytest.mark.parametrize("text", ["{", "[1]", "null", '{"type":"response.create","event_id":7}', ""])
def test_what_is_no_event_goes_on_as_it_is(text: str) -> None:
    """The pod says what is wrong with it."""
    read = messages().read(text)
    start = payload_start(read.frame)
    assert apply_mask(read.frame[start:], read.frame[start - 4 : start]).decode() == text
    assert (read.kind, read.number) == (MessageKind.NOTHING, 0)


def test_what_takes_long_or_cannot_be_written_goes_on_as_it_is() -> None:
    """The pod has its bounds; bytes that are no text stay binary, so that it is the message that is refused."""
    for text in ('{"a":' * 300 + "1" + "}" * 300, '{"a":[' + "{}," * 150_000 + "{}]}"):
        assert messages().read(text).kind is MessageKind.NOTHING
    assert messages().read(b"\xff").frame[0] == 0x82
    assert messages().read(b"{").frame[0] == 0x82
    assert messages().read(b"\xff" * (LARGE_TEXT_BYTES + 1)).frame[0] == 0x82
    assert messages().read("{").frame[0] == messages().read(b"{" * (LARGE_TEXT_BYTES + 1)).frame[0] == 0x81


def test_what_a_client_acknowledges_is_no_event_of_its_own() -> None:
    """Its `event_id` is the server's, and another pod needs it no more."""
    read = messages().read('{"type":"call.acknowledge","event_id":"evt_7"}')
    assert (read.kind, sent(read)["event_id"]) == (MessageKind.NOTHING, "evt_7")


def test_updates_take_effect_in_their_order() -> None:
    """One that was refused takes none."""
    read = messages()
    one, two, three = (read.read('{"type":"session.update"}').number for _ in range(3))
    read.update_refused(two)
    read.update_refused(99)
    assert [read.update_taken() for _ in range(3)] == [one, three, 0]
