"""The input audio buffer: what the caller says becomes turns.

Positions count bytes of input audio, not time on a clock, so a burst that arrives
faster than real time is heard exactly like a paced stream.

Under server voice activity detection the buffer holds, while the caller is silent,
only the padding that the next utterance will start with; it is not stored, and the
durable position stays in front of it. Once speech starts, the buffer is checkpointed
as it grows. In manual mode everything appended is checkpointed.
"""

from __future__ import annotations

from voice_agent.call import agent_events, events
from voice_agent.call.bounds import MAX_AUDIO_BYTES, MAX_UNTRANSCRIBED, audio_full, conversation_full, kept_audio_bytes
from voice_agent.call.clips import HeardClip
from voice_agent.call.effects import (
    CountLimit,
    Effect,
    ResetEndpointing,
    SpeechStarted,
    SpeechStopped,
    Transcribe,
)
from voice_agent.call.input_buffer import InputAudioBuffer
from voice_agent.call.inputs import AppendAudio, VoiceBoundary
from voice_agent.call.loopback import mirror_frame
from voice_agent.call.record import CallRecord
from voice_agent.call.responses import answer_turn, interrupt
from voice_agent.call.session_config import transcription_on
from voice_agent.call.speech_log import SpeechLog
from voice_agent.errors import ProtocolError

MAX_BUFFER_BYTES = 15 * 1024 * 1024
"""Uncommitted audio a call may hold: over five minutes of 24 kHz PCM."""
MIN_COMMIT_MS = 100
"""A shorter buffer cannot be committed, as with OpenAI."""
SILENT_SAVE_MS = 2000
"""How far the stored input position may lag behind while the caller is silent."""
MAX_PIECE_BYTES = 256 * 1024
"""Of a speech entry. So much is stored whatever the checkpoint interval, so that no one write carries minutes."""
UNCHECKED_BYTES = 256 * 1024
"""A buffer up to this is not checked against `MAX_AUDIO_BYTES` at every frame, while no turn waits to be understood."""


def append(call: CallRecord, frame: AppendAudio, now_ms: int) -> list[Effect]:
    """Take a piece of audio, and whatever voice activity detection heard in it."""
    audio_format = call.session.input_format
    size = len(frame.audio)
    if size % audio_format.sample_bytes:
        raise _half_a_sample(size)
    if call.identity.mirror:
        return mirror_frame(call, frame.audio, now_ms)
    buffer = call.input_audio
    listening = call.session.turn_detection
    effects: list[Effect] = []
    if len(buffer.audio) + size > UNCHECKED_BYTES or call.clips.untranscribed:
        if listening is None:
            _check_room(call, size)
        elif buffer.speaking and kept_audio_bytes(call) + size > MAX_AUDIO_BYTES:
            effects = [CountLimit("call_audio_bytes"), *_speech_stopped(call, buffer.position, now_ms, cut=True)]
            effects.append(ResetEndpointing())
    buffer.audio += frame.audio
    buffer.position += size
    for boundary in frame.boundaries:
        if boundary.started:
            effects += _speech_started(call, boundary, now_ms)
        elif buffer.speaking:
            cut, spoken_to = boundary.goes_on, boundary.spoken_to
            effects += [CountLimit("turn_length")] if cut else []
            effects += _speech_stopped(call, boundary.at_bytes, now_ms, cut=cut, spoken_to=spoken_to)
    if listening is None:
        if len(buffer.audio) == size > 0:
            effects.append(SpeechStarted(buffer.item_id))
        _checkpoint(call)
    elif buffer.speaking:
        if len(buffer.audio) > MAX_BUFFER_BYTES:
            effects += [CountLimit("turn_bytes"), *_speech_stopped(call, buffer.position, now_ms, cut=True)]
            effects.append(ResetEndpointing())
        elif frame.boundaries and call.speech.checkpoint_ms:
            # It began just now. Not sooner than here, for it may have ended in the same piece.
            _save_up_to(call, buffer.position)
        _checkpoint(call)
    else:
        _keep_padding(call, audio_format.size(listening.prefix_padding_ms))
        if listening.idle_timeout_ms and call.dialogue.idle_from_ms is not None and call.response is None:
            effects += _ask_again_when_idle(call, listening.idle_timeout_ms, now_ms)
    return effects


