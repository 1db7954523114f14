"""`session.update`: what it changes, what is refused and how that is said."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from openai.types.realtime import RealtimeSessionCreateRequest

from tests.call.calls import FRAME, append, attach, emitted, feed, manual_call, moved, new_call
from tests.protocol import checked
from voice_agent.call import inputs
from voice_agent.call.audio import PCM, PCMA, PCMU
from voice_agent.call.bounds import MAX_SESSION_BYTES
from voice_agent.call.changes import Snapshot
from voice_agent.call.effects import ResetEndpointing
from voice_agent.call.record import CallRecord
from voice_agent.call.restoring import restore
from voice_agent.call.session import merge_session
from voice_agent.call.session_config import (
    input_format,
    new_session,
    settings_under,
    transcription_on,
    turn_detection,
    wants_audio,
)
from voice_agent.call.writes import take_write
from voice_agent.errors import ProtocolError

TOOL = {"type": "function", "name": "book", "description": "Book a table.", "parameters": {"type": "object"}}


@pytest.fixture
def session() -> dict[str, Any]:
    """A session nobody has touched."""
    return new_session("call_1", "frontdesk", "marin", expires_at_s=1_700_000_000)


def merge(session: dict[str, Any], patch: Any, *, voice_locked: bool = False) -> dict[str, Any]:
    """Check and merge, and make sure that neither the session nor the patch was changed on the way."""
    before, given = copy.deepcopy(session), copy.deepcopy(patch)
    try:
        return merge_session(session, checked.session(patch), voice_locked=voice_locked)
    finally:
        assert session == before
        assert patch == given


def refused(session: dict[str, Any], patch: Any, *, voice_locked: bool = False) -> ProtocolError:
    """What is invalid in a patch."""
    with pytest.raises(ProtocolError) as caught:
        merge(session, patch, voice_locked=voice_locked)
    return caught.value


def heard(**changes: Any) -> dict[str, Any]:
    """A patch of `audio.input`."""
    return {"audio": {"input": changes}}


def spoken(**changes: Any) -> dict[str, Any]:
    """A patch of `audio.output`."""
    return {"audio": {"output": changes}}


def detection(**changes: Any) -> dict[str, Any]:
    """A patch of turn detection."""
    return heard(turn_detection=changes)


def test_only_given_fields_change(session: dict[str, Any]) -> None:
    """An update of one field leaves every other one as it was."""
    after = merge(session, {"type": "realtime", "instructions": "Be brief."})
    assert after == {**session, "instructions": "Be brief."}


def test_audio_is_merged_at_every_depth(session: dict[str, Any]) -> None:
    """Changing the input format keeps the rest of the input and all of the output."""
    after = merge(session, heard(format={"type": "audio/pcmu"}))
    assert input_format(after) is PCMU
    assert settings_under(after, {}).output_format is PCM
    assert after["audio"]["input"]["turn_detection"] == session["audio"]["input"]["turn_detection"]
    assert after["audio"]["output"] == session["audio"]["output"]


def test_every_field_of_the_sdk_is_taken(session: dict[str, Any]) -> None:
    """A full session as the SDK's type describes it is accepted and comes back whole."""
    patch: dict[str, Any] = {
        "type": "realtime",
        "model": "frontdesk",
        "output_modalities": ["text"],
        "instructions": "Grüße",
        "tools": [TOOL],
        "tool_choice": {"type": "function", "name": "book"},
        "parallel_tool_calls": False,
        "max_output_tokens": 512,
        "reasoning": {"effort": "low"},
        "prompt": {"id": "pmpt_1", "version": "2", "variables": {"city": "Rome"}},
        "tracing": {"workflow_name": "w", "group_id": "g", "metadata": {"a": 1}},
        "truncation": {"type": "retention_ratio", "retention_ratio": 0.8, "token_limits": {"post_instructions": 5000}},
        "include": ["item.input_audio_transcription.logprobs"],
        "audio": {
            "input": {
                "format": {"type": "audio/pcma"},
                "transcription": {"model": "whisper-1", "language": "en", "prompt": "names"},
                "noise_reduction": {"type": "far_field"},
                "turn_detection": {"type": "server_vad", "threshold": 0.7, "idle_timeout_ms": 6000},
            },
            "output": {"format": {"type": "audio/pcmu"}, "voice": "cedar", "speed": 1.25},
        },
    }
    RealtimeSessionCreateRequest.model_validate(patch, strict=True)
    after = merge(session, patch)
    RealtimeSessionCreateRequest.model_validate(after, strict=True)
    vad = after["audio"]["input"].pop("turn_detection")
    wanted_vad = patch["audio"]["input"].pop("turn_detection")
    assert vad == {**session["audio"]["input"]["turn_detection"], **wanted_vad}
    assert {name: after[name] for name in patch} == patch
    assert (settings_under(after, {}).output_format, wants_audio(after), transcription_on(after)) == (PCMU, False, True)
    assert input_format(after) is PCMA


