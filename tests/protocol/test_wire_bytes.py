"""An event on the wire is the same bytes from every version: what one pod began to send, another may have to end.

The bytes here are written down, not made: a change of theirs is a change of the format, which goes over two releases.
"""

from __future__ import annotations

import pytest

from voice_agent.protocol.realtime import frame
from voice_agent.websocket.frames import text_frame

TRANSCRIPT = (
    b'{"type":"response.output_audio_transcript.delta","response_id":"resp_A","item_id":"item_B","output_index":0,'
    b'"content_index":0,"delta":"You said: caf\xc3\xa9."}'
)
CASES = {
    "short": (
        7,
        b'{"type":"input_audio_buffer.cleared"}',
        b"",
        b'\x81\x38{"event_id":"evt_7","type":"input_audio_buffer.cleared"}',
    ),
    "text": (
        1234567,
        TRANSCRIPT,
        b"",
        b'\x81\x7e\x00\xb2{"event_id":"evt_1234567",' + TRANSCRIPT[1:],
    ),
    "audio": (
        42,
        (
            b'{"type":"response.output_audio.delta","response_id":"resp_A","item_id":"item_B","output_index":0,'
            b'"content_index":0}'
        ),
        bytes(range(8)),
        (
            b'\x81\x7e\x00\x9e{"event_id":"evt_42","type":"response.output_audio.delta","response_id":"resp_A",'
            b'"item_id":"item_B","output_index":0,"content_index":0,"delta":"AAECAwQFBgc="}'
        ),
    ),
    "retrieved": (
        9,
        (
            b'{"type":"conversation.item.retrieved","item":{"id":"item_B","type":"message","role":"user",'
            b'"content":[{"type":"input_audio","audio":"","transcript":null}]}}'
        ),
        bytes(range(3)),
        (
            b'\x81\x7e\x00\xb3{"event_id":"evt_9","type":"conversation.item.retrieved","item":{"id":"item_B",'
            b'"type":"message","role":"user","content":[{"type":"input_audio","audio":"AAEC","transcript":null}]}}'
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bytes_of_an_event(name: str) -> None:
    """Number, body and audio as the store keeps them give this frame, and no other."""
    number, head, audio, expected = CASES[name]
    assert text_frame(frame(number, head, audio)) == expected


def test_a_long_event_has_a_length_of_eight_bytes() -> None:
    """64 KiB and more, as RFC 6455, section 5.2, has it: unmasked, in one frame."""
    sent = text_frame(frame(1, b'{"type":"x","text":"' + b"a" * 65_536 + b'"}', b""))
    assert sent[:10] == b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x29"
    assert sent[10:40] == b'{"event_id":"evt_1","type":"x"'[:30]
    assert len(sent) == 10 + 65_536 + 41