def stop_without_audio(call: CallRecord, spoken_to: int, now_ms: int) -> list[Effect]:
    """The caller spoke, and then no more audio came: take the turn for complete, as after silence."""
    if not call.input_audio.speaking:
        return []
    return [*_speech_stopped(call, call.input_audio.position, now_ms, spoken_to=spoken_to), ResetEndpointing()]


def check_append(call: CallRecord, size_bytes: int) -> None:
    """Raise `ProtocolError` if so much audio would not be taken, however it is cut."""
    if size_bytes % call.session.input_format.sample_bytes:
        raise _half_a_sample(size_bytes)
    if call.session.turn_detection is None and not call.identity.mirror:
        _check_room(call, size_bytes)


def _half_a_sample(size_bytes: int) -> ProtocolError:
    return ProtocolError(
        f"'audio' holds {size_bytes} bytes, which is no whole number of 16-bit samples.",
        code="invalid_value",
        param="audio",
    )


def _check_room(call: CallRecord, size_bytes: int) -> None:
    held = len(call.input_audio.audio)
    if held + size_bytes > MAX_BUFFER_BYTES:
        raise ProtocolError(
            f"The input audio buffer is full: it holds {held} bytes, with {size_bytes} more it would exceed "
            f"{MAX_BUFFER_BYTES}. Commit or clear it.",
            code="input_audio_buffer_full",
            param="audio",
            limit="input_audio_buffer",
        )
    if kept_audio_bytes(call) + size_bytes > MAX_AUDIO_BYTES:
        raise audio_full(call, size_bytes, "audio")


def commit(call: CallRecord, now_ms: int) -> list[Effect]:
    """The caller says that the turn is complete. It is not answered until asked for."""
    buffer = call.input_audio
    buffered_ms = len(buffer.audio) / call.session.input_format.bytes_per_ms
    if buffered_ms < MIN_COMMIT_MS:
        raise ProtocolError(
            f"Error committing input audio buffer: buffer too small. Expected at least {MIN_COMMIT_MS}ms of audio, "
            f"but buffer only has {buffered_ms:.2f}ms of audio.",
            code="input_audio_buffer_commit_empty",
        )
    if call.conversation.is_full:
        raise conversation_full(call, None)
    was_speaking, was_said = buffer.speaking, is_said(call)
    buffer.speaking = False
    effects: list[Effect] = [SpeechStopped(_allot_item(call))] if was_said else []
    effects += _commit_up_to(call, buffer.position, now_ms)
    return [*effects, ResetEndpointing()] if was_speaking else effects


def clear(call: CallRecord) -> list[Effect]:
    """Forget what was appended and not committed."""
    effects = drop_said(call)
    call.outbox.emit(events.input_audio_cleared())
    return [*effects, ResetEndpointing()]


def is_said(call: CallRecord) -> bool:
    """Whether a turn of the caller's is under way."""
    buffer = call.input_audio
    return buffer.speaking or (call.session.turn_detection is None and bool(buffer.audio))


def drop_said(call: CallRecord) -> list[Effect]:
    """Empty the buffer; nothing comes of a turn that was under way."""
    effects: list[Effect] = [SpeechStopped(None)] if is_said(call) else []
    forget_buffer(call)
    return effects


def forget_buffer(call: CallRecord) -> None:
    """Empty the buffer; the position stays."""
    old = call.input_audio
    call.input_audio = InputAudioBuffer(position=old.position, base_ms=old.base_ms)


def forget_audio(call: CallRecord) -> None:
    """Drop all that the caller said and that is kept as audio."""
    forget_buffer(call)
    call.clips.latest = call.clips.answered = None
    call.clips.untranscribed = {}
    call.speech.drop_unsaved()


