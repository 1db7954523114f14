"""Replies, from `response.created` to `response.done`."""

from __future__ import annotations

import orjson

from app.agents.turns import said_since_last_reply
from app.call import inputs
from app.call.codec import take_write
from app.call.effects import CloseConnection, CountLimit, StartReply, StopReply
from app.call.replying import MAX_REPLY_CHARS
from tests.call.calls import FRAME, append, emitted, happen, new_call, response_id, spoken_turn, types

HELLO = inputs.CreateItem({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]})


def test_a_spoken_reply_has_openais_events_in_openais_order() -> None:
    """Item, content part, transcript, audio; each opened, streamed and closed."""
    call = new_call()
    happen(
        call,
        inputs.CreateResponse({}),
        inputs.ReplyPlanned(response_id(1), {"text": "Hi."}, {"turn": 1}),
        inputs.ReplyText(response_id(1), "Hi."),
        inputs.ReplyAudio(response_id(1), FRAME),
        inputs.ReplyFinished(response_id(1)),
    )
    assert types(call) == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    done = emitted(call)[-1]["response"]
    assert done["status"] == "completed"
    assert done["output"][0]["content"] == [{"type": "output_audio", "transcript": "Hi."}]
    assert call.unsaved_events[5].audio == FRAME


def test_a_text_reply_streams_text_only() -> None:
    """`output_modalities: ["text"]` gives text events and no audio."""
    call = new_call(output_modalities=["text"])
    happen(
        call,
        HELLO,
        inputs.CreateResponse({}),
        inputs.ReplyText(response_id(1), "Hi "),
        inputs.ReplyText(response_id(1), "there."),
        inputs.ReplyFinished(response_id(1)),
    )
    assert [kind for kind in types(call) if kind.startswith("response.")] == [
        "response.created",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
    ]
    assert emitted(call)[-1]["response"]["output"][0]["content"] == [{"type": "output_text", "text": "Hi there."}]


def test_only_one_reply_at_a_time() -> None:
    """A second `response.create` is an error that names the active response; the first goes on."""
    call = new_call()
    assert happen(call, inputs.CreateResponse({}), inputs.CreateResponse({})) == [StartReply(response_id(1))]
    error = emitted(call)[-1]["error"]
    assert error["code"] == "conversation_already_has_active_response"
    assert response_id(1) in error["message"]


