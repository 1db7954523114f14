"""Entries of what the caller says: numbered, and counted while they wait."""

from __future__ import annotations

from voice_agent.call.changes import SpeechEntry
from voice_agent.call.speech_log import SpeechLog

AUDIO = b"12345"


def test_speech_is_numbered_from_one() -> None:
    """Another owner goes on after the newest number."""
    log = SpeechLog()
    entries = [log.add("item_1", AUDIO) for _ in range(3)]
    assert log.unsaved == entries == [SpeechEntry(n, "item_1", AUDIO) for n in (1, 2, 3)]
    assert log.made == 3


def test_what_waits_is_counted_whatever_becomes_of_it() -> None:
    """A number is never given twice, also not that of an entry that is released."""
    log = SpeechLog()
    for item_id in ("item_1", "item_2", "item_2"):
        log.add(item_id, AUDIO)
    assert log.unsaved_bytes == 3 * len(AUDIO)
    log.release(lambda entry: entry.item_id == "item_1")
    assert [entry.n for entry in log.unsaved] == [1]
    assert log.unsaved_bytes == len(AUDIO)
    log.drop_unsaved()
    assert (log.unsaved, log.unsaved_bytes) == ([], 0)
    assert log.add("item_3", AUDIO).n == 4