def flush(call: CallRecord) -> None:
    """Make everything buffered durable now: a planned handoff loses nothing."""
    if call.input_audio.speaking or call.session.turn_detection is None:
        _save_up_to(call, call.input_audio.position)


def forget_unsaved(call: CallRecord) -> None:
    """Take back what was appended but is not saved, which between utterances is the padding of the next one."""
    heard = call.input_audio
    surplus = len(heard.audio) - heard.saved
    if surplus:
        del heard.audio[heard.saved :]
        heard.position -= surplus
        call.client_events.forget_beyond(heard.position)


def position_ms(call: CallRecord, at_bytes: int) -> int:
    """A position in the current format as milliseconds since the start of the call's audio."""
    return call.input_audio.base_ms + call.session.input_format.ms(at_bytes)


def _speech_started(call: CallRecord, boundary: VoiceBoundary, now_ms: int) -> list[Effect]:
    buffer = call.input_audio
    listening = call.session.turn_detection
    if listening is None or buffer.speaking:
        return []
    padding = call.session.input_format.size(listening.prefix_padding_ms)
    if kept_audio_bytes(call) + MAX_PIECE_BYTES > MAX_AUDIO_BYTES:
        # What is said now is not heard, and the caller is told so.
        full = audio_full(call, MAX_PIECE_BYTES, "audio")
        call.outbox.emit(events.error(full))
        return [CountLimit(full.limit)]
    # A piece of any size may end behind it: what a piece that ended there would have left begins the turn.
    start = max(boundary.at_bytes - padding, boundary.known_at - padding, buffer.start)
    del buffer.audio[: start - buffer.start]
    buffer.speaking = True
    buffer.onset = boundary.onset
    call.record.mark("turn")
    item_id = _allot_item(call)
    call.outbox.emit(events.speech_started(position_ms(call, start), item_id))
    # What goes on was going on when the reply to its beginning was asked for: it is no barge-in.
    interrupts = listening.interrupt_response and not boundary.goes_on
    return [SpeechStarted(item_id), *(interrupt(call, now_ms) if interrupts else [])]


def _speech_stopped(call: CallRecord, end: int, now_ms: int, *, cut: bool = False, spoken_to: int = 0) -> list[Effect]:
    """The turn is complete; `cut`: it is made to be, while the caller speaks. `spoken_to`: see `VoiceBoundary`."""
    buffer = call.input_audio
    listening = call.session.turn_detection
    end = min(max(end, buffer.start + buffer.saved), buffer.position)
    call.outbox.emit(events.speech_stopped(position_ms(call, end), _allot_item(call)))
    if call.conversation.is_full:
        full = conversation_full(call, None)
        forget_buffer(call)
        call.outbox.emit(events.error(full))
        return [SpeechStopped(None), CountLimit(full.limit)]
    buffer.speaking = False
    effects = [SpeechStopped(_allot_item(call)), *_commit_up_to(call, end, now_ms, spoken_to)]
    if listening is not None and listening.create_response:
        effects += answer_turn(call, now_ms, cut=cut)
    return effects


def _ask_again_when_idle(call: CallRecord, idle_timeout_ms: int, now_ms: int) -> list[Effect]:
    """The caller has said nothing since the last reply: the silence becomes a turn, and is answered."""
    assert call.dialogue.idle_from_ms is not None
    here_ms = position_ms(call, call.input_audio.position)
    if here_ms - call.dialogue.idle_from_ms < idle_timeout_ms or call.conversation.is_full:
        return []
    call.outbox.emit(events.timeout_triggered(call.dialogue.idle_from_ms, here_ms, _allot_item(call)))
    return _commit_up_to(call, call.input_audio.position, now_ms) + answer_turn(call, now_ms)


