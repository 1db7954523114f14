"""What an agent does in an event, under keys.

Tests of `agent_ledger`, too.
"""

from __future__ import annotations

import orjson
import pytest

from tests.call.calls import FRAME, beside_speech, emitted, feed, item_id, response_id, spoken_turn, types
from tests.call.engine import act, done, engine_call, first, kinds, ledger_of, said, speak, taken_over
from voice_agent.call import conversation, events, inputs
from voice_agent.call.agent_acts import MAX_ACTS, MAX_AGENT_EVENT_BYTES, MAX_TIMERS
from voice_agent.call.agent_ledger import ActStatus, SaidPiece, pieces_of, played
from voice_agent.call.closing import MAX_REASON_BYTES
from voice_agent.call.effects import CloseConnection, CountLimit, InterruptAgent
from voice_agent.call.record import CallRecord
from voice_agent.call.status import Status
from voice_agent.call.writes import take_write

SECOND = FRAME * 50
HEARD = inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(True, 0),))


def asked_call() -> CallRecord:
    """A reply is due."""
    call = engine_call()
    feed(call, inputs.CreateResponse({}))
    return call


def pieces(call: CallRecord, key: str) -> list[SaidPiece]:
    """What was said of a speech."""
    span = act(call, key).span
    assert span is not None
    assert call.response is not None
    return list(pieces_of(call.response, span))


def test_an_unprompted_speech_opens_a_response_that_closes_with_its_event() -> None:
    """A greeting."""
    call = engine_call(started=False)
    said(call, "greeting", "Hello.")
    assert types(call)[-1] == "response.output_item.done"
    assert call.response is not None
    assert call.response.event_number == first(call).number
    done(call)
    assert types(call)[-1] == "response.done"
    assert types(call).count("response.created") == 1


