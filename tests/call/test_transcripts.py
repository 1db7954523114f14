"""What the caller said: whoever understood it first, an ear or the agent."""

from __future__ import annotations

import orjson
import pytest

from tests.call.calls import append, emitted, feed, item_id, moved, spoken_turn, types
from tests.call.engine import engine_call, kinds, taken_over
from voice_agent.call import inputs
from voice_agent.call.effects import DeliverEvents, StopTranscribing
from voice_agent.call.record import CallRecord

COMPLETED = "conversation.item.input_audio_transcription.completed"
FAILED = "conversation.item.input_audio_transcription.failed"


def spoken_call() -> CallRecord:
    """The caller has said something, an ear is at work, and the client wants transcripts."""
    call = engine_call(audio={"input": {"transcription": {"model": "whisper-1"}}})
    spoken_turn(call)
    return call


def transcript(call: CallRecord) -> str | None:
    """Of what was said."""
    entry = call.conversation.get(item_id(1))
    assert entry is not None
    text: str | None = entry.item["content"][0]["transcript"]
    return text


def test_what_an_agent_understood_is_told_as_of_an_ear() -> None:
    """The client gets the same events, and the reply is asked for behind what was heard."""
    by_ear, by_agent = spoken_call(), spoken_call()
    feed(by_ear, inputs.Transcribed(item_id(1), "hello"))
    effects = feed(by_agent, inputs.TranscriptGiven(item_id(1), "hello"))
    assert effects == [StopTranscribing(item_id(1)), DeliverEvents()]
    assert emitted(by_agent) == emitted(by_ear)
    assert transcript(by_agent) == "hello"
    assert kinds(by_agent) == kinds(by_ear) == ["heard", "asked"]
    assert by_agent.has_changes


@pytest.mark.parametrize("ear_first", [True, False])
def test_the_first_who_understood_it_stands(*, ear_first: bool) -> None:
    """The other one changes nothing, and the client is told once."""
    call = spoken_call()
    both: list[inputs.Input] = [inputs.Transcribed(item_id(1), "ear"), inputs.TranscriptGiven(item_id(1), "agent")]
    feed(call, *(both if ear_first else both[::-1]))
    assert transcript(call) == ("ear" if ear_first else "agent")
    assert types(call).count(COMPLETED) == 1
    assert kinds(call) == ["heard", "asked"]


def test_what_an_ear_did_not_understand_the_agent_may() -> None:
    """Its not understanding it is not told again."""
    call = spoken_call()
    feed(call, inputs.Transcribed(item_id(1), None), inputs.TranscriptGiven(item_id(1), None))
    assert types(call).count(FAILED) == 1
    feed(call, inputs.TranscriptGiven(item_id(1), "hello"))
    assert (transcript(call), types(call).count(COMPLETED)) == ("hello", 1)
    assert kinds(call) == ["heard", "asked"]


def test_an_ear_at_work_may_understand_what_the_agent_does_not() -> None:
    """So it is waited for."""
    call = spoken_call()
    assert feed(call, inputs.TranscriptGiven(item_id(1), None)) == []
    assert FAILED not in types(call)
    assert item_id(1) in call.clips.untranscribed


@pytest.mark.parametrize("text", ["hello", "", None])
@pytest.mark.parametrize("is_moved", [True, False])
def test_a_turn_without_an_ear_is_told_once_the_agent_says_what_it_was(text: str | None, *, is_moved: bool) -> None:
    """Not as one that was not understood, before; once, also on the pod that takes the call over."""
    call = spoken_call()
    feed(call, inputs.Transcribed(item_id(1), None, by_agent=True))
    assert FAILED not in types(call)
    assert kinds(call) == ["heard", "asked"]
    call = taken_over(call) if is_moved else call
    for _ in range(2):
        feed(call, inputs.TranscriptGiven(item_id(1), text))
    assert transcript(call) == text
    told = [kind for kind in types(call) if kind in (COMPLETED, FAILED)]
    assert told == [FAILED if text is None else COMPLETED]