def _commit_up_to(call: CallRecord, end: int, now_ms: int, spoken_to: int = 0) -> list[Effect]:
    buffer = call.input_audio
    item_id = _allot_item(call)
    _save_up_to(call, end)
    with memoryview(buffer.audio) as held, held[: end - buffer.start] as said:
        audio = bytes(said)
    said_bytes = min(max(0, spoken_to - buffer.start), len(audio))
    del buffer.audio[: len(audio)]
    call.clips.latest = HeardClip(item_id, audio, buffer.first_n, said_bytes)
    previous = call.conversation.last_id
    buffer.saved = 0
    buffer.item_id = buffer.onset = None
    buffer.first_n = 0
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
    entry.audio_ms = call.session.input_format.ms(len(audio))
    call.dialogue.turns += 1
    call.dialogue.idle_from_ms = None
    call.record.mark("counts", "turn", "playback")
    call.outbox.emit(events.input_audio_committed(previous, item_id))
    call.outbox.emit(events.item_added(previous, entry.item))
    call.outbox.emit(events.item_done(previous, entry.item))
    return transcribe(call, call.clips.latest, 0, now_ms)


def transcribe(call: CallRecord, clip: HeardClip, content_index: int, now_ms: int) -> list[Effect]:
    """Have it found out what was said in an item, unless too many are waiting for that."""
    if len(call.clips.untranscribed) < MAX_UNTRANSCRIBED:
        call.clips.untranscribed[clip.item_id] = clip
        return [Transcribe(clip.item_id, clip.audio, clip.said_bytes)]
    if transcription_on(call.session.fields):
        problem = f"{MAX_UNTRANSCRIBED} items of this call wait to be transcribed, which is the limit."
        call.outbox.emit(events.transcription_failed(clip.item_id, content_index, "too_many_untranscribed", problem))
    return [CountLimit("untranscribed_items"), *agent_events.heard(call, clip.item_id, now_ms)]


def _allot_item(call: CallRecord) -> str:
    buffer = call.input_audio
    if buffer.item_id is None:
        buffer.item_id = call.ids.new_item(call.conversation)
        call.record.mark("counts")
    return buffer.item_id


def bytes_to_checkpoint(call: CallRecord) -> int:
    """How much more of an utterance may come before it is to be saved."""
    buffer, checkpoint_ms = call.input_audio, call.speech.checkpoint_ms
    most = call.session.input_format.size(checkpoint_ms) if checkpoint_ms else MAX_PIECE_BYTES
    return min(most, MAX_PIECE_BYTES) - len(buffer.audio) + buffer.saved


def _checkpoint(call: CallRecord) -> None:
    if not call.speech.under_memory_pressure and bytes_to_checkpoint(call) <= 0:
        _save_up_to(call, call.input_audio.position)


def release_unsaved_speech(buffer: InputAudioBuffer, speech: SpeechLog) -> None:
    """What was to be saved of the unfinished utterance with the next write is not, nor turns that are not kept."""
    waiting = [entry for entry in speech.unsaved if entry.item_id == buffer.item_id]
    buffer.saved -= sum(len(entry.audio) for entry in waiting)
    if waiting and waiting[0].n == buffer.first_n:
        buffer.first_n = 0
    speech.release(lambda entry: speech.keeps_turns and entry.item_id != buffer.item_id)


def _save_up_to(call: CallRecord, end: int) -> None:
    buffer = call.input_audio
    upto = end - buffer.start
    if upto <= buffer.saved:
        return
    item_id = _allot_item(call)
    for at in range(buffer.saved, upto, MAX_PIECE_BYTES):
        entry = call.speech.add(item_id, bytes(buffer.audio[at : min(upto, at + MAX_PIECE_BYTES)]))
        buffer.first_n = buffer.first_n or entry.n
    call.record.mark("counts")
    buffer.saved = upto


def _keep_padding(call: CallRecord, padding: int) -> None:
    buffer = call.input_audio
    surplus = len(buffer.audio) - padding
    if surplus <= 0:
        return
    start = buffer.start
    del buffer.audio[:surplus]
    due = call.session.input_format.size(SILENT_SAVE_MS)
    if start // due != (start + surplus) // due:
        call.record.mark("counts")
