"""`session.update`: how a client's settings change a call.

The patch comes checked field by field (`protocol.session_fields`). It is merged into a new session, which the call
takes as a whole or not at all.
What follows from it: another input format begins the positions of the caller's audio at 0 again, and turn detection
that is switched on or off empties the buffer or ends the utterance under way.
"""

from __future__ import annotations

from typing import Any

from voice_agent.call import events
from voice_agent.call.bounds import MAX_SESSION_BYTES, check_size
from voice_agent.call.effects import Effect, ResetEndpointing, SpeechStarted
from voice_agent.call.input_audio import drop_said
from voice_agent.call.inputs import UpdateSession
from voice_agent.call.record import CallRecord
from voice_agent.call.session_config import SERVER_VAD, VAD_DEFAULTS, input_format, turn_detection
from voice_agent.errors import ProtocolError, invalid

_SERVER_SET = ("id", "object", "expires_at")
_NOT_KEPT = ("type", "call", "model", *_SERVER_SET)


def update_session(call: CallRecord, update: UpdateSession) -> list[Effect]:
    """Merge new settings in; all or none of them take effect."""
    before = call.session.fields
    after = merge_session(before, update.patch, voice_locked=call.session.voice_locked)
    effects: list[Effect] = []
    format_changes = input_format(after) != input_format(before)
    if format_changes:
        effects += _restart_positions(call)
    if format_changes or turn_detection(after) != turn_detection(before):
        effects.append(ResetEndpointing())
    was_on, is_on = call.session.turn_detection is not None, turn_detection(after) is not None
    if is_on != was_on:
        effects += _switch_turn_detection(call, is_on=is_on)
    call.session.use(after)
    if "session" not in call.record.dirty:
        call.session.unsaved_bytes += call.session.size_bytes
    call.record.mark("session")
    call.outbox.emit(events.session_updated(after))
    return effects


def _restart_positions(call: CallRecord) -> list[Effect]:
    """Positions count bytes of one format: all that was heard in the old one lies in front of them."""
    effects = drop_said(call)
    call.input_audio.base_ms += call.session.input_format.ms(call.input_audio.position)
    call.input_audio.position = 0
    call.client_events.restart_positions()
    return effects


def _switch_turn_detection(call: CallRecord, *, is_on: bool) -> list[Effect]:
    """Turned on, it starts with an empty buffer; turned off, what was being said is the client's to commit."""
    if is_on:
        return drop_said(call)
    buffer = call.input_audio
    begins = bool(buffer.audio) and not buffer.speaking
    buffer.speaking = False
    return [SpeechStarted(buffer.item_id)] if begins else []


def merge_session(session: dict[str, Any], patch: dict[str, Any], *, voice_locked: bool) -> dict[str, Any]:
    """The session with the fields of `patch` in place of its own; `session` stays as it is.

    Objects under ``audio`` are merged, lists are replaced, and null switches off what can
    be off. `voice_locked`: the caller has heard the voice, so it must not change. Fields
    that only the server sets may be sent back unchanged, since clients edit the session
    they were given. Whatever model is named, the call's own goes on answering: stock clients
    name OpenAI's in every update, and their tools and instructions must not be lost with it.
    Raises `ProtocolError`, whose `param` starts with ``session.``.
    """
    for name in _SERVER_SET:
        if patch.get(name) not in (None, session.get(name)):
            raise invalid(f"session.{name}", "cannot be changed during a call")
    given = {name: content for name, content in patch.items() if name not in _NOT_KEPT}
    audio = given.pop("audio", {})
    heard, spoken = session["audio"]["input"], session["audio"]["output"]
    given_in, given_out = dict(audio.get("input", {})), audio.get("output", {})
    if voice_locked and given_out.get("voice", spoken["voice"]) != spoken["voice"]:
        raise invalid("session.audio.output.voice", "cannot be changed once it has been heard", "cannot_update_voice")
    for name in ("transcription", "noise_reduction"):
        if given_in.get(name) is not None:
            given_in[name] = {**(heard[name] or {}), **given_in[name]}
    if given_in.get("turn_detection") is not None:
        given_in["turn_detection"] = _merge_turn_detection(heard["turn_detection"], given_in["turn_detection"])
    merged = {**session, **given, "audio": {"input": {**heard, **given_in}, "output": {**spoken, **given_out}}}
    check_size(merged, "session", MAX_SESSION_BYTES, limit="session_bytes")
    return merged


def _merge_turn_detection(current: dict[str, Any] | None, given: dict[str, Any]) -> dict[str, Any]:
    """Within a mode what is given is added to what was set; a change of mode begins with the other one's defaults."""
    kind = given.get("type", (current or SERVER_VAD)["type"])
    base = current if current is not None and current["type"] == kind else VAD_DEFAULTS[kind]
    merged = dict(base)
    for name, content in given.items():
        if name in VAD_DEFAULTS[kind]:
            merged[name] = content
        elif content is not None:
            other = next(mode for mode, fields in VAD_DEFAULTS.items() if name in fields)
            path = f"session.audio.input.turn_detection.{name}"
            raise ProtocolError(
                f"Unknown parameter: '{path}'. It belongs to turn detection of type '{other}'.",
                code="unknown_parameter",
                param=path,
            )
    return merged