def test_a_response_that_its_model_did_not_end_is_incomplete() -> None:
    """What was said stands; a response that belongs to another event is not touched by it."""
    call = asked_call()
    said(call, "reply", "So far.")
    feed(call, inputs.EventDone(first(call).number, None, "max_output_tokens"))
    [response] = [event["response"] for event in emitted(call) if event["type"] == "response.done"]
    assert response["status"] == "incomplete"
    assert response["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
    assert response["output"][0]["content"][0]["transcript"] == "So far."
    assert call.response is None
    other = engine_call(started=False)
    feed(other, inputs.CreateResponse({}))
    feed(other, inputs.EventDone(first(other).number, None, "content_filter"))
    assert other.response is not None


def test_a_speech_goes_into_the_response_that_is_asked_for_behind_it() -> None:
    """There is one at a time; it stays open for its own event, whose speech begins behind what was said."""
    call = engine_call(started=False)
    feed(call, inputs.CreateResponse({}))
    said(call, "greeting", "Hello.", SECOND)
    done(call)
    assert call.response is not None
    assert kinds(call) == ["asked"]
    said(call, "reply", "Yes.", SECOND)
    span = act(call, "reply").span
    assert span is not None
    assert (span.text_from, span.audio_from) == (6, len(SECOND))
    done(call)
    assert [item["content"][0]["transcript"] for item in emitted(call)[-1]["response"]["output"]] == ["Hello.", "Yes."]


def test_an_item_left_open_by_an_event_is_closed_with_it() -> None:
    """The response goes on without it."""
    call = engine_call(started=False)
    feed(call, inputs.CreateResponse({}))
    speak(call, "greeting", "Hello.")
    done(call)
    moved = taken_over(call)
    assert moved.response is not None
    assert (moved.response.open_item.item_id, moved.response.replay_from) == (None, (6, 0))


def test_an_act_under_a_known_key_does_nothing() -> None:
    """On whichever pod."""
    call = asked_call()
    number = first(call).number
    acts: list[inputs.Input] = [
        inputs.SpeechBegun(number, "reply"),
        inputs.ToolAsked(number, "tool", "look_up", "{}"),
        inputs.OnceBegun(number, "once"),
        inputs.TimerSet(number, "timer", "remind", 100),
        inputs.AgentEventSent(number, "send", {"type": "agent.note"}),
    ]
    feed(call, *acts)
    moved = taken_over(call)
    feed(moved, *acts)
    assert ledger_of(moved).acts == ledger_of(call).acts
    assert moved.outbox.seq == call.outbox.seq


def test_a_speech_that_is_begun_again_goes_on_where_it_was() -> None:
    """Another pod knows what was said of it, piece by piece, and who made its audio."""
    call = asked_call()
    speak(call, "reply", "One. ", SECOND)
    feed(call, inputs.ResponseText(response_id(1), "Two. "), inputs.ResponseAudio(response_id(1), SECOND[:480]))
    moved = taken_over(call)
    assert act(moved, "reply").status is ActStatus.BEGUN
    assert pieces(moved, "reply") == [
        SaidPiece("One. ", 0, 0, len(SECOND), is_voiced=True),
        SaidPiece("Two. ", 5, len(SECOND), 480, is_voiced=False),
    ]


def test_pieces_of_a_speech_are_its_own() -> None:
    """Not those of the one before, nor of the one behind it; text that joins begins none."""
    call = asked_call()
    said(call, "a", "One. ", SECOND)
    speak(call, "b", "Two. ", SECOND)
    feed(call, inputs.ResponseText(response_id(1), "More. ", joins=True))
    feed(call, inputs.SpeechEnded(first(call).number, "b"))
    said(call, "c", "Three. ")
    assert [[piece.text for piece in pieces(call, key)] for key in "abc"] == [["One. "], ["Two. More. "], ["Three. "]]


def test_audio_of_the_next_speech_that_says_nothing_is_no_piece_of_the_one_before() -> None:
    """It is where that ends in the text, and behind it in the audio."""
    call = asked_call()
    said(call, "a", "One. ", SECOND)
    speak(call, "b", "", SECOND)
    feed(call, inputs.ResponseText(response_id(1), ""), inputs.ResponseAudio(response_id(1), SECOND))
    assert [piece.text for piece in pieces(call, "a")] == ["One. "]


def test_nothing_is_left_of_an_item_that_is_not_there() -> None:
    """The client has deleted it."""
    assert played(asked_call().conversation, "item_9") == ("", 0)


def test_audio_that_says_nothing_written_is_a_piece() -> None:
    """Music, for example; no empty delta is sent for it."""
    call = asked_call()
    speak(call, "reply", "One. ", SECOND)
    before = types(call).count("response.output_audio_transcript.delta")
    feed(call, inputs.ResponseText(response_id(1), ""), inputs.ResponseAudio(response_id(1), SECOND))
    assert pieces(call, "reply")[1:] == [SaidPiece("", 5, len(SECOND), len(SECOND), is_voiced=False)]
    assert types(call).count("response.output_audio_transcript.delta") == before


def test_what_is_only_written_is_one_piece_of_each_speech() -> None:
    """No audio goes with a part of it, so a token costs no more than its text; what the agent voices stays apart."""
    call = engine_call()
    feed(call, inputs.CreateResponse({"output_modalities": ["text"]}))
    speak(call, "reply", "One. ")
    feed(call, inputs.ResponseText(response_id(1), "Two. ", voiced=True))
    for own in ("Own. ", "More. "):
        feed(call, inputs.ResponseText(response_id(1), own))
    feed(call, inputs.SpeechEnded(first(call).number, "reply"))
    speak(call, "more", "Three. ")
    assert [(piece.text, piece.is_voiced) for piece in pieces(call, "reply")] == [
        ("One. Two. ", True),
        ("Own. ", False),
        ("More. ", False),
    ]
    assert [(piece.text, piece.is_voiced) for piece in pieces(call, "more")] == [("Three. ", True)]


def test_what_was_said_without_pieces_is_one() -> None:
    """Another release noted none."""
    call = asked_call()
    speak(call, "reply", "One. ", SECOND)
    assert call.response is not None
    call.response.said.pieces = []
    assert pieces(call, "reply") == [SaidPiece("One. ", 0, 0, len(SECOND), is_voiced=False)]


def test_a_speech_that_its_handler_ends_early_is_over_on_the_next_pod_too() -> None:
    """It is not taken for one that the caller interrupted."""
    call = asked_call()
    speak(call, "reply", "Hello there.", SECOND)
    take_write(call, 0)
    feed(call, inputs.SpeechEnded(first(call).number, "reply", is_complete=False))
    [item] = [event["item"] for event in emitted(call) if event["type"] == "response.output_item.done"]
    assert item["status"] == "incomplete"
    assert orjson.loads(take_write(call, 0).fields["act:0"])["status"] == "done"
    for now in (call, taken_over(call)):
        assert act(now, "reply").status is ActStatus.DONE
        assert ledger_of(now).speech is None


def test_a_second_speech_closes_the_item_of_the_first() -> None:
    """An agent may leave one without ending it."""
    call = asked_call()
    speak(call, "a", "One.")
    speak(call, "b", "Two.")
    assert (act(call, "a").status, act(call, "b").status) == (ActStatus.DONE, ActStatus.BEGUN)
    assert act(call, "a").item_id == item_id(1)


def test_a_speech_that_was_cut_short_is_interrupted_again_on_the_next_pod() -> None:
    """Its handler comes again, to do what it does about an interruption."""
    call = asked_call()
    speak(call, "reply", "One two three four.", SECOND)
    feed(call, HEARD, now_ms=500)
    moved = taken_over(call)
    assert kinds(moved) == ["asked", "interrupted", "started"]
    feed(moved, inputs.SpeechBegun(first(moved).number, "reply"))
    assert act(moved, "reply").status is ActStatus.INTERRUPTED
    assert moved.response is None
    text, ms = played(moved.conversation, act(moved, "reply").item_id)
    assert (text, ms) == ("One two", 500)


def test_that_a_handler_was_interrupted_is_known_on_the_next_pod() -> None:
    """Though nothing was being said; what it has done stays done."""
    call = asked_call()
    feed(call, inputs.OnceBegun(first(call).number, "book"), inputs.CancelResponse())
    moved = taken_over(call)
    assert (kinds(moved), first(moved).is_interrupted) == (["asked", "started"], True)
    assert act(moved, "book").status is ActStatus.BEGUN


def test_a_handler_may_say_something_else_after_an_interruption() -> None:
    """In a response of its own, which closes with the event."""
    call = asked_call()
    speak(call, "reply", "One two.", SECOND)
    feed(call, inputs.CancelResponse())
    said(call, "sorry", "All right.")
    assert call.response is not None
    assert call.response.response_id == response_id(2)
    done(call)
    assert call.response is None


def test_the_caller_cannot_speak_into_a_speech_that_is_not_interruptible() -> None:
    """Nor cut its end, while that is played; the client can cancel it."""
    call = asked_call()
    speak(call, "reply", "Calls are recorded.", SECOND, interruptible=False)
    assert beside_speech(feed(call, HEARD, now_ms=200)) == []
    feed(call, inputs.SpeechEnded(first(call).number, "reply"))
    done(call)
    stop = inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(False, 2 * len(FRAME)),))
    feed(call, stop, inputs.Transcribed(item_id(2), "what?"))
    again = inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(True, call.input_audio.position),))
    assert not any(isinstance(effect, InterruptAgent) for effect in feed(call, again, now_ms=300))
    assert played(call.conversation, item_id(1)) == ("Calls are recorded.", 1000)


