"""Blue and green are different versions: each reads what the other wrote, and gives it back unharmed."""

from __future__ import annotations

import orjson
import pytest

from tests.call.calls import feed
from tests.call.engine import act, claimed, done, first, kinds
from tests.call.records import RECORDS, recorded
from tests.call.records.__main__ import stored_call
from voice_agent.call import inputs
from voice_agent.call.agent_ledger import pieces_of
from voice_agent.call.changes import CallWrite, Snapshot
from voice_agent.call.completeness import KEPT
from voice_agent.call.record import CallRecord
from voice_agent.call.restoring import restore
from voice_agent.call.schema import READS_SCHEMAS, SCHEMA
from voice_agent.call.writes import take_write

OF_THE_WRITE = {"updated_at_ms", "revision"}
"""What is another with each write."""
BY_THE_STORE = {"epoch", "claim", "claimed_at_ms", "revision"}
"""Fields that the store itself sets."""
OF_TURNS = {"response_plan", "response_sizes", "side_effect:0"}
"""Fields in which the first release of schema 2 told what an agent of turns had decided and done."""


def taken_over(held: Snapshot) -> CallRecord:
    """A stored call as the next owner has it."""
    return restore(held, epoch=3, outbox_bytes=1 << 20, checkpoint_ms=200)


def lacking(after: dict[str, bytes], before: dict[str, bytes]) -> list[str]:
    """Which values are not there any more as they were.

    A JSON object may have more in it, and further counts may stand behind those of `kept`: no release reads more.
    """
    counts = before.get(KEPT, b"").split()
    after = {**after, KEPT: b" ".join(after.get(KEPT, b"").split()[: len(counts)])}
    return [name for name, value in before.items() if not says(after.get(name, b""), value)]


def says(after: bytes, before: bytes) -> bool:
    """Whether a value tells all that an older one told."""
    if not before.startswith(b"{") or not after.startswith(b"{"):
        return after == before
    told = orjson.loads(after)
    return all(told.get(name) == value for name, value in orjson.loads(before).items())


def whole_write(call: CallRecord) -> CallWrite:
    """All of it."""
    call.record.write_whole = True
    return take_write(call, 5)


@pytest.mark.parametrize("schema", range(READS_SCHEMAS[0], READS_SCHEMAS[1] + 1))
def test_a_call_that_the_first_release_of_a_schema_stored_goes_on(schema: int) -> None:
    """An answer under way, half an utterance, two turns, remembered client events: everything is understood."""
    call = taken_over(recorded(f"schema-{schema}"))
    assert (call.record.schema, call.outbox.seq, call.dialogue.turns, call.record.revision) == (schema, 26, 2, 6)
    assert call.response is not None
    assert call.response.response_id.endswith("_2")
    assert (call.response.said.text, call.response.said.audio_bytes) == ("The second answer", 9600)
    assert call.response.said.piece.words == [[200, 4], [400, 11]]
    assert len(call.input_audio.audio) == 10 * 960
    assert call.clips.answered is not None
    assert len(call.clips.answered.audio) == 10 * 960
    assert [item["id"][-1] for item in call.conversation.items()] == ["1", "2", "3", "4"]
    assert (next(iter(call.client_events.seen)), call.client_events.last_id) == ("client_1", "client_14")
    assert call.outbox.after(20)[-1].n == 26
    assert not any(call.record.missing)
    assert (take_write(call, 5).epoch, take_write(call, 5).revision) == (3, 8)


def test_a_call_of_a_release_without_events_goes_on_with_an_agent_that_handles_them() -> None:
    """Its answer is asked for once its turn is understood, and begins with what was said of it."""
    call = claimed(recorded("schema-2"))
    assert call.response is not None
    feed(call, *(inputs.Transcribed(item_id, "hello") for item_id in list(call.clips.untranscribed)))
    assert kinds(call) == ["started", "heard", "asked"]
    done(call)
    done(call)
    feed(call, inputs.SpeechBegun(first(call).number, "reply"))
    span = act(call, "reply").span
    assert span is not None
    assert [piece.text for piece in pieces_of(call.response, span)] == ["The second answer"]


@pytest.mark.parametrize("schema", range(READS_SCHEMAS[0], READS_SCHEMAS[1] + 1))
def test_a_version_back_finds_all_it_knows(schema: int) -> None:
    """Rollback: what this version writes still has every field that the first one wrote, in the same form.

    Of agents of turns nothing is left, but their fields are there.
    """
    before = recorded(f"schema-{schema}")
    after = whole_write(claimed(before, epoch=3))
    assert after.fields["response_plan"] == b"null"
    assert [int(size) for size in after.fields["response_sizes"].split()] == [17, 0, 2, 1, 0, 0]
    without = BY_THE_STORE | OF_THE_WRITE | OF_TURNS
    assert lacking(after.fields, {name: value for name, value in before.fields.items() if name not in without}) == []
    assert lacking(after.items, before.items) == []
    assert (after.events, after.speech) == (before.outbox, before.speech)


def test_the_record_of_this_schema_is_what_is_written_today() -> None:
    """Nothing but new fields may come to it: `python -m tests.call.records` makes it, once."""
    first, today = recorded(f"schema-{SCHEMA}"), stored_call()
    response = orjson.loads(first.fields["response"])
    assert response.pop("functions_called") == 0  # Of agents of turns, too; a release that knows it takes none for 0.
    first.fields["response"] = orjson.dumps(response)
    fields = {name: value for name, value in first.fields.items() if name not in OF_TURNS}
    assert lacking(today.fields, fields) == lacking(today.items, first.items) == []
    assert (today.outbox, today.speech) == (first.outbox, first.speech)


def test_there_is_a_record_of_each_schema_that_is_read() -> None:
    """And of none that is not."""
    oldest, newest = READS_SCHEMAS
    assert {path.stem for path in RECORDS.glob("*.json")} == {f"schema-{n}" for n in range(oldest, newest + 1)}


def test_what_a_version_ahead_added_survives_this_one() -> None:
    """Fields of the record, of reply, piece, playback and items, and what an event says, go back as they came."""
    ahead = recorded(f"schema-{SCHEMA}")
    ahead.fields["mood"] = b"\x00sunny"
    added: dict[str, dict[str, object]] = {
        "response": {"tempo": {"bpm": 90}},
        "piece": {"pitch": 2},
        "playback": {"speaker": "left"},
    }
    for name, more in added.items():
        ahead.fields[name] = orjson.dumps({**orjson.loads(ahead.fields[name]), **more})
    for item_id, entry in ahead.items.items():
        ahead.items[item_id] = orjson.dumps({**orjson.loads(entry), "colour": "red", "of": [1]})
    ahead.outbox[3] = ahead.outbox[3]._replace(head=b'{"type":"response.sung","by":{"a":"choir"}}')
    call = taken_over(ahead)
    heard = next(iter(call.clips.untranscribed))
    feed(call, inputs.Transcribed(heard, "hello again"))
    changed = take_write(call, 4)
    after = whole_write(call)
    assert after.fields["mood"] == b"\x00sunny"
    for name, more in added.items():
        assert says(after.fields[name], orjson.dumps(more))
    for entry in (*after.items.values(), changed.items[heard]):
        assert says(entry, b'{"colour":"red","of":[1]}')
    assert after.events[3] == ahead.outbox[3]
