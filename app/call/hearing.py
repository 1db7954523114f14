"""The input audio buffer: what the caller says becomes turns.

Positions count bytes of input audio, not time on a clock, so a burst that arrives
faster than real time is heard exactly like a paced stream.

Under server voice activity detection the buffer holds, while the caller is silent,
only the padding that the next utterance will start with; it is not stored, and the
durable position stays in front of it. Once speech starts, the buffer is checkpointed
as it grows. In manual mode everything appended is checkpointed.
"""

from __future__ import annotations

from app.call import events
from app.call.changes import SpeechEntry
from app.call.effects import Effect, ResetEndpointing, Transcribe
from app.call.inputs import AppendAudio, VoiceBoundary
from app.call.record import Call, Clip, Hearing
from app.call.replying import interrupt, mirror_frame, start_reply
from app.errors import ProtocolMistake

MAX_BUFFER_BYTES = 15 * 1024 * 1024
"""Uncommitted audio a call may hold: over five minutes of 24 kHz PCM."""
MIN_COMMIT_MS = 100
"""A shorter buffer cannot be committed, as with OpenAI."""
SILENT_SAVE_MS = 2000
"""How far the stored input position may lag behind while nobody speaks."""


def append(call: Call, frame: AppendAudio, now_ms: int) -> list[Effect]:
    """Take a piece of audio, and whatever voice activity detection heard in it."""
    audio_format = call.input_format
    if len(frame.audio) % audio_format.sample_bytes:
        raise ProtocolMistake(
            f"'audio' holds {len(frame.audio)} bytes, which is no whole number of 16-bit samples.",
            code="invalid_value",
            param="audio",
        )
    if call.mirror:
        return mirror_frame(call, frame.audio, now_ms)
    hearing = call.hearing
    listening = call.listening
    if listening is None and len(hearing.audio) + len(frame.audio) > MAX_BUFFER_BYTES:
        raise ProtocolMistake(
            f"The input audio buffer is full: it holds {len(hearing.audio)} of at most {MAX_BUFFER_BYTES} bytes. "
            "Commit or clear it.",
            code="input_audio_buffer_full",
            param="audio",
        )
    hearing.audio += frame.audio
    hearing.position += len(frame.audio)
    effects: list[Effect] = []
    for boundary in frame.boundaries:
        if boundary.started:
            effects += _speech_started(call, boundary, now_ms)
        elif hearing.speaking:
            effects += _speech_stopped(call, boundary.at_bytes, now_ms)
    if listening is None:
        _checkpoint(call, now_ms)
    elif hearing.speaking:
        if len(hearing.audio) > MAX_BUFFER_BYTES:
            effects += _speech_stopped(call, hearing.position, now_ms)
            effects.append(ResetEndpointing())
        _checkpoint(call, now_ms)
    else:
        _keep_padding(call, audio_format.size(listening.prefix_padding_ms))
        if listening.idle_timeout_ms and call.idle_from_ms is not None and call.reply is None:
            effects += _ask_again_when_idle(call, listening.idle_timeout_ms, now_ms)
    return effects


def commit(call: Call, now_ms: int) -> list[Effect]:
    """The caller says that the turn is complete. It is not answered until asked for."""
    hearing = call.hearing
    buffered_ms = len(hearing.audio) / call.input_format.bytes_per_ms
    if buffered_ms < MIN_COMMIT_MS:
        raise ProtocolMistake(
            f"Error committing input audio buffer: buffer too small. Expected at least {MIN_COMMIT_MS}ms of audio, "
            f"but buffer only has {buffered_ms:.2f}ms of audio.",
            code="input_audio_buffer_commit_empty",
        )
    was_speaking = hearing.speaking
    hearing.speaking = False
    effects = _commit_up_to(call, hearing.position)
    return [*effects, ResetEndpointing()] if was_speaking else effects


def clear(call: Call) -> list[Effect]:
    """Forget what was appended and not committed."""
    forget_buffer(call)
    call.emit(events.input_audio_cleared())
    return [ResetEndpointing()]


def forget_buffer(call: Call) -> None:
    """Empty the buffer; the position stays."""
    old = call.hearing
    call.hearing = Hearing(position=old.position, base_ms=old.base_ms)
    call.mark("counts")


def flush(call: Call) -> None:
    """Make everything buffered durable now: a planned handoff loses nothing."""
    if call.hearing.speaking or call.listening is None:
        _save_up_to(call, call.hearing.position)
    call.mark("counts")