def test_what_awaits_the_agent_is_known_after_a_take_over_and_no_more_once_it_was_told() -> None:
    """It stands in the record with its item."""
    call = spoken_call()
    feed(call, inputs.Transcribed(item_id(1), None, by_agent=True))
    entry = moved(call).conversation.get(item_id(1))
    assert entry is not None
    assert entry.awaits_agent
    assert entry.extras is None
    feed(call, inputs.TranscriptGiven(item_id(1), "hello"))
    again = moved(call).conversation.get(item_id(1))
    assert again is not None
    assert not again.awaits_agent
    assert b"awaits" not in again.pack()


def test_what_an_ear_doubts_is_kept_beside_the_item_and_the_client_sees_nothing_of_it() -> None:
    """The client's events are as of a certain transcript; the record has the doubt, also on another pod."""
    certain, doubted = spoken_call(), spoken_call()
    feed(certain, inputs.Transcribed(item_id(1), "for"))
    feed(doubted, inputs.Transcribed(item_id(1), "for", certain=False, alternatives=("four",)))
    assert emitted(doubted) == emitted(certain)
    for call in (doubted, moved(doubted)):
        entry = call.conversation.get(item_id(1))
        assert entry is not None
        assert (entry.uncertain, entry.alternatives, entry.extras) == (True, ("four",), None)
        assert (entry.item, transcript(call)) == (certain.conversation.items()[0], "for")


def test_nothing_of_it_stands_in_the_record_of_what_an_ear_is_sure_of() -> None:
    """Nor of what the agent says itself, where an ear doubted."""
    call = spoken_call()
    feed(call, inputs.Transcribed(item_id(1), "for"))
    entry = call.conversation.get(item_id(1))
    assert entry is not None
    assert orjson.loads(entry.pack()).keys() == {"check", "rank", "audio_ms", "alignment", "item"}
    other = spoken_call()
    feed(other, inputs.Transcribed(item_id(1), None, certain=False), inputs.TranscriptGiven(item_id(1), "four"))
    entry = other.conversation.get(item_id(1))
    assert entry is not None
    assert not entry.uncertain


def test_what_an_agent_is_not_sure_of_is_uncertain_on_the_next_pod_too() -> None:
    """It says so itself, in place of an ear; what else it may be, it knows."""
    call = spoken_call()
    feed(call, inputs.TranscriptGiven(item_id(1), "for", certain=False))
    for pod in (call, moved(call)):
        entry = pod.conversation.get(item_id(1))
        assert entry is not None
        assert (entry.uncertain, entry.alternatives, transcript(pod)) == (True, (), "for")


def test_nothing_is_kept_of_an_item_that_is_no_audio_of_the_callers() -> None:
    """Typed, the assistant's, deleted, or never there; and of a turn that goes on."""
    call = engine_call(audio={"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}})
    typed = {"id": "typed", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
    spoken = {"id": "said", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "yes"}]}
    result = {"id": "result", "type": "function_call_output", "call_id": "c", "output": "{}"}
    feed(call, *(inputs.CreateItem(item, b"", None) for item in (typed, spoken, result)), *append(10))
    before = list(call.conversation.items())
    for name in ("typed", "said", "result", "gone", call.input_audio.item_id or ""):
        assert feed(call, inputs.TranscriptGiven(name, "hello")) == []
    assert list(call.conversation.items()) == before
    assert COMPLETED not in types(call)


def test_a_session_without_transcripts_is_told_none() -> None:
    """The agent finds them in the conversation."""
    call = engine_call(audio={"input": {"transcription": None}})
    spoken_turn(call)
    feed(call, inputs.TranscriptGiven(item_id(1), "hello"))
    assert transcript(call) == "hello"
    assert not [kind for kind in types(call) if "transcription" in kind]
