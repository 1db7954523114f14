"""What the caller said in a spoken item: found out by an ear, or told by an agent that understands its callers itself.

The first one who understood it stands. The client is told once for each item, and once more where an ear had not
understood what the agent then has. ::

    spoken ──> clips.untranscribed ──ear──────────────> transcript, or failed
                      │         └────agent────────────> transcript
                      └──agent's own ear──> awaits_agent ──agent──> transcript, or failed
"""

from __future__ import annotations

from voice_agent.call import agent_events, events
from voice_agent.call.effects import Effect, StopTranscribing
from voice_agent.call.inputs import Transcribed, TranscriptGiven
from voice_agent.call.item_order import Entry
from voice_agent.call.items import is_spoken_by_user, spoken_index
from voice_agent.call.record import CallRecord
from voice_agent.call.responses import go_on
from voice_agent.call.session_config import transcription_on


def transcribed(call: CallRecord, event: Transcribed, now_ms: int) -> list[Effect]:
    """An ear is done with an item."""
    if event.item_id not in call.clips.untranscribed:
        return []
    entry = call.conversation.get(event.item_id)
    if entry is not None:
        if event.by_agent:
            entry.awaits_agent = True
            call.conversation.touch(event.item_id)
        else:
            entry.uncertain, entry.alternatives = not event.certain, event.alternatives
            _keep(call, entry, event.text)
    return _told(call, event.item_id, now_ms)


def given(call: CallRecord, event: TranscriptGiven, now_ms: int) -> list[Effect]:
    """The agent says what was said in an item, or that it does not understand it."""
    entry = call.conversation.get(event.item_id)
    if entry is None or not is_spoken_by_user(entry.item):
        return []
    is_known = entry.item["content"][spoken_index(entry.item)].get("transcript") is not None
    if is_known or (event.text is None and not entry.awaits_agent):
        return []
    entry.uncertain, entry.alternatives = not event.certain, ()
    _keep(call, entry, event.text)
    if event.item_id not in call.clips.untranscribed:
        return []
    return [StopTranscribing(event.item_id), *_told(call, event.item_id, now_ms)]


def _told(call: CallRecord, item_id: str, now_ms: int) -> list[Effect]:
    """Nobody looks for the words of an item any more: the agent hears of it, and what waited for them goes on."""
    del call.clips.untranscribed[item_id]
    call.record.mark("turn")
    effects = agent_events.heard(call, item_id, now_ms) if item_id in call.conversation else []
    return effects + go_on(call, now_ms)


def _keep(call: CallRecord, entry: Entry, text: str | None) -> None:
    item_id, index = entry.item["id"], spoken_index(entry.item)
    entry.item["content"][index]["transcript"] = text
    entry.awaits_agent = False
    call.conversation.touch(item_id)
    if not transcription_on(call.session.fields):
        return
    if text is None:
        call.outbox.emit(events.transcription_failed(item_id, index))
        return
    if text:
        call.outbox.emit(events.transcription_delta(item_id, index, text))
    call.outbox.emit(events.transcription_completed(item_id, index, text, entry.audio_ms / 1000))
