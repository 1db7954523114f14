"""The releases before and after this one differ from it, and keep what they do not know."""

from __future__ import annotations

from contextvars import copy_context

import orjson
import pytest

from tests.call.records import recorded
from tests.upgrade.releases import (
    ADDED,
    COUNTED_BEFORE,
    NEWEST_FIELDS,
    NEWEST_OF_RESPONSE,
    RELEASE,
    Release,
    added_to,
    installed,
)
from voice_agent.call import beginnings, writes
from voice_agent.call.changes import CallWrite, Snapshot
from voice_agent.call.completeness import KEPT
from voice_agent.call.input_buffer import Onset
from voice_agent.call.item_order import Entry, are_as_packed
from voice_agent.call.record import CallRecord


def written_by(release: Release, held: Snapshot) -> tuple[CallRecord, CallWrite]:
    """A call as a release takes it over, and as it writes all of it back."""

    def take() -> tuple[CallRecord, CallWrite]:
        RELEASE.set(release)
        claimed = beginnings.CallClaimed(snapshot=held, epoch=3, outbox_bytes=1 << 20, checkpoint_ms=200)
        call = beginnings.begin(claimed)
        call.record.write_whole = True
        return call, writes.take_write(call, 5)

    with installed():
        return copy_context().run(take)


def test_the_release_before_does_not_know_what_is_newest_and_keeps_it() -> None:
    """It has nothing of it in memory, and all of it in what it writes."""
    held = recorded("schema-2")
    newest = {"failed_up_to": b"item_x", "idle_from_ms": b"7", "clip_said": b'{"%s":480}' % held.fields["clip_id"]}
    newest["onset"] = b"[2,1,0,0,1]"
    held.fields |= newest
    call, write = written_by(Release.BEFORE, held)
    assert (call.dialogue.failed_up_to, call.dialogue.idle_from_ms) == ("", None)
    assert call.clips.latest is not None
    assert (call.clips.latest.said_bytes, call.input_audio.onset) == (0, None)
    assert call.response is not None
    assert call.response.asked.heard_ms == 0
    assert {name: write.fields[name] for name in NEWEST_FIELDS} == newest
    before, after = (orjson.loads(fields["response"]) for fields in (held.fields, write.fields))
    assert {name: after[name] for name in NEWEST_OF_RESPONSE} == {name: before[name] for name in NEWEST_OF_RESPONSE}


def test_an_onset_of_which_a_newer_release_says_more_is_known() -> None:
    """What this one knows of it stands in front."""
    held = recorded("schema-2")
    held.fields["input_audio"] = held.fields["input_audio"].replace(b" 0 3 ", b" 1 3 ")  # The caller is speaking.
    held.fields["onset"] = b"[48000,35520,45,45,12,7]"
    call, _ = written_by(Release.THIS, held)
    assert call.input_audio.onset == Onset(48000, 35520, (45, 45, 12))


def test_the_release_after_adds_something_everywhere() -> None:
    """To the record, and to every item that it writes; the others keep it."""
    held = recorded("schema-2")
    _, write = written_by(Release.AFTER, held)
    everywhere = {"", *held.items}
    assert added_to(write.fields, write.items) == everywhere
    ahead = Snapshot(dict(write.fields) | {"epoch": b"3"}, write.items, write.events, write.speech)
    for release in (Release.THIS, Release.BEFORE):
        _, again = written_by(release, ahead)
        assert added_to(again.fields, again.items) == everywhere
        assert again.fields[ADDED] == b"3"


def test_what_releases_write_of_items_in_turn_says_the_same_to_each() -> None:
    """Also the one before, which leaves a check standing that is of what was there before it wrote."""
    held = recorded("schema-2")
    items = {item_id: Entry.unpack(packed) for item_id, packed in held.items.items()}
    for release in (Release.THIS, Release.BEFORE, Release.BEFORE, Release.THIS, Release.AFTER, Release.BEFORE) * 2:
        call, write = written_by(release, held)
        assert are_as_packed(list(write.items.values())) is (release is not Release.BEFORE)
        for item_id, expected in items.items():
            entry = call.conversation.get(item_id)
            assert entry is not None
            assert (entry.item, entry.rank, entry.audio_ms) == (expected.item, expected.rank, expected.audio_ms)
        ids = [item["id"] for item in call.conversation.items()]
        assert ids == sorted(items, key=lambda item_id: items[item_id].rank)
        held = Snapshot(dict(write.fields) | {"epoch": b"3"}, write.items, write.events, write.speech)


@pytest.mark.parametrize("release", Release)
def test_nothing_else_is_different(release: Release) -> None:
    """All other fields are written as this release writes them."""
    held = recorded("schema-2")
    usual, (_, write) = written_by(Release.THIS, held)[1], written_by(release, held)
    others = NEWEST_FIELDS | {"response", ADDED, KEPT}
    counts, usual_counts = write.fields[KEPT].split(), usual.fields[KEPT].split()
    assert counts[:COUNTED_BEFORE] == usual_counts[:COUNTED_BEFORE]
    assert len(counts) == (COUNTED_BEFORE if release is Release.BEFORE else COUNTED_BEFORE + 1)
    assert {name: value for name, value in write.fields.items() if name not in others} == {
        name: value for name, value in usual.fields.items() if name not in others
    }