def test_a_client_cancels_a_speech_that_is_not_interruptible() -> None:
    """Only the caller's voice does not."""
    call = asked_call()
    speak(call, "reply", "Calls are recorded.", SECOND, interruptible=False)
    assert InterruptAgent(first(call).number) in feed(call, inputs.CancelResponse())


def test_a_turn_spoken_into_an_uninterruptible_speech_is_answered_after_it() -> None:
    """Else the caller would wait for ever."""
    call = engine_call(started=False)
    speak(call, "greeting", "Calls are recorded.", SECOND, interruptible=False)
    spoken_turn(call)
    feed(call, inputs.Transcribed(item_id(2), "hello"))
    feed(call, inputs.SpeechEnded(first(call).number, "greeting"))
    done(call)
    assert kinds(call) == ["heard", "asked"]
    assert call.response is not None
    assert call.response.response_id == response_id(2)


def test_speaking_again_takes_the_answer_to_the_turn_before_back() -> None:
    """The caller goes on: what they said is answered together, at the end."""
    call = engine_call(started=False)
    speak(call, "recording", "Calls are recorded.", SECOND, interruptible=False)
    spoken_turn(call)
    said(call, "hello", "Hello.", SECOND)
    begun = inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(True, call.input_audio.position),))
    feed(call, begun)
    assert (call.response, ledger_of(call).later) == (None, [])