def test_a_client_may_send_its_session_back(session: dict[str, Any]) -> None:
    """The session of `session.created`, `call` and all, is a valid update that changes nothing."""
    assert merge(session, {**copy.deepcopy(session), "call": {"id": "call_1"}}) == session


def test_whatever_model_is_named_the_calls_own_stays(session: dict[str, Any]) -> None:
    """Stock clients name OpenAI's model in every update: the rest of the update must not be lost with it."""
    after = merge(session, {"type": "realtime", "model": "gpt-realtime", "instructions": "Be kind.", "tools": [TOOL]})
    assert after["model"] == session["model"]
    assert (after["instructions"], after["tools"]) == ("Be kind.", [TOOL])


def test_turn_detection_off_and_on_again(session: dict[str, Any]) -> None:
    """Null turns detection off; an object turns it on with the defaults of its type."""
    off = merge(session, heard(turn_detection=None))
    assert turn_detection(off) is None
    on = merge(off, detection(silence_duration_ms=700))
    found = turn_detection(on)
    assert found is not None
    assert (found.mode, found.silence_duration_ms, found.threshold) == ("server_vad", 700, 0.5)


def test_turn_detection_keeps_what_was_set_before(session: dict[str, Any]) -> None:
    """A second change of the same type adds to the first."""
    once = merge(session, detection(type="server_vad", threshold=0.8))
    twice = merge(once, detection(type="server_vad", create_response=False))
    found = turn_detection(twice)
    assert found is not None
    assert (found.threshold, found.create_response) == (0.8, False)


def test_turn_detection_of_no_named_type_stays_of_its_type(session: dict[str, Any]) -> None:
    """Null or left out: the type in force."""
    semantic = merge(session, detection(type="semantic_vad"))
    for unnamed in ({"eagerness": "low"}, {"type": None, "eagerness": "low"}):
        found = turn_detection(merge(semantic, detection(**unnamed)))
        assert found is not None
        assert (found.mode, found.silence_duration_ms) == ("semantic_vad", 1500)


@pytest.mark.parametrize(("eagerness", "silence_ms"), [("low", 1500), ("medium", 800), ("auto", 800), ("high", 400)])
def test_semantic_detection_waits_by_eagerness(session: dict[str, Any], eagerness: str, silence_ms: int) -> None:
    """`semantic_vad` is taken, and its eagerness says how long a silence ends the turn."""
    after = merge(session, detection(type="semantic_vad", eagerness=eagerness))
    assert "threshold" not in after["audio"]["input"]["turn_detection"]
    found = turn_detection(after)
    assert found is not None
    assert (found.mode, found.silence_duration_ms, found.idle_timeout_ms) == ("semantic_vad", silence_ms, None)


def test_transcription_is_merged_and_switched_off(session: dict[str, Any]) -> None:
    """A language added later keeps the model; null switches transcription off."""
    on = merge(session, heard(transcription={"model": "whisper-1"}))
    more = merge(on, heard(transcription={"language": "de"}))
    assert more["audio"]["input"]["transcription"] == {"model": "whisper-1", "language": "de"}
    assert not transcription_on(merge(more, heard(transcription=None)))


def test_tools_are_replaced(session: dict[str, Any]) -> None:
    """A new list of tools takes the old one's place; a tool without a type is a function."""
    one = merge(session, {"tools": [TOOL]})
    two = merge(one, {"tools": [{"name": "cancel"}]})
    assert two["tools"] == [{"type": "function", "name": "cancel"}]
    assert merge(two, {"tools": []})["tools"] == []


def test_a_custom_voice_is_kept_as_its_id(session: dict[str, Any]) -> None:
    """Both ways to write a voice end up as its name."""
    assert merge(session, spoken(voice={"id": "voice_1"}))["audio"]["output"]["voice"] == "voice_1"


def test_the_voice_is_free_until_heard(session: dict[str, Any]) -> None:
    """Once heard, the voice can only be set to what it is."""
    assert merge(session, spoken(voice="cedar"))["audio"]["output"]["voice"] == "cedar"
    assert merge(session, spoken(voice="marin"), voice_locked=True) == session
    error = refused(session, spoken(voice="cedar"), voice_locked=True)
    assert (error.code, error.param) == ("cannot_update_voice", "session.audio.output.voice")


# --- refusals --------------------------------------------------------------

REFUSED: list[tuple[Any, str, str]] = [
    ({"id": "call_2"}, "invalid_value", "session.id"),
    (detection(eagerness="low"), "unknown_parameter", "session.audio.input.turn_detection.eagerness"),
    (
        detection(type="semantic_vad", threshold=0.5),
        "unknown_parameter",
        "session.audio.input.turn_detection.threshold",
    ),
]


@pytest.mark.parametrize(("patch", "code", "param"), REFUSED, ids=[f"{code}-{param}" for _, code, param in REFUSED])
def test_what_does_not_fit_the_session_changes_nothing(
    session: dict[str, Any], patch: dict[str, Any], code: str, param: str
) -> None:
    """An update that is right in form, and wrong for this session, is refused as a whole."""
    error = refused(session, {"instructions": "never applied", **patch})
    assert (error.code, error.param) == (code, param)
    assert f"'{param}'" in error.message


