"""A pod's frames are cut out of the stream and left as they are.

Here are the tests of `pod_events` and `appends`, too.
"""

from __future__ import annotations

import base64

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.speedups import apply_mask

from voice_agent.edge.appends import MAX_AT_ONCE, client_frame, leading_appends, plain_audio_bytes, tail_of
from voice_agent.edge.pod_events import event_in, event_number, number_of
from voice_agent.edge.pod_frames import BrokenFrame, PodFrames
from voice_agent.protocol.realtime import frame as event_text
from voice_agent.protocol.realtime import parse
from voice_agent.websocket.frames import (
    PING,
    TEXT,
    close_frame,
    control_frame,
    masked_message,
    payload_start,
    text_frame,
)

SIZES = st.one_of(st.integers(0, 200), st.sampled_from([125, 126, 127, 65_535, 65_536, 70_000]))


@given(st.lists(SIZES, max_size=6), st.data())
def test_frames_come_out_as_they_went_in_however_the_bytes_are_cut(sizes: list[int], data: st.DataObject) -> None:
    """Of every length; control frames between them."""
    frames = [text_frame(bytes([65 + number]) * size) for number, size in enumerate(sizes)]
    frames += [control_frame(PING, b"?"), close_frame(1012, "bye")]
    stream = b"".join(frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader = PodFrames()
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += reader.feed(stream[start:end])
    assert found == frames


def test_what_no_server_sends_breaks_the_connection() -> None:
    """A masked frame, and one that is longer than anything there is."""
    with pytest.raises(BrokenFrame, match="masked"):
        PodFrames().feed(client_frame(b"x"))
    with pytest.raises(BrokenFrame, match="bytes"):
        PodFrames().feed(b"\x81\x7f" + (1 << 40).to_bytes(8, "big"))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (event_text(41, b'{"type":"response.output_audio.delta","item_id":"i"}', b"audio"), 41),
        (event_text(2**53, b'{"type":"x"}', b""), 2**53),
        (event_text(1, b'{"type":"error","error":{}}', b""), None),
        (event_text(1, b'{"type":"session.updated"}', b""), None),
        (b'{"type":"call.received","input_audio_bytes":1}', None),
        (b'{"type":"x","event_id":"evt_1"}', None),
        (b'{"event_id":"evt_', None),
        (b"", None),
    ],
)
def test_the_number_of_an_event_stands_at_a_fixed_place(text: bytes, number: int | None) -> None:
    """Where it does not, or the event concerns the edge, it is read the long way."""
    assert number_of(text_frame(text)) == number


def test_the_long_way_gives_the_same_number() -> None:
    """None for what has none, or one of another server."""
    assert event_number({"event_id": "evt_41"}) == 41
    assert [event_number(event) for event in ({}, {"event_id": 1}, {"event_id": "event_x"}, {"event_id": "evt_x"})] == [
        None
    ] * 4
    assert event_in(text_frame(b'{"a":1}')) == {"a": 1}
    assert event_in(text_frame(b"[1]")) is event_in(text_frame(b"{")) is None


AUDIO = bytes(range(200))
B64 = base64.b64encode(AUDIO).decode()


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (f'{{"type":"input_audio_buffer.append","audio":"{B64}"}}', 200),
        (f'{{"type": "input_audio_buffer.append", "audio": "{B64}"}}', 200),
        ('{"type":"input_audio_buffer.append","audio":""}', 0),
        (f'{{"type":"input_audio_buffer.append","audio":"{B64}","event_id":"a"}}', None),
        (f'{{"audio":"{B64}","type":"input_audio_buffer.append"}}', None),
        ('{"type":"input_audio_buffer.append","audio":"not base64!"}', None),
        ('{"type":"input_audio_buffer.append","audio":"AAAA"', None),
        ('{"type":"input_audio_buffer.append","audio":"', None),
        ('{"type":"input_audio_buffer.commit"}', None),
    ],
)
def test_a_plain_append_is_one_to_the_pod_as_well(text: str, size: int | None) -> None:
    """It counts as many bytes as the pod does; what may be something else is read as JSON."""
    assert plain_audio_bytes(text.encode()) == size
    if size is not None:
        assert len(parse(text).audio) == size  # type: ignore[union-attr]  # an append


APPENDED = masked_message(TEXT, b'{"type":"input_audio_buffer.append","audio":"%b"}' % B64.encode(), b"mask")
NAMED = masked_message(TEXT, b'{"type":"input_audio_buffer.append","event_id":"a","audio":""}', b"mask")


@pytest.mark.parametrize(
    ("count", "rest"),
    [
        (1, b""),
        (3, b""),
        (MAX_AT_ONCE, APPENDED),
        (2, NAMED + APPENDED),
        (2, APPENDED[:-1]),
        (1, APPENDED[:7]),
        (0, b"\x01" + APPENDED[1:]),
        (1, control_frame(PING, b"x")),
        (0, b""),
    ],
    ids=["one", "three", "many", "one with an id", "a part", "a part of a head", "a fragment", "a ping", "nothing"],
)
def test_the_appends_with_which_bytes_begin_stay_in_their_frames(count: int, rest: bytes) -> None:
    """As many as are whole and plain, a few at most; the rest begins where they end."""
    appends, end = leading_appends(APPENDED * count + rest)
    assert appends == [(APPENDED, len(AUDIO))] * count
    assert end == len(APPENDED) * count


@pytest.mark.parametrize("skipped", [0, 1, 199])
def test_of_an_append_only_the_rest_is_said_again(skipped: int) -> None:
    """As an append without an id, which an earlier pod may have seen."""
    frame = client_frame(f'{{"type":"input_audio_buffer.append","event_id":"a","audio":"{B64}"}}'.encode())
    again = tail_of(frame, skipped)
    start = payload_start(again)
    text = apply_mask(again[start:], again[start - 4 : start])
    assert plain_audio_bytes(text) == 200 - skipped
    assert base64.b64decode(orjson.loads(text)["audio"]) == AUDIO[skipped:]
