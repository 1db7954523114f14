"""A long message is parsed and written without its base64, and is the same afterwards."""

from __future__ import annotations

import base64
import random
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.edge.caller_messages import CallerMessages, MessageKind
from voice_agent.edge.event_ids import EventIds
from voice_agent.edge.long_messages import BLOCK_BYTES, LONG_BYTES, LongMessage

MIB = 1024 * 1024
LONG = base64.b64encode(random.Random(7).randbytes(LONG_BYTES)).decode()
short_texts = st.text(max_size=20)
long_texts = st.tuples(
    short_texts, st.integers(0, len(LONG)), st.sampled_from(["", "=", "==", " ", '"', "\\", "\n", "é"])
).map(lambda drawn: drawn[0] + LONG[: drawn[1]] + drawn[2] + LONG[drawn[1] :])
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), short_texts, long_texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(short_texts, inner, max_size=3)),
    max_leaves=6,
)


@given(event=st.dictionaries(short_texts, values, max_size=4), more=long_texts)
def test_what_was_cut_out_is_put_back(event: dict[str, Any], more: str) -> None:
    """Wherever the marks stand then: another key came first, one was left out."""
    event["audio"] = more
    text = orjson.dumps(event)
    long = LongMessage(text)
    parsed = orjson.loads(long.json)
    assert long.length(parsed["audio"]) == len(more)
    assert long.whole(orjson.dumps({"event_id": "ours", **parsed})) == orjson.dumps({"event_id": "ours", **event})
    del parsed["audio"], event["audio"]
    assert long.whole(orjson.dumps(parsed)) == orjson.dumps(event)


@pytest.mark.parametrize(
    "text",
    [
        '{"audio":' + "1" * LONG_BYTES + "}",
        '{"audio":' + "true" * LONG_BYTES + "}",
        "A" * 2 * LONG_BYTES,
        '{"audio":"' + "A" * 2 * LONG_BYTES,
        '{"audio":"' + "A" * 2 * LONG_BYTES + '\n"}',
        "[" * 2 * LONG_BYTES,
    ],
)
def test_what_is_no_json_stays_none(text: str) -> None:
    """A number that long is none that JSON's reader takes."""
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(LongMessage(text.encode()).json)


@pytest.mark.parametrize("escapes", [{"/": "\\/"}, {"+": "\\u002B", "/": "\\u002f"}])
@pytest.mark.parametrize("ahead", ["", "\\n", "\\u00e9"])
def test_escaped_base64_is_base64(escapes: dict[str, str], ahead: str) -> None:
    """As PHP and .NET write it; escapes stand across the ends of blocks, too."""
    audio = LONG * 4
    for offset in range(8):
        written = audio
        for character, escape in escapes.items():
            written = written.replace(character, escape)
        text = ('{"x":"' + "x" * offset + ahead + '","audio":"' + ahead + written + '"}').encode()
        long = LongMessage(text)
        assert len(long.json) < len(text) / 2
        parsed = orjson.loads(long.json)
        assert orjson.loads(long.whole(orjson.dumps(parsed))) == orjson.loads(text)
        assert long.length(parsed["audio"]) == len(orjson.loads(text)["audio"])


def test_nearly_all_of_a_long_message_is_cut_out() -> None:
    """But for a block at each end, and not of one that is short."""
    text = orjson.dumps({"type": "input_audio_buffer.append", "audio": "A" * 4 * MIB})
    assert len(LongMessage(text).json) < 3 * BLOCK_BYTES
    assert LongMessage(text[:LONG_BYTES]).json == text[:LONG_BYTES]


def test_the_audio_of_a_long_append_counts_to_the_byte() -> None:
    """Though none of it was parsed."""
    text = orjson.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(b"a" * (MIB + 1)).decode()})
    message = CallerMessages(EventIds("0123abcd"), wants_received=False).read(text)
    assert (message.kind, message.audio_bytes) == (MessageKind.AUDIO, MIB + 1)


def test_more_json_than_any_pod_takes_is_said_once_as_it_is() -> None:
    """It would take as long to parse as a pod takes to refuse it."""
    read = CallerMessages(EventIds("0123abcd"), wants_received=False).read
    assert read(orjson.dumps({"type": "x", "text": "a b " * MIB})).kind is MessageKind.NOTHING
    assert read(orjson.dumps({"type": "x", "text": "a b " * (MIB // 2)})).kind is MessageKind.EVENT