def test_the_settings_together_are_bounded(session: dict[str, Any]) -> None:
    """Each field within its own bound, and together too much: the error names the largest and the limit."""
    many = [{"type": "function", "name": f"f{number}", "description": "\x01" * 2000} for number in range(100)]
    error = refused(session, {"tools": many, "instructions": "x" * 1000})
    assert error.param == "session.tools"
    assert str(MAX_SESSION_BYTES) in error.message
    assert error.limit == "session_bytes"


# --- what an update changes of the call -------------------------------------


def begin(call: CallRecord) -> None:
    """The caller begins to speak."""
    feed(call, inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(True, call.input_audio.position),)))


@pytest.mark.parametrize(
    ("patch", "resets"),
    [
        ({"instructions": "Be brief."}, False),
        ({"audio": {"output": {"format": {"type": "audio/pcmu"}}}}, False),
        ({"audio": {"input": {"transcription": {"model": "whisper-1"}}}}, False),
        ({"audio": {"input": {"format": {"type": "audio/pcm", "rate": 24_000}}}}, False),
        ({"audio": {"input": {"format": {"type": "audio/pcmu"}}}}, True),
        ({"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 0.7}}}}, True),
        ({"audio": {"input": {"turn_detection": None}}}, True),
    ],
)
def test_a_caller_is_listened_to_afresh_only_where_listening_changes(patch: dict[str, Any], resets: bool) -> None:
    """By the format of what is heard or the way turns are found."""
    assert feed(new_call(), inputs.UpdateSession(patch)) == ([ResetEndpointing()] if resets else [])


def test_an_update_is_answered_with_the_whole_session() -> None:
    """As it is now."""
    call = new_call()
    feed(call, inputs.UpdateSession({"instructions": "Be brief."}))
    assert call.session.fields["instructions"] == "Be brief."
    assert emitted(call) == [{"type": "session.updated", "session": call.session.fields}]


def test_an_utterance_goes_on_under_other_settings() -> None:
    """Detection that was on and stays on forgets nothing, however it is set."""
    call = new_call()
    begin(call)
    feed(call, inputs.UpdateSession({"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}}))
    assert call.input_audio.speaking
    assert bytes(call.input_audio.audio) == FRAME
    assert call.session.turn_detection is not None
    assert call.session.turn_detection.mode == "semantic_vad"


def test_positions_begin_anew_with_a_new_format() -> None:
    """To the byte; how long the caller has been heard is not forgotten."""
    call = manual_call()
    feed(call, *append(5), inputs.UpdateSession({"audio": {"input": {"format": {"type": "audio/pcmu"}}}}))
    assert (call.input_audio.position, call.input_audio.base_ms, call.heard_ms) == (0, 100, 100)
    feed(call, inputs.UpdateSession({"instructions": "Be brief."}))
    assert (call.input_audio.position, call.input_audio.base_ms) == (0, 100)


@pytest.mark.parametrize("moves", [False, True])
@pytest.mark.parametrize("is_written", [False, True])
def test_audio_of_an_earlier_format_that_comes_again_is_known(is_written: bool, moves: bool) -> None:
    """It was dealt with when the format changed: a client that sends it again after a resume is not heard twice."""
    call = new_call()
    frames = [inputs.AppendAudio(FRAME, f"frame_{number}") for number in range(20)]
    feed(call, *frames)
    if is_written:
        take_write(call, 0)
    update = inputs.UpdateSession({"audio": {"input": {"format": {"type": "audio/pcmu"}}}}, "update")
    feed(call, update, inputs.AppendAudio(bytes(160), "frame_20"))
    again = moved(call) if moves else call
    attach(again, again.outbox.seq, 0, resumable=True)
    assert again.client_events.last_id == "update"
    feed(again, *frames, update)
    assert (again.input_audio.base_ms, again.input_audio.position) == (400, 0)
    feed(again, inputs.AppendAudio(bytes(160), "frame_20"))
    assert again.input_audio.position == 160


def test_a_store_that_lost_audio_has_lost_none_of_an_earlier_format() -> None:
    """What was sent in the old one is not asked for again, however far it reached."""
    call = manual_call()
    earlier = [inputs.AppendAudio(FRAME, f"earlier_{number}") for number in range(10)]
    update = inputs.UpdateSession({"audio": {"input": {"format": {"type": "audio/pcmu"}}}}, "update")
    later = [inputs.AppendAudio(bytes(160), f"later_{number}") for number in range(10)]
    feed(call, *earlier, update, *later)
    take_write(call, 0)
    call.record.write_whole = True
    write = take_write(call, 0)
    assert write.speech
    again = restore(
        Snapshot(write.fields, write.items, write.events, []), epoch=2, outbox_bytes=1 << 20, checkpoint_ms=0
    )
    assert list(again.client_events.seen) == [*(each.event_id for each in earlier), "update"]
    attach(again, again.outbox.seq, 0, resumable=True)
    feed(again, *earlier, update, *later)
    assert (again.input_audio.base_ms, again.input_audio.position) == (200, 1600)
