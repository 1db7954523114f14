"""Replies, from `response.created` to `response.done`."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.call.calls import (
    FRAME,
    append,
    emitted,
    feed,
    item_id,
    manual_call,
    new_call,
    response_id,
    spoken_turn,
    types,
)
from tests.call.engine import call_tool, finish, first
from voice_agent.call import conversation, inputs, responses
from voice_agent.call.alignment import Piece
from voice_agent.call.audio import PCM
from voice_agent.call.effects import CountLimit, DeliverEvents, InterruptAgent
from voice_agent.call.response import Response, ResponseContent, ResponseRequest
from voice_agent.call.writes import take_write

HELLO = inputs.CreateItem({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]})


def test_a_spoken_reply_has_openais_events_in_openais_order() -> None:
    """Item, content part, transcript, audio; each opened, streamed and closed."""
    call = new_call()
    feed(
        call,
        inputs.CreateResponse({}),
        inputs.ResponseText(response_id(1), "Hi."),
        inputs.ResponseAudio(response_id(1), FRAME),
        finish,
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
    assert call.outbox.unsaved[5].audio == FRAME


def test_a_text_reply_streams_text_only() -> None:
    """`output_modalities: ["text"]` gives text events and no audio."""
    call = new_call(output_modalities=["text"])
    feed(
        call,
        HELLO,
        inputs.CreateResponse({}),
        inputs.ResponseText(response_id(1), "Hi "),
        inputs.ResponseText(response_id(1), "there."),
        finish,
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
    assert feed(call, inputs.CreateResponse({}), inputs.CreateResponse({})) == [DeliverEvents()]
    error = emitted(call)[-1]["error"]
    assert error["code"] == "conversation_already_has_active_response"
    assert response_id(1) in error["message"]


def test_cancel_closes_what_was_open() -> None:
    """The client cancels: the item ends incomplete, the response cancelled, the agent is stopped."""
    call = new_call()
    effects = feed(
        call,
        inputs.CreateResponse({}),
        inputs.ResponseText(response_id(1), "Hi."),
        inputs.CancelResponse(),
        inputs.ResponseText(response_id(1), " Too late."),
    )
    assert effects == [DeliverEvents(), InterruptAgent(first(call).number)]
    done = emitted(call)[-1]
    assert done["response"]["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    assert done["response"]["output"][0]["status"] == "incomplete"


def test_cancelling_nothing_is_an_error() -> None:
    """Neither without a reply nor with another reply's id does cancel do anything."""
    call = new_call()
    feed(call, inputs.CancelResponse(), inputs.CreateResponse({}), inputs.CancelResponse(response_id(9)))
    assert [event["type"] for event in emitted(call)] == ["error", "response.created", "error"]
    assert call.response is not None


def test_loopback_gives_every_frame_back_inside_one_response() -> None:
    """Frames come back as deltas in order, without speech events or turns."""
    call = new_call(mirror=True)
    frames = [bytes([number, 0]) * 480 for number in range(5)]
    feed(call, *(inputs.AppendAudio(frame) for frame in frames))
    assert [entry.audio for entry in call.outbox.unsaved if entry.audio] == frames
    assert types(call).count("response.created") == 1
    assert types(call)[-5:] == ["response.output_audio.delta"] * 5


def test_while_the_agent_talks_a_turn_that_may_not_interrupt_waits() -> None:
    """With `interrupt_response: false` a turn said into a reply is answered once that is over."""
    call = new_call(audio={"input": {"turn_detection": {"type": "server_vad", "interrupt_response": False}}})
    spoken_turn(call)
    feed(call, *append(3))
    spoken_turn(call)
    assert (types(call).count("response.created"), call.dialogue.turns) == (1, 2)
    feed(call, finish)
    assert types(call)[-2:] == ["response.done", "response.created"]


def test_a_reply_outside_the_conversation_leaves_no_trace_in_it() -> None:
    """`conversation: "none"` gives a response with output and no conversation events."""
    call = new_call(output_modalities=["text"])
    feed(
        call,
        HELLO,
        inputs.CreateResponse({"conversation": "none"}),
        inputs.ResponseText(response_id(1), "Out of band."),
        finish,
    )
    response = emitted(call)[-1]["response"]
    assert response["output"][0]["content"][0]["text"] == "Out of band."
    assert response["conversation_id"] is None
    assert len(call.conversation) == 1
    assert types(call).count("conversation.item.added") == 1


