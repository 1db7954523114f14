"""What an agent is told, and when."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import orjson
import pytest

from tests.call.calls import (
    FRAME,
    append,
    beside_speech,
    emitted,
    feed,
    item_id,
    new_call,
    response_id,
    spoken_turn,
    types,
)
from tests.call.engine import (
    MADE,
    done,
    engine_call,
    finish,
    first,
    kinds,
    ledger_of,
    manual_engine_call,
    said,
    speak,
    taken_over,
)
from voice_agent.call import inputs, machine
from voice_agent.call.agent_events import MAX_WAITING, request_of
from voice_agent.call.agent_fields import EVENTS
from voice_agent.call.agent_ledger import ActStatus, AgentEvent, EventKind
from voice_agent.call.apology import Apology
from voice_agent.call.beginnings import begin
from voice_agent.call.effects import CountLimit, DeliverEvents, InterruptAgent, SetTimer
from voice_agent.call.writes import take_write

SECOND = FRAME * 50


def test_a_new_call_starts_its_agent_with_the_first_write() -> None:
    """Whoever takes it over then has the event, too."""
    call = begin(MADE)
    assert kinds(call) == ["started"]
    assert first(call).data == {"resumed": False}
    assert b'"started"' in take_write(call, 0).fields["agent_events"]
    assert machine.resume(call) == [DeliverEvents()]


def test_a_reply_is_asked_for_behind_what_was_heard() -> None:
    """The response is open at once; the agent is asked once it is known what the caller said."""
    call = engine_call()
    effects = spoken_turn(call)
    assert call.response is not None
    assert kinds(call) == []
    assert not any(isinstance(effect, DeliverEvents) for effect in effects)
    assert feed(call, inputs.Transcribed(item_id(1), "hello"), now_ms=5) == [DeliverEvents()]
    assert kinds(call) == ["heard", "asked"]
    assert (first(call).data, first(call).at_ms) == ({"item_id": item_id(1)}, 5)
    assert ledger_of(call).waiting[1].data == {"response_id": response_id(1)}
    assert call.response.event_number == ledger_of(call).waiting[1].number


def test_what_was_heard_is_told_whether_or_not_the_client_wants_transcripts() -> None:
    """By default no transcription events are sent."""
    call = engine_call(audio={"input": {"transcription": None}})
    spoken_turn(call)
    feed(call, inputs.Transcribed(item_id(1), "hello"))
    assert "heard" in kinds(call)


def test_a_typed_turn_is_asked_for_at_once() -> None:
    """There is nothing to be understood first."""
    call = engine_call()
    assert feed(call, inputs.CreateResponse({})) == [DeliverEvents()]
    assert kinds(call) == ["asked"]


def test_a_reply_is_asked_for_though_its_turn_was_deleted_before_it_was_understood() -> None:
    """Nothing is waited for that never comes."""
    call = engine_call()
    spoken_turn(call)
    effects = feed(call, inputs.DeleteItem(item_id(1)))
    assert kinds(call) == ["asked"]
    assert DeliverEvents() in effects


def test_what_too_many_wait_for_to_be_understood_is_told_as_not_understood() -> None:
    """Every spoken item is told, in the order of their transcripts."""
    call = manual_engine_call()
    for _ in range(33):
        feed(call, *append(10), inputs.CommitAudio())
    assert kinds(call) == ["heard"]
    assert first(call).data == {"item_id": item_id(33)}


def test_the_agent_is_shown_the_conversation_as_it_was() -> None:
    """An event has the rank of the newest item when it happened."""
    call = engine_call()
    content = [{"type": "input_text", "text": "hello"}]
    feed(call, inputs.CreateItem({"type": "message", "role": "user", "content": content}), inputs.CreateResponse({}))
    feed(call, inputs.CreateItem({"type": "message", "role": "user", "content": content}))
    shown = call.conversation.items(to_rank=first(call).up_to_rank)
    assert [item["id"] for item in shown] == [item_id(1)]


def test_who_is_asked_later_is_shown_the_conversation_as_it_was_when_the_reply_was_due() -> None:
    """What else happens is told as of when it happened."""
    call = engine_call()
    spoken_turn(call)
    rank = call.conversation.last_rank
    content = [{"type": "input_text", "text": "hello"}]
    feed(call, inputs.CreateItem({"type": "message", "role": "user", "content": content}), inputs.DtmfPressed("1"))
    feed(call, inputs.Transcribed(item_id(1), "hello"))
    ranks = {event.kind.value: event.up_to_rank for event in ledger_of(call).waiting}
    assert (ranks["asked"], ranks["dtmf"]) == (rank, call.conversation.last_rank)
    assert rank != call.conversation.last_rank


def test_a_speech_that_was_over_before_its_reply_was_cut_is_over_on_the_next_pod() -> None:
    """It was not interrupted."""
    call = engine_call()
    feed(call, inputs.CreateResponse({}))
    said(call, "reply", "One.", SECOND)
    feed(call, inputs.CancelResponse())
    assert first(call).is_interrupted
    assert ledger_of(taken_over(call)).acts["reply"].status is ActStatus.DONE


def test_what_a_function_of_the_client_gave_is_told() -> None:
    """It only informs."""
    call = engine_call()
    output = {"type": "function_call_output", "call_id": "fc_1", "output": "4"}
    assert feed(call, inputs.CreateItem(output)) == [DeliverEvents()]
    assert (kinds(call), first(call).data) == (["tool_result"], {"item_id": item_id(1)})
    assert call.response is None


def test_an_acknowledgement_drops_the_event_and_keeps_the_state_in_one_write() -> None:
    """The response that was asked for is complete with it."""
    call = engine_call()
    feed(call, inputs.CreateResponse({}))
    said(call, "reply", "Hi.")
    done(call, state={"n": 1})
    assert (kinds(call), ledger_of(call).acts, call.response) == ([], {}, None)
    assert call.dialogue.agent_state == {"n": 1}
    assert types(call)[-1] == "response.done"
    written = take_write(call, 0).fields
    assert {"agent_events", "acts", "agent_state", "response"} <= written.keys()


def test_an_acknowledgement_of_another_event_is_ignored() -> None:
    """Nor does anything count that is done in one."""
    call = engine_call(started=False)
    number = first(call).number
    for late in (number - 1, number + 1):
        feed(call, inputs.EventDone(late, {"n": 1}), inputs.SpeechBegun(late, "k"), inputs.OnceBegun(late, "k"))
        feed(call, inputs.EventFailed(late, "broken"))
    assert (kinds(call), ledger_of(call).acts, call.response) == (["started"], {}, None)
    assert call.dialogue.agent_state == {}


def test_an_event_in_which_the_agent_broke_is_acknowledged_and_its_response_fails() -> None:
    """With an apology, as any reply that failed."""
    call = engine_call()
    feed(call, inputs.CreateResponse({}))
    speak(call, "reply", "Well")
    feed(call, inputs.EventFailed(first(call).number, "it broke", Apology("Sorry.", b"")))
    assert (kinds(call), call.response) == ([], None)
    over = emitted(call)[-1]["response"]
    assert over["status"] == "failed"
    assert [item["content"][0]["transcript"] for item in over["output"]] == ["Well", "Sorry."]


def test_an_event_without_a_response_fails_silently() -> None:
    """There is nothing that the caller waits for."""
    call = engine_call(started=False)
    before = types(call)
    feed(call, inputs.EventFailed(first(call).number, "it broke", Apology("Sorry.", b"")))
    assert (kinds(call), types(call)) == ([], before)


def test_a_barge_in_interrupts_the_handler_and_is_told() -> None:
    """The item that was cut is named; how much was heard of it says the item."""
    call = engine_call()
    feed(call, inputs.CreateResponse({}))
    number = first(call).number
    speak(call, "reply", "One two three four.", SECOND)
    effects = feed(call, inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(True, 0),)), now_ms=500)
    assert InterruptAgent(number) in effects
    assert kinds(call) == ["asked", "interrupted"]
    assert first(call).is_interrupted
    assert call.response is None


def test_a_barge_in_on_what_is_only_written_is_told() -> None:
    """Nothing of it is played, so nothing is cut; and still it is not said to its end."""
    call = engine_call()
    feed(call, inputs.CreateResponse({"output_modalities": ["text"]}))
    speak(call, "reply", "One two three four.")
    feed(call, inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(True, 0),)), now_ms=500)
    assert kinds(call) == ["asked", "interrupted"]


def test_a_barge_in_on_what_is_only_heard_is_told() -> None:
    """Of audio without words it is not known where it was cut; that it was is."""
    call = engine_call()
    feed(call, inputs.CreateResponse({}))
    feed(call, inputs.SpeechBegun(first(call).number, "reply"), inputs.ResponseAudio(response_id(1), SECOND))
    feed(call, inputs.CancelResponse(), now_ms=10_000)
    assert kinds(call) == ["asked", "interrupted"]


def test_what_a_cancelled_reply_asked_for_is_known_until_its_event_is_over() -> None:
    """Its handler may come again on another pod, after it opened a response of its own."""
    call = engine_call()
    feed(call, inputs.CreateResponse({"metadata": {"n": "1"}}))
    asked = request_of(call, first(call))
    feed(call, inputs.CancelResponse())
    said(call, "sorry", "All right.")
    again = request_of(taken_over(call), first(taken_over(call)))
    assert again.params == asked.params
    assert (again.items_up_to, again.clip_id, again.cut) == (asked.items_up_to, asked.clip_id, asked.cut)


def test_a_reply_that_was_not_begun_is_never_asked_for_once_it_is_cancelled() -> None:
    """Another event is being handled: that one goes on."""
    call = engine_call(started=False)
    feed(call, inputs.CreateResponse({}))
    assert kinds(call) == ["started", "asked"]
    assert feed(call, inputs.CancelResponse()) == []
    assert kinds(call) == ["started"]


@pytest.mark.parametrize("is_over", [False, True])
def test_a_reply_is_cancelled_into_which_an_event_before_it_speaks(*, is_over: bool) -> None:
    """That one is interrupted, unless it has said what it had to say; the reply is not asked for."""
    call = engine_call(started=False)
    feed(call, inputs.CreateResponse({}))
    (said if is_over else speak)(call, "greeting", "Hello.", SECOND)
    effects = feed(call, inputs.CancelResponse())
    assert (InterruptAgent(first(call).number) in effects) is not is_over
    assert first(call).kind is EventKind.STARTED
    assert "asked" not in kinds(call)


def test_a_cancelled_reply_of_which_nothing_was_said_is_no_interruption_to_tell() -> None:
    """Its handler is interrupted all the same."""
    call = engine_call()
    feed(call, inputs.CreateResponse({}))
    assert feed(call, inputs.CancelResponse()) == [InterruptAgent(first(call).number)]
    assert kinds(call) == ["asked"]


def test_an_item_that_was_said_and_is_truncated_is_told_once() -> None:
    """Clients that interrupt cancel and truncate."""
    call = engine_call()
    feed(call, inputs.CreateResponse({}))
    said(call, "reply", "One two three four.", SECOND)
    done(call)
    [entry] = call.conversation.items()
    feed(call, inputs.TruncateItem(entry["id"], 0, 500), inputs.TruncateItem(entry["id"], 0, 250))
    feed(call, inputs.TruncateItem(entry["id"], 0, 250))
    assert kinds(call) == ["interrupted"]
    assert first(call).data == {"item_id": entry["id"]}


def test_each_of_two_items_that_were_truncated_is_told() -> None:
    """Also while the agent has not acknowledged the first."""
    call = engine_call()
    for key in ("one", "two"):
        feed(call, inputs.CreateResponse({}))
        said(call, key, "Hello there.", SECOND)
        done(call)
    spoken = [item["id"] for item in call.conversation.items()]
    feed(call, *[inputs.TruncateItem(each, 0, 100) for each in (*spoken, *spoken)])
    assert [event.data for event in ledger_of(call).waiting] == [{"item_id": each} for each in spoken]


def test_a_caller_who_speaks_while_the_end_of_a_reply_is_played_interrupts_it() -> None:
    """The agent is through with it: it is only told."""
    call = engine_call()
    feed(call, inputs.CreateResponse({}))
    said(call, "reply", "One two three four.", SECOND)
    done(call)
    effects = feed(call, inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(True, 0),)), now_ms=500)
    assert beside_speech(effects) == [DeliverEvents()]
    assert kinds(call) == ["interrupted"]


def test_events_beyond_the_bound_are_dropped_and_counted() -> None:
    """And a reply is not asked for: the client is told why."""
    call = engine_call()
    feed(call, *[inputs.DtmfPressed("1")] * MAX_WAITING)
    assert feed(call, inputs.DtmfPressed("2")) == [CountLimit("agent_events")]
    assert feed(call, inputs.CreateResponse({})) == [CountLimit("agent_events")]
    assert emitted(call)[-1]["error"]["code"] == "agent_busy"
    assert len(kinds(call)) == MAX_WAITING
    done(call)
    assert feed(call, inputs.DtmfPressed("3")) == []


def test_a_turn_beyond_the_bound_is_not_answered() -> None:
    """The agent is hopelessly late; it is counted."""
    call = engine_call()
    feed(call, *[inputs.DtmfPressed("1")] * MAX_WAITING)
    assert CountLimit("agent_events") in spoken_turn(call)
    assert call.response is None


def test_only_keys_of_a_telephone_are_told() -> None:
    """Anything else is no DTMF digit."""
    call = engine_call()
    feed(call, *map(inputs.DtmfPressed, ["#", "E", "12", ""]))
    assert [event.data for event in ledger_of(call).waiting] == [{"digit": "#"}]


def test_a_call_without_a_ledger_queues_nothing() -> None:
    """It is mirrored."""
    call = new_call(mirror=True)
    feed(call, *append(5), inputs.DtmfPressed("1"), inputs.TimersDue(), inputs.EventDone(1, {"n": 1}))
    assert call.agent is None
    assert call.dialogue.agent_state == {}


def test_a_call_is_not_quiet_while_an_event_waits() -> None:
    """Nor before it is known what the caller said."""
    call = engine_call(started=False)
    assert not machine.is_quiet(call)
    done(call)
    assert machine.is_quiet(call)
    spoken_turn(call)
    assert not machine.is_quiet(call)


def test_timers_that_are_due_are_told_in_the_order_of_their_times() -> None:
    """And the runtime is told when to ask again."""
    call = engine_call(started=False)
    number = first(call).number
    effects = feed(call, inputs.TimerSet(number, "1", "late", 300), inputs.TimerSet(number, "2", "early", 100))
    assert effects == [SetTimer(300), SetTimer(100)]
    feed(call, inputs.TimerSet(number, "3", "later", 900))
    done(call)
    assert feed(call, inputs.TimersDue(), now_ms=50) == [SetTimer(100)]
    assert feed(call, inputs.TimersDue(), now_ms=300) == [DeliverEvents(), SetTimer(900)]
    assert [event.data["name"] for event in ledger_of(call).waiting] == ["early", "late"]
    assert ledger_of(call).timers == {"later": 900}


def test_a_timer_for_which_there_is_no_room_waits_for_it() -> None:
    """It comes with an acknowledgement, and no sooner is anything asked for."""
    call = engine_call(started=False)
    feed(call, inputs.TimerSet(first(call).number, "1", "remind", 100))
    feed(call, *[inputs.DtmfPressed("1")] * MAX_WAITING)
    assert feed(call, inputs.TimersDue(), now_ms=200) == [SetTimer(None)]
    assert SetTimer(None) in done(call, now_ms=200)
    assert kinds(call)[-1] == "timer"


def test_one_timer_of_several_comes_with_an_acknowledgement() -> None:
    """The others wait for their times."""
    call = engine_call(started=False)
    number = first(call).number
    feed(call, inputs.TimerSet(number, "1", "remind", 100), inputs.TimerSet(number, "2", "later", 900))
    assert SetTimer(900) in done(call, now_ms=200)
    assert (kinds(call), ledger_of(call).timers) == (["timer"], {"later": 900})


def test_a_timer_that_is_overdue_comes_at_the_next_owners_start() -> None:
    """Nobody owned the call when it was due: the runtime is told of a time that has passed."""
    call = engine_call(started=False)
    feed(call, inputs.TimerSet(first(call).number, "1", "remind", 100))
    moved = taken_over(call)
    assert machine.resume(moved) == [DeliverEvents(), SetTimer(100)]
    assert feed(moved, inputs.TimersDue(), now_ms=9000) == [SetTimer(None)]
    assert kinds(moved) == ["started", "started", "timer"]


def test_a_call_that_is_taken_over_comes_with_what_waited_and_starts_again() -> None:
    """Once, however often it moves before that is acknowledged."""
    call = engine_call()
    spoken_turn(call)
    feed(call, inputs.Transcribed(item_id(1), "hello"))
    moved = taken_over(taken_over(call))
    assert kinds(moved) == ["heard", "asked", "started"]
    assert ledger_of(moved).waiting[-1].data == {"resumed": True}
    assert ledger_of(moved).waiting[-1].at_ms == 9000
    assert machine.resume(moved) == [DeliverEvents()]


def test_a_reply_whose_turn_is_not_understood_yet_is_asked_for_on_the_next_pod() -> None:
    """Behind the start, once it is."""
    call = engine_call()
    spoken_turn(call)
    moved = taken_over(call)
    assert kinds(moved) == ["started"]
    feed(moved, inputs.Transcribed(item_id(1), "hello"))
    assert kinds(moved) == ["started", "heard", "asked"]


@pytest.mark.parametrize("has_said", [False, True])
def test_a_call_of_a_release_without_a_ledger_is_taken_over(*, has_said: bool) -> None:
    """Its open response is asked for; the agent says it from the start, and what was said is passed over."""
    call = new_call()
    feed(call, inputs.CreateResponse({}))
    if has_said:
        feed(call, inputs.ResponseText(response_id(1), "One. "), inputs.ResponseAudio(response_id(1), SECOND))
    assert call.response is not None
    call.agent, call.response.event_number = None, 0
    moved = taken_over(call)
    assert kinds(moved) == ["asked", "started"]
    feed(moved, inputs.SpeechBegun(first(moved).number, "reply"))
    span = ledger_of(moved).acts["reply"].span
    assert span is not None
    assert (span.text_from, span.audio_from) == (0, 0)
    assert moved.response is not None
    assert (moved.response.open_item.item_id is not None) == has_said


def test_what_another_release_has_answered_is_not_asked_again() -> None:
    """It kept the events, and did not know them."""
    call = engine_call()
    feed(call, inputs.CreateResponse({}))
    speak(call, "reply", "One.")
    older = taken_over(call)
    waiting = deepcopy(older.agent)
    feed(older, finish, inputs.CreateResponse({}))
    assert older.response is not None
    older.agent, older.response.event_number = waiting, 0
    moved = taken_over(older)
    assert kinds(moved) == ["started", "asked"]
    assert ledger_of(moved).acts == {}
    assert ledger_of(moved).waiting[1].data == {"response_id": response_id(2)}


def test_what_a_take_over_drops_is_dropped_in_the_store_too() -> None:
    """Though nothing else is queued: the agent is about to be told of the take-over before."""
    call = engine_call()
    feed(call, inputs.CreateResponse({}))
    older = taken_over(call)
    waiting = deepcopy(older.agent)
    feed(older, finish)
    older.agent = waiting
    moved = taken_over(older)
    assert kinds(moved) == ["started"]
    write = take_write(moved, 0)
    assert [event["kind"] for event in orjson.loads(write.fields[EVENTS])["waiting"]] == ["started"]


def test_an_ended_call_asks_nothing_of_its_agent() -> None:
    """What waits is gone with the call."""
    call = engine_call(started=False)
    feed(call, inputs.CreateResponse({}))
    assert feed(call, inputs.EndCall("admin")) == []
    assert ledger_of(call).waiting == []
    assert "agent_events" not in take_write(call, 0).fields


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (EventKind.ASKED, {"response_id": "resp_1"}),
        (EventKind.HEARD, {"item_id": "item_1"}),
        (EventKind.TOOL_RESULT, {"item_id": "item_1"}),
        (EventKind.TIMER, {"name": "egg", "due_ms": 7}),
        (EventKind.STARTED, {"resumed": False}),
    ],
)
def test_an_event_that_is_told_anew_has_the_key_of_the_one_that_the_store_lost(
    kind: EventKind, data: dict[str, Any]
) -> None:
    """A pod may have acted on it, under that key, while the store was given up."""
    assert AgentEvent(2, kind, 100, "", data).key_id == AgentEvent(3, kind, 900, "", data).key_id


def test_events_that_happen_again_have_keys_of_their_own() -> None:
    """A key of the telephone, another owner's start, what was cut short."""
    for kind, data in (
        (EventKind.DTMF, {"digit": "1"}),
        (EventKind.STARTED, {"resumed": True}),
        (EventKind.INTERRUPTED, {"item_id": "item_1"}),
    ):
        assert AgentEvent(2, kind, 100, "", data).key_id != AgentEvent(3, kind, 900, "", data).key_id