def test_nothing_is_said_in_a_full_conversation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The act is refused; no response is opened for it."""
    call = engine_call(started=False)
    monkeypatch.setattr(conversation, "MAX_ITEMS", 0)
    feed(call, inputs.SpeechBegun(first(call).number, "greeting"), inputs.ToolAsked(first(call).number, "t", "f", "{}"))
    assert (act(call, "greeting").status, act(call, "t").status) == (ActStatus.REFUSED, ActStatus.REFUSED)
    assert call.response is None


def test_a_function_of_the_client_is_asked_once() -> None:
    """In the response that is open, or one of its own."""
    call = engine_call(started=False)
    feed(call, inputs.ToolAsked(first(call).number, "look", "look_up", '{"n":1}'))
    asked = call.conversation.get(act(call, "look").item_id)
    assert asked is not None
    assert (asked.item["name"], asked.item["arguments"], asked.item["status"]) == ("look_up", '{"n":1}', "completed")
    done(call)
    assert types(call)[-1] == "response.done"


def test_what_is_done_once_keeps_its_result_until_the_event_is_over() -> None:
    """The next pod takes it from there; one whose outcome is unknown is begun still."""
    call = engine_call(started=False)
    number = first(call).number
    feed(
        call, inputs.OnceBegun(number, "a"), inputs.OnceDone(number, "a", {"booked": 4}), inputs.OnceBegun(number, "b")
    )
    moved = taken_over(call)
    assert (act(moved, "a").status, act(moved, "a").result) == (ActStatus.DONE, {"booked": 4})
    assert act(moved, "b").status is ActStatus.BEGUN
    feed(moved, inputs.OnceDone(number, "a", "twice"), inputs.OnceDone(number, "c", "unknown"))
    assert act(moved, "a").result == {"booked": 4}
    assert first(moved).key_id == first(call).key_id
    done(moved)
    assert ledger_of(moved).acts == {}


def test_an_event_of_the_agents_own_is_numbered_as_any() -> None:
    """One that is none of its own, or too large, is refused."""
    call = engine_call(started=False)
    number = first(call).number
    rest = MAX_AGENT_EVENT_BYTES - len(events.pack({"type": "agent.large", "x": ""}))
    large, largest = ({"type": "agent.large", "x": "x" * size} for size in (rest + 1, rest))
    effects = feed(
        call,
        inputs.AgentEventSent(number, "a", {"type": "agent.card", "title": "Hi"}),
        inputs.AgentEventSent(number, "b", {"type": "response.done"}),
        inputs.AgentEventSent(number, "c", large),
        inputs.AgentEventSent(number, "d", largest),
    )
    assert emitted(call) == [{"type": "agent.card", "title": "Hi"}, largest]
    done, refused = ActStatus.DONE, ActStatus.REFUSED
    assert [act(call, key).status for key in "abcd"] == [done, refused, refused, done]
    assert effects == [CountLimit("agent_event_bytes")]


def test_a_call_is_transferred_after_all_that_was_said() -> None:
    """The client is told whom to call, and the call has ended."""
    call = asked_call()
    said(call, "reply", "One moment.")
    effects = feed(call, inputs.TransferAsked(first(call).number, "person", "+4930123"))
    assert emitted(call)[-2]["response"]["status"] == "completed"
    assert emitted(call)[-1] == {"type": "call.transfer", "target": "+4930123"}
    assert effects == [CloseConnection(1000, "transferred", "transferred")]
    assert (call.lifecycle.status, call.lifecycle.outcome) == (Status.ENDED, "transferred")


@pytest.mark.parametrize(("reason", "told"), [("", "the agent hung up"), ("ä" * 99, "ä" * (MAX_REASON_BYTES // 2))])
def test_an_agent_hangs_up(reason: str, told: str) -> None:
    """The reason has room in a close frame."""
    call = asked_call()
    assert feed(call, inputs.HangUpAsked(first(call).number, "bye", reason)) == [CloseConnection(1000, told)]
    assert (call.lifecycle.status, call.lifecycle.outcome) == (Status.ENDED, "agent")


def test_acts_beyond_the_bound_are_not_done() -> None:
    """The runtime finds none under the key."""
    call = engine_call(started=False)
    number = first(call).number
    feed(call, *(inputs.OnceBegun(number, str(n)) for n in range(MAX_ACTS)))
    assert feed(call, inputs.AgentEventSent(number, "more", {"type": "agent.x"})) == [CountLimit("agent_acts")]
    assert "more" not in ledger_of(call).acts
    assert emitted(call) == []


def test_timers_beyond_the_bound_are_refused() -> None:
    """One that is known may be set anew."""
    call = engine_call(started=False)
    number = first(call).number
    feed(call, *(inputs.TimerSet(number, str(n), f"t{n}", 100) for n in range(MAX_TIMERS)))
    assert feed(call, inputs.TimerSet(number, "more", "more", 100)) == [CountLimit("agent_timers")]
    assert act(call, "more").status is ActStatus.REFUSED
    feed(call, inputs.TimerSet(number, "again", "t0", 50))
    assert ledger_of(call).timers["t0"] == 50


def test_a_reply_that_grows_too_long_ends_there() -> None:
    """Its handler is interrupted."""
    call = asked_call()
    effects = speak(call, "reply", "x" * 70_000)
    assert effects == [InterruptAgent(first(call).number), CountLimit("response_text")]
    assert act(call, "reply").status is ActStatus.INTERRUPTED