def forget_unsaved(call: Call) -> None:
    """Take back what was appended but is not saved, which between utterances is the padding of the next one."""
    heard = call.hearing
    surplus = len(heard.audio) - heard.saved
    if surplus:
        del heard.audio[heard.saved :]
        heard.position -= surplus
        call.forget_seen(heard.position)
        call.mark("counts")


def position_ms(call: Call, at_bytes: int) -> int:
    """A position in the current format as milliseconds since the start of the call's audio."""
    return call.hearing.base_ms + call.input_format.ms(at_bytes)


def _speech_started(call: Call, boundary: VoiceBoundary, now_ms: int) -> list[Effect]:
    hearing = call.hearing
    listening = call.listening
    if listening is None or hearing.speaking:
        return []
    padding = call.input_format.size(listening.prefix_padding_ms)
    start = max(boundary.at_bytes - padding, hearing.start)
    del hearing.audio[: start - hearing.start]
    hearing.speaking = True
    item_id = _allot_item(call)
    call.emit(events.speech_started(position_ms(call, start), item_id))
    effects = interrupt(call, now_ms) if listening.interrupt_response else []
    if call.checkpoint_ms:
        _save_up_to(call, hearing.position)
    return effects


def _speech_stopped(call: Call, end: int, now_ms: int) -> list[Effect]:
    hearing = call.hearing
    listening = call.listening
    end = min(max(end, hearing.start + hearing.saved), hearing.position)
    call.emit(events.speech_stopped(position_ms(call, end), _allot_item(call)))
    hearing.speaking = False
    effects = _commit_up_to(call, end)
    if listening is not None and listening.create_response and call.reply is None:
        effects += start_reply(call, {}, now_ms)
    return effects


def _ask_again_when_idle(call: Call, idle_timeout_ms: int, now_ms: int) -> list[Effect]:
    """The caller has said nothing since the last reply: the silence becomes a turn, and is answered."""
    assert call.idle_from_ms is not None
    here_ms = position_ms(call, call.hearing.position)
    if here_ms - call.idle_from_ms < idle_timeout_ms:
        return []
    call.emit(events.timeout_triggered(call.idle_from_ms, here_ms, _allot_item(call)))
    return _commit_up_to(call, call.hearing.position) + start_reply(call, {}, now_ms)


def _commit_up_to(call: Call, end: int) -> list[Effect]:
    hearing = call.hearing
    item_id = _allot_item(call)
    _save_up_to(call, end)
    audio = bytes(hearing.audio[: end - hearing.start])
    call.clip = Clip(item_id, audio, hearing.first_n)
    previous = call.conversation.last_id
    del hearing.audio[: len(audio)]
    hearing.saved = 0
    hearing.item_id = None
    hearing.first_n = 0
    entry = call.conversation.add(
        {
            "id": item_id,
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_audio", "transcript": None}],
        }
    )
    entry.audio_ms = call.input_format.ms(len(audio))
    call.turns += 1
    call.idle_from_ms = None
    call.untranscribed[item_id] = call.clip
    call.mark("counts", "turn", "reply")
    call.emit(events.input_audio_committed(previous, item_id))
    call.emit(events.item_added(previous, entry.item))
    call.emit(events.item_done(previous, entry.item))
    return [Transcribe(item_id, audio)]


def _allot_item(call: Call) -> str:
    hearing = call.hearing
    if hearing.item_id is None:
        hearing.item_id = call.new_item_id()
        call.mark("counts")
    return hearing.item_id


def _checkpoint(call: Call, now_ms: int) -> None:
    hearing = call.hearing
    unsaved = len(hearing.audio) - hearing.saved
    if call.checkpoint_ms and unsaved >= call.input_format.size(call.checkpoint_ms):
        _save_up_to(call, hearing.position)


def _save_up_to(call: Call, end: int) -> None:
    hearing = call.hearing
    upto = end - hearing.start
    if upto <= hearing.saved:
        return
    item_id = _allot_item(call)
    call.speech_made += 1
    if not hearing.first_n:
        hearing.first_n = call.speech_made
    call.unsaved_speech.append(SpeechEntry(call.speech_made, item_id, bytes(hearing.audio[hearing.saved : upto])))
    hearing.saved = upto
    call.mark("counts")


def _keep_padding(call: Call, padding: int) -> None:
    hearing = call.hearing
    surplus = len(hearing.audio) - padding
    if surplus > 0:
        del hearing.audio[:surplus]
    due = call.input_format.size(SILENT_SAVE_MS)
    if hearing.start // due != (hearing.start - max(surplus, 0)) // due:
        call.mark("counts")