def test_cancel_closes_what_was_open() -> None:
    """The client cancels: the item ends incomplete, the response cancelled, the agent is stopped."""
    call = new_call()
    effects = happen(
        call,
        inputs.CreateResponse({}),
        inputs.ReplyText(response_id(1), "Hi."),
        inputs.CancelResponse(),
        inputs.ReplyText(response_id(1), " Too late."),
    )
    assert effects == [StartReply(response_id(1)), StopReply(response_id(1))]
    done = emitted(call)[-1]
    assert done["response"]["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    assert done["response"]["output"][0]["status"] == "incomplete"


def test_cancelling_nothing_is_an_error() -> None:
    """Neither without a reply nor with another reply's id does cancel do anything."""
    call = new_call()
    happen(call, inputs.CancelResponse(), inputs.CreateResponse({}), inputs.CancelResponse(response_id(9)))
    assert [event["type"] for event in emitted(call)] == ["error", "response.created", "error"]
    assert call.reply is not None


def test_an_agent_that_breaks_fails_the_response_and_not_the_call() -> None:
    """`response.done` says failed; the next response works."""
    call = new_call()
    effects = happen(
        call, inputs.CreateResponse({}), inputs.ReplyFailed(response_id(1), "broke"), inputs.CreateResponse({})
    )
    assert emitted(call)[1]["response"]["status"] == "failed"
    assert effects[-1] == StartReply(response_id(2))


def test_a_function_call_is_an_item_of_its_own() -> None:
    """Arguments are streamed and the item can be answered by its call_id."""
    call = new_call()
    happen(
        call,
        inputs.CreateResponse({}),
        inputs.ReplyText(response_id(1), "Let me look."),
        inputs.ReplyFunctionCall(response_id(1), "look_up", '{"order":7}'),
        inputs.ReplyFinished(response_id(1)),
    )
    output = emitted(call)[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["message", "function_call"]
    assert output[1]["arguments"] == '{"order":7}'
    assert "response.function_call_arguments.done" in types(call)
    assert types(call).count("conversation.item.added") == 2
    placed = [(event["output_index"], event.get("item_id", "")) for event in emitted(call) if "output_index" in event]
    assert [index for index, _ in placed] == sorted(index for index, _ in placed)
    assert {index for index, _ in placed} == {0, 1}


def test_an_agent_can_hang_up() -> None:
    """After its last reply the connection is closed with 1000."""
    call = new_call()
    effects = happen(call, inputs.CreateResponse({}), inputs.ReplyFinished(response_id(1), hang_up=True))
    assert effects[-1] == CloseConnection(1000, "the agent hung up")


def test_loopback_gives_every_frame_back_inside_one_response() -> None:
    """Frames come back as deltas in order, without speech events or turns."""
    call = new_call(mirror=True)
    frames = [bytes([number, 0]) * 480 for number in range(5)]
    happen(call, *(inputs.AppendAudio(frame) for frame in frames))
    assert [entry.audio for entry in call.unsaved_events if entry.audio] == frames
    assert types(call).count("response.created") == 1
    assert types(call)[-5:] == ["response.output_audio.delta"] * 5


def test_the_voice_is_fixed_after_the_first_audio() -> None:
    """A voice may be chosen before the agent spoke, not after."""
    call = new_call()
    change = inputs.UpdateSession({"audio": {"output": {"voice": "cedar"}}})
    happen(call, change)
    assert types(call) == ["session.updated"]
    spoken_turn(call)
    happen(call, inputs.ReplyText(response_id(1), "Hi."), inputs.ReplyAudio(response_id(1), FRAME))
    happen(call, inputs.UpdateSession({"audio": {"output": {"voice": "ash"}}}))
    assert emitted(call)[-1]["error"]["param"] == "session.audio.output.voice"
    assert call.session["audio"]["output"]["voice"] == "cedar"


def test_while_the_agent_talks_a_turn_that_may_not_interrupt_gets_no_reply() -> None:
    """With `interrupt_response: false` a turn said into a reply is kept but not answered by itself."""
    call = new_call(audio={"input": {"turn_detection": {"type": "server_vad", "interrupt_response": False}}})
    spoken_turn(call)
    happen(call, *append(3))
    effects = spoken_turn(call)
    assert not any(isinstance(effect, StartReply) for effect in effects)
    assert call.turns == 2


def test_a_reply_outside_the_conversation_leaves_no_trace_in_it() -> None:
    """`conversation: "none"` gives a response with output and no conversation events."""
    call = new_call(output_modalities=["text"])
    happen(
        call,
        HELLO,
        inputs.CreateResponse({"conversation": "none"}),
        inputs.ReplyText(response_id(1), "Aside."),
        inputs.ReplyFinished(response_id(1)),
    )
    response = emitted(call)[-1]["response"]
    assert response["output"][0]["content"][0]["text"] == "Aside."
    assert response["conversation_id"] is None
    assert len(call.conversation) == 1
    assert types(call).count("conversation.item.added") == 1


def test_a_tool_called_outside_the_conversation_is_in_the_response_alone() -> None:
    """Its arguments are streamed all the same."""
    call = new_call(output_modalities=["text"])
    happen(
        call,
        inputs.CreateResponse({"conversation": "none"}),
        inputs.ReplyFunctionCall(response_id(1), "look_up", '{"order":7}'),
        inputs.ReplyFinished(response_id(1)),
    )
    (item,) = emitted(call)[-1]["response"]["output"]
    assert (item["type"], item["name"], item["arguments"]) == ("function_call", "look_up", '{"order":7}')
    assert len(call.conversation) == 0
    assert "conversation.item.added" not in types(call)


def test_a_tool_that_was_called_is_in_the_record_before_it_is_heard_of() -> None:
    """The next owner gives its id to no other item, and does not call it again."""
    call = new_call()
    happen(call, inputs.CreateResponse({}))
    take_write(call, 0)
    happen(call, inputs.ReplyFunctionCall(response_id(1), "look_up", "{}"))
    written = take_write(call, 0)
    assert orjson.loads(written.fields["reply"])["functions_called"] == 1
    assert written.fields["counts"].split()[0] == b"%d" % call.items_made


def test_a_caller_who_stays_silent_is_asked_again() -> None:
    """`idle_timeout_ms` after the reply was heard out, the silence becomes a turn that is answered."""
    call = new_call(audio={"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 2000}}})
    spoken_turn(call)
    happen(call, inputs.ReplyText(response_id(1), "Hi."), inputs.ReplyAudio(response_id(1), FRAME * 50))
    happen(call, inputs.ReplyFinished(response_id(1)))
    start_ms = call.idle_from_ms
    assert start_ms == 500 + 1000
    assert happen(call, *append(149)) == []
    effects = happen(call, *append(1))
    assert effects[-1] == StartReply(response_id(2))
    triggered = next(e for e in emitted(call) if e["type"] == "input_audio_buffer.timeout_triggered")
    assert (triggered["audio_start_ms"], triggered["audio_end_ms"]) == (1500, 3500)


def test_a_caller_who_listens_is_not_asked_again() -> None:
    """While another reply is made nobody waits for the caller, however long ago the last one ended."""
    call = new_call(audio={"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 2000}}})
    happen(call, inputs.CreateResponse({}), inputs.ReplyFinished(response_id(1)), inputs.CreateResponse({}))
    assert call.idle_from_ms is not None
    assert happen(call, *append(200)) == []
    assert "input_audio_buffer.timeout_triggered" not in types(call)
    happen(call, inputs.ReplyFinished(response_id(2)))
    assert happen(call, *append(99)) == []
    assert happen(call, *append(1)) != []


def test_a_reply_without_end_ends_incomplete() -> None:
    """What fits is said, and the agent is stopped: else one reply would be shown in events of megabytes."""
    call = new_call()
    happen(call, HELLO, inputs.CreateResponse({"output_modalities": ["text"]}))
    effects = happen(call, *[inputs.ReplyText(response_id(1), "\x01" * 50_000)] * 3)
    assert effects == [StopReply(response_id(1)), CountLimit("reply_text")]
    done = emitted(call)[-1]["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("incomplete", "max_output_tokens")
    assert len(done["output"][0]["content"][0]["text"]) == MAX_REPLY_CHARS
    assert call.reply is None


def test_what_an_agent_failed_on_is_not_asked_again() -> None:
    """The next turn is answered by itself, on whichever pod; what was said while the agent failed is not lost."""
    call = new_call()
    happen(call, HELLO, inputs.CreateResponse({}))
    happen(call, HELLO, inputs.ReplyFailed(response_id(1), "broken"))
    assert said_since_last_reply(call.conversation.items(), failed_to=call.failed_to).items == 1
    assert take_write(call, 0).fields["failed_to"] == call.failed_to.encode() != b""
    happen(call, inputs.CreateResponse({}), inputs.ReplyFailed(response_id(2), "broken"))
    assert said_since_last_reply(call.conversation.items(), failed_to=call.failed_to).items == 0


def test_ids_of_items_and_responses_are_those_of_no_other_call() -> None:
    """Clients with several calls keep what they get by its id; whoever takes a call over makes the same ids."""
    seen = []
    for letter in "ab":
        call = new_call(call_id="call_" + letter * 26)
        happen(call, HELLO, inputs.CreateResponse({}))
        assert call.reply is not None
        happen(call, inputs.ReplyText(call.reply.response_id, "Hi."))
        happen(call, inputs.ReplyFunctionCall(call.reply.response_id, "look_up", "{}"))
        items = list(call.conversation.items())
        seen += [*(item["id"] for item in items), items[-1]["call_id"], call.reply.response_id]
    assert len(set(seen)) == len(seen) == 10
    assert max(map(len, seen)) <= 32


def test_usage_counts_the_audio_and_claims_nothing_else() -> None:
    """At OpenAI's rates, begun tokens included; text, which nobody counted, is left out, and so are the sums."""
    call = new_call()
    spoken_turn(call, frames=26)
    happen(call, inputs.ReplyText(response_id(1), "Hi."), inputs.ReplyAudio(response_id(1), FRAME * 16))
    happen(call, inputs.ReplyFinished(response_id(1)))
    assert emitted(call)[-1]["response"]["usage"] == {
        "input_token_details": {"audio_tokens": 6},
        "output_token_details": {"audio_tokens": 7},
    }
    happen(call, inputs.UpdateSession({"output_modalities": ["text"]}), HELLO, inputs.CreateResponse({}))
    happen(call, inputs.ReplyText(response_id(2), "Hi."), inputs.ReplyFinished(response_id(2)))
    assert emitted(call)[-1]["response"]["usage"] is None
