"""Blue and green are different versions: each reads what the other wrote, and gives it back unharmed."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path

import orjson

from voice_agent.call.changes import OutboxEntry, Snapshot, SpeechEntry
from voice_agent.call.codec import SCHEMA, restore
from voice_agent.call.writes import take_write

RECORDS = Path(__file__).parent / "records"
"""Calls as released versions stored them; never edited, only added to."""


def recorded(name: str) -> Snapshot:
    """A stored call: bytes are written as Latin-1 text, audio in base64."""
    held = orjson.loads((RECORDS / f"{name}.json").read_bytes())

    def raw(texts: dict[str, str]) -> dict[str, bytes]:
        return {key: value.encode("latin-1") for key, value in texts.items()}

    return Snapshot(
        raw(held["fields"]),
        raw(held["items"]),
        [OutboxEntry(n, head.encode("latin-1"), b64decode(audio)) for n, head, audio in held["outbox"]],
        [SpeechEntry(n, item_id, b64decode(audio)) for n, item_id, audio in held["speech"]],
    )


def test_a_call_of_the_first_version_goes_on() -> None:
    """A reply under way, half an utterance, two turns, remembered client events: everything is understood."""
    call = restore(recorded("schema-1"), epoch=3, outbox_bytes=1 << 20, checkpoint_ms=200)
    assert call.seq == 26
    assert call.response is not None
    assert call.response.response_id == "resp_2"
    assert call.response.text == "The second answer"
    assert call.response.audio_bytes == 9600
    assert len(call.input_audio.audio) == 5 * 960
    assert [item["id"] for item in call.conversation.items()] == ["item_1", "item_2", "item_3", "item_4"]
    assert "client_1" in call.seen
    assert call.turns == 2
    assert call.outbox.after(20)[-1].n == 26
    write = take_write(call, 5)
    assert write.epoch == 3
    assert write.revision == 1


def test_a_version_back_finds_all_it_knows() -> None:
    """Rollback: what this version writes still has every field that the first one reads, in the form it reads."""
    before = recorded("schema-1")
    call = restore(before, epoch=3, outbox_bytes=1 << 20, checkpoint_ms=200)
    call.write_whole = True
    after = take_write(call, 5)
    assert set(before.fields) <= set(after.fields) | {"claimed_at", "epoch"}
    for name in ("counts", "input_audio", "clip", "untranscribed", "agent", "seen:1", "voice_locked", "mirror"):
        assert after.fields[name] == before.fields[name], name
    response, old = orjson.loads(after.fields["response"]), orjson.loads(before.fields["response"])
    # Text and audio of a reply under way stand in fields of their own by now; formats still change at once.
    elsewhere = {"text", "audio_bytes"}
    assert {name: response[name] for name in old if name not in elsewhere} == {
        name: value for name, value in old.items() if name not in elsewhere
    }
    assert set(after.items) == set(before.items)


def test_what_a_version_ahead_added_survives_this_one() -> None:
    """Fields of the record, of the reply and of the playback that this version does not know go back as they came."""
    ahead = recorded("schema-1")
    ahead.fields["schema"] = b"%d" % (SCHEMA + 1)
    ahead.fields["mood"] = b"\x00sunny"
    response = orjson.loads(ahead.fields["response"])
    ahead.fields["response"] = orjson.dumps({**response, "tempo": {"bpm": 90}})
    playback = orjson.loads(ahead.fields["playback"])
    ahead.fields["playback"] = orjson.dumps({**playback, "speaker": "left"})
    call = restore(ahead, epoch=3, outbox_bytes=1 << 20, checkpoint_ms=200)
    call.write_whole = True
    after = take_write(call, 5)
    assert after.fields["mood"] == b"\x00sunny"
    assert orjson.loads(after.fields["response"])["tempo"] == {"bpm": 90}
    assert orjson.loads(after.fields["playback"])["speaker"] == "left"


def test_what_a_version_ahead_tells_of_a_piece_of_speech_is_left_aside() -> None:
    """The piece under way is read all the same."""
    ahead = recorded("schema-1")
    ahead.fields["piece"] = orjson.dumps({"made_bytes": 9600, "pitch": 2})
    call = restore(ahead, epoch=3, outbox_bytes=1 << 20, checkpoint_ms=200)
    assert call.response is not None
    assert call.response.piece.made_bytes == 9600