def test_a_caller_who_stays_silent_is_asked_again() -> None:
    """`idle_timeout_ms` after the reply was heard out, the silence becomes a turn that is answered."""
    call = new_call(audio={"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 2000}}})
    spoken_turn(call)
    feed(call, inputs.ResponseText(response_id(1), "Hi."), inputs.ResponseAudio(response_id(1), FRAME * 50))
    feed(call, finish)
    start_ms = call.dialogue.idle_from_ms
    assert start_ms == 500 + 1000
    assert feed(call, *append(149)) == []
    feed(call, *append(1))
    assert emitted(call)[-1]["response"]["id"] == response_id(2)
    triggered = next(e for e in emitted(call) if e["type"] == "input_audio_buffer.timeout_triggered")
    assert (triggered["audio_start_ms"], triggered["audio_end_ms"]) == (1500, 3500)


def test_a_caller_who_listens_is_not_asked_again() -> None:
    """While another reply is made nobody waits for the caller, however long ago the last one ended."""
    call = new_call(audio={"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 2000}}})
    feed(call, inputs.CreateResponse({}), finish, inputs.CreateResponse({}))
    assert call.dialogue.idle_from_ms is not None
    assert feed(call, *append(200)) == []
    assert "input_audio_buffer.timeout_triggered" not in types(call)
    feed(call, finish)
    assert feed(call, *append(99)) == []
    assert feed(call, *append(1)) != []


def test_ids_of_items_and_responses_are_those_of_no_other_call() -> None:
    """Clients with several calls keep what they get by its id; whoever takes a call over makes the same ids."""
    seen = []
    for letter in "ab":
        call = new_call(call_id="call_" + letter * 26)
        feed(call, HELLO, inputs.CreateResponse({}))
        assert call.response is not None
        feed(call, inputs.ResponseText(call.response.response_id, "Hi."))
        feed(call, call_tool("look_up", "{}"))
        items = list(call.conversation.items())
        seen += [*(item["id"] for item in items), items[-1]["call_id"], call.response.response_id]
    assert len(set(seen)) == len(seen) == 10
    assert max(map(len, seen)) <= 32


def test_usage_counts_the_audio_and_claims_nothing_else() -> None:
    """At OpenAI's rates, begun tokens included; text, which nobody counted, is left out, and so are the sums."""
    call = new_call()
    spoken_turn(call, frames=26)
    feed(call, inputs.ResponseText(response_id(1), "Hi."), inputs.ResponseAudio(response_id(1), FRAME * 16))
    feed(call, finish)
    assert emitted(call)[-1]["response"]["usage"] == {
        "input_token_details": {"audio_tokens": 6},
        "output_token_details": {"audio_tokens": 7},
    }
    feed(call, inputs.UpdateSession({"output_modalities": ["text"]}), HELLO, inputs.CreateResponse({}))
    feed(call, inputs.ResponseText(response_id(2), "Hi."), finish)
    assert emitted(call)[-1]["response"]["usage"] is None


def of_conversation(event: dict[str, Any]) -> bool:
    return str(event["type"]).startswith("conversation.")


@pytest.mark.parametrize("out_of_band", [False, True])
@pytest.mark.parametrize("spoken", [False, True])
def test_every_event_of_a_reply_says_what_it_belongs_to(out_of_band: bool, spoken: bool) -> None:
    """Response, item, place and previous item; one out of band has the same events but those of the conversation."""
    call = new_call(output_modalities=["audio" if spoken else "text"])
    feed(call, HELLO)
    take_write(call, 0)
    feed(call, inputs.CreateResponse({"conversation": "none"} if out_of_band else {}))
    feed(call, inputs.ResponseText(response_id(1), "Hi."))
    feed(call, *([inputs.ResponseAudio(response_id(1), FRAME)] if spoken else []))
    feed(call, call_tool("look_up", "{}"), finish)

    message, tool = item_id(2), item_id(3)
    of_response = {"response_id": response_id(1), "output_index": 0}
    of_part = {**of_response, "item_id": message, "content_index": 0}
    of_call = {**of_response, "output_index": 1, "item_id": tool, "call_id": tool.replace("item", "fc")}
    kind, words = ("audio", "transcript") if spoken else ("text", "text")
    text = "output_audio_transcript" if spoken else "output_text"
    began: dict[str, Any] = {"id": message, "object": "realtime.item", "type": "message", "status": "in_progress"}
    began |= {"role": "assistant", "content": []}
    said = {**began, "status": "completed", "content": [{"type": f"output_{kind}", words: "Hi."}]}
    asked: dict[str, Any] = {"id": tool, "object": "realtime.item", "type": "function_call", "status": "in_progress"}
    asked |= {"name": "look_up", "call_id": of_call["call_id"], "arguments": ""}
    called = {**asked, "status": "completed", "arguments": "{}"}
    resource = {
        "object": "realtime.response",
        "id": response_id(1),
        "status": "in_progress",
        "status_details": None,
        "output": [],
        "conversation_id": None if out_of_band else call.call_id.replace("call_", "conv_"),
        "output_modalities": ["audio" if spoken else "text"],
        "max_output_tokens": "inf",
        "audio": {"output": {"format": PCM.as_json(), "voice": "alloy"}},
        "usage": None,
        "metadata": None,
    }
    usage = {"input_token_details": {"audio_tokens": 0}, "output_token_details": {"audio_tokens": 1}}
    audio = [{"type": "response.output_audio.delta", **of_part}] if spoken else []
    audio_done = [{"type": "response.output_audio.done", **of_part}] if spoken else []
    expected: list[dict[str, Any]] = [
        {"type": "response.created", "response": resource},
        {"type": "response.output_item.added", **of_response, "item": began},
        {"type": "conversation.item.added", "previous_item_id": item_id(1), "item": began},
        {"type": "response.content_part.added", **of_part, "part": {"type": kind, words: ""}},
        {"type": f"response.{text}.delta", **of_part, "delta": "Hi."},
        *audio,
        *audio_done,
        {"type": f"response.{text}.done", **of_part, words: "Hi."},
        {"type": "response.content_part.done", **of_part, "part": {"type": kind, words: "Hi."}},
        {"type": "conversation.item.done", "previous_item_id": item_id(1), "item": said},
        {"type": "response.output_item.done", **of_response, "item": said},
        {"type": "response.output_item.added", **of_response, "output_index": 1, "item": asked},
        {"type": "conversation.item.added", "previous_item_id": message, "item": asked},
        {"type": "response.function_call_arguments.delta", **of_call, "delta": "{}"},
        {"type": "response.function_call_arguments.done", **of_call, "name": "look_up", "arguments": "{}"},
        {"type": "conversation.item.done", "previous_item_id": message, "item": called},
        {"type": "response.output_item.done", **of_response, "output_index": 1, "item": called},
        {
            "type": "response.done",
            "response": {
                **resource,
                "status": "completed",
                "output": [said, called],
                "usage": usage if spoken else None,
            },
        },
    ]
    assert emitted(call) == [event for event in expected if not out_of_band or not of_conversation(event)]


def test_ids_differ_in_their_kind_alone_whatever_letters_they_have() -> None:
    """Those of a response, a tool's call and a conversation."""
    call_id = "call_itemrespcall_" + "a" * 13
    call = new_call(call_id=call_id)
    stem = call_id[5:21]
    feed(call, inputs.CreateResponse({}), call_tool("look_up", "{}"), finish)
    done = emitted(call)[-1]["response"]
    assert done["output"][0]["call_id"] == f"fc_{stem}_1"
    assert done["conversation_id"] == "conv_" + call_id[5:]


@pytest.mark.parametrize("said", ["nothing", "typed", "spoken"])
def test_a_reply_keeps_what_it_answers(said: str) -> None:
    """When it began, how it is said, up to which item, and which audio; of what was not spoken there is none."""
    call = new_call()
    if said == "spoken":
        spoken_turn(call, now_ms=7000)
    else:
        feed(call, *([HELLO] if said == "typed" else []), inputs.CreateResponse({}), now_ms=7000)
    params = {"output_modalities": ["audio"], "audio": {"output": {"format": PCM.as_json(), "voice": "alloy"}}}
    asked, items = "" if said == "nothing" else item_id(1), call.conversation.last_rank
    clip = (item_id(1), 1, 500) if said == "spoken" else ("", 0, 0)
    assert call.response == Response(
        response_id(1),
        ResponseRequest(params, 7000, *clip, up_to=asked, items_up_to=items, cut=False),
        ResponseContent(piece=Piece(0, 0, 0, [])),
        event_number=0 if said == "spoken" else first(call).number,
    )
    assert call.clips.answered is call.clips.latest
    assert (call.clips.latest is not None) == (said == "spoken")


@pytest.mark.parametrize(
    ("given", "found"), [(None, "no active response found."), ("resp_9", "no active response found with id 'resp_9'.")]
)
def test_a_cancel_of_nothing_says_what_was_not_found(given: str | None, found: str) -> None:
    """And names the parameter if there was one."""
    call = new_call()
    feed(call, inputs.CancelResponse(given))
    error = emitted(call)[-1]["error"]
    assert error["message"] == f"Cancellation failed: {found}"
    assert error["param"] == ("response_id" if given else None)


def test_after_an_interruption_only_what_was_interrupted_may_be_cancelled() -> None:
    """A cancel of another response is the error it is, and does not count as the one that is expected."""
    call = new_call()
    feed(call, inputs.CreateResponse({}), inputs.ResponseText(response_id(1), "Hi."))
    feed(call, inputs.ResponseAudio(response_id(1), FRAME), inputs.TruncateItem(item_id(1), 0, 0))
    feed(call, inputs.CancelResponse(response_id(9)))
    assert emitted(call)[-1]["error"]["code"] == "response_cancel_not_active"
    behind = call.outbox.seq
    feed(call, inputs.CancelResponse(response_id(1)))
    assert call.outbox.seq == behind


def test_loopback_is_played_as_it_comes() -> None:
    """A pause of the caller is none of the agent's; each frame counts as heard once."""
    call = new_call(mirror=True)
    feed(call, *append(1), now_ms=0)
    feed(call, *append(1), now_ms=5000)
    assert call.dialogue.playback is not None
    assert call.dialogue.playback.started_at_ms == 0
    assert call.input_audio.position == 2 * len(FRAME)


@pytest.mark.parametrize(
    ("speaks", "now_ms", "left_ms"), [(False, 0, 0), (True, 1400, 600), (True, 2000, 0), (True, 9000, 0)]
)
def test_silence_is_counted_from_where_the_reply_was_heard_out(speaks: bool, now_ms: int, left_ms: int) -> None:
    """By the caller's own audio, in whatever formats it came; what was not spoken is heard at once."""
    call = manual_call()
    feed(call, *append(50), inputs.UpdateSession({"audio": {"input": {"format": {"type": "audio/pcmu"}}}}))
    feed(call, inputs.AppendAudio(bytes(8 * 500)), inputs.CreateResponse({}))
    if speaks:
        feed(call, inputs.ResponseAudio(response_id(1), FRAME * 50), now_ms=1000)
    feed(call, finish, now_ms=now_ms)
    assert call.dialogue.idle_from_ms == 1500 + left_ms


def test_a_full_conversation_can_be_asked_out_of_band(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said out of band takes no room in it."""
    call = new_call()
    feed(call, HELLO)
    monkeypatch.setattr(conversation, "MAX_BYTES", call.conversation.packed_bytes)
    assert feed(call, inputs.CreateResponse({})) == [CountLimit("conversation")]
    assert feed(call, inputs.CreateResponse({"conversation": "none"})) == [DeliverEvents()]


def test_settings_of_a_response_may_take_as_much_as_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the byte of their JSON."""
    given = {"instructions": "\u00e9\n", "metadata": {"a": "b"}}
    size = len(orjson.dumps(given))
    monkeypatch.setattr(responses, "MAX_RESPONSE_BYTES", size)
    call = new_call()
    feed(call, inputs.CreateResponse(given))
    assert emitted(call)[0]["type"] == "response.created"
    monkeypatch.setattr(responses, "MAX_RESPONSE_BYTES", size - 1)
    call = new_call()
    feed(call, inputs.CreateResponse(given))
    assert f"at most {size - 1} are allowed" in emitted(call)[0]["error"]["message"]


def test_what_a_response_brings_along_is_bounded() -> None:
    """As JSON, which is what is stored."""
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "\x01" * 100_000}]}
    call = new_call()
    assert feed(call, inputs.CreateResponse({"conversation": "none", "input": [item]})) == [
        CountLimit("response_bytes")
    ]
    assert emitted(call)[0]["error"]["param"] == "response.input"
