"""What the agent makes of a response: text, audio, tools, failure and `apology`."""

from __future__ import annotations

import orjson
import pytest

from tests.call.calls import (
    FRAME,
    emitted,
    feed,
    item_id,
    moved,
    new_call,
    response_id,
    spoken_turn,
    types,
)
from tests.call.engine import call_tool, fail, finish, first, hang_up
from voice_agent.call import inputs
from voice_agent.call.alignment import Piece
from voice_agent.call.apology import Apology
from voice_agent.call.audio import PCM
from voice_agent.call.effects import CloseConnection, CountLimit, DeliverEvents, InterruptAgent
from voice_agent.call.response_output import APOLOGY_CHUNK_MS, MAX_RESPONSE_CHARS, STALL_MS
from voice_agent.call.said_by_caller import said_since_last_reply
from voice_agent.call.writes import take_write

HELLO = inputs.CreateItem({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]})


def test_an_agent_that_breaks_fails_the_response_and_not_the_call() -> None:
    """`response.done` says failed; the next response works."""
    call = new_call()
    effects = feed(call, inputs.CreateResponse({}), fail("broke"), inputs.CreateResponse({}))
    assert emitted(call)[1]["response"]["status"] == "failed"
    assert effects[-1] == DeliverEvents()
    assert emitted(call)[-1]["response"]["id"] == response_id(2)


def test_a_function_call_is_an_item_of_its_own() -> None:
    """Arguments are streamed and the item can be answered by its call_id."""
    call = new_call()
    feed(
        call,
        inputs.CreateResponse({}),
        inputs.ResponseText(response_id(1), "Let me look."),
        call_tool("look_up", '{"order":7}'),
        finish,
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
    effects = feed(call, inputs.CreateResponse({}), hang_up)
    assert effects[-1] == CloseConnection(1000, "the agent hung up")


def test_the_voice_is_fixed_after_the_first_audio() -> None:
    """A voice may be chosen before the agent spoke, not after."""
    call = new_call()
    change = inputs.UpdateSession({"audio": {"output": {"voice": "cedar"}}})
    feed(call, change)
    assert types(call) == ["session.updated"]
    spoken_turn(call)
    feed(call, inputs.ResponseText(response_id(1), "Hi."), inputs.ResponseAudio(response_id(1), FRAME))
    feed(call, inputs.UpdateSession({"audio": {"output": {"voice": "ash"}}}))
    assert emitted(call)[-1]["error"]["param"] == "session.audio.output.voice"
    assert call.session.fields["audio"]["output"]["voice"] == "cedar"


def test_a_tool_called_outside_the_conversation_is_in_the_response_alone() -> None:
    """Its arguments are streamed all the same."""
    call = new_call(output_modalities=["text"])
    feed(
        call,
        inputs.CreateResponse({"conversation": "none"}),
        call_tool("look_up", '{"order":7}'),
        finish,
    )
    (item,) = emitted(call)[-1]["response"]["output"]
    assert (item["type"], item["name"], item["arguments"]) == ("function_call", "look_up", '{"order":7}')
    assert len(call.conversation) == 0
    assert "conversation.item.added" not in types(call)


def test_a_tool_that_was_called_is_in_the_record_before_it_is_heard_of() -> None:
    """The next owner gives its id to no other item, and does not call it again."""
    call = new_call()
    feed(call, inputs.CreateResponse({}))
    take_write(call, 0)
    feed(call, call_tool("look_up", "{}"))
    written = take_write(call, 0)
    assert orjson.loads(written.fields["act:0"])["item_id"] == item_id(1)
    assert written.fields["counts"].split()[0] == b"%d" % call.ids.items_made


def test_a_response_without_end_ends_incomplete() -> None:
    """What fits is said, and the agent is stopped: else one reply would be shown in events of megabytes."""
    call = new_call()
    feed(call, HELLO, inputs.CreateResponse({"output_modalities": ["text"]}))
    effects = feed(call, *[inputs.ResponseText(response_id(1), "\x01" * 50_000)] * 3)
    assert effects == [InterruptAgent(first(call).number), CountLimit("response_text")]
    done = emitted(call)[-1]["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("incomplete", "max_output_tokens")
    assert len(done["output"][0]["content"][0]["text"]) == MAX_RESPONSE_CHARS
    assert call.response is None


def test_what_an_agent_failed_on_is_not_asked_again() -> None:
    """The next turn is answered by itself, on whichever pod; what was said while the agent failed is not lost."""
    call = new_call()
    feed(call, HELLO, inputs.CreateResponse({}))
    feed(call, HELLO, fail("broken"))
    assert said_since_last_reply(call.conversation.items(), failed_to=call.dialogue.failed_up_to).items == 1
    assert take_write(call, 0).fields["failed_up_to"] == call.dialogue.failed_up_to.encode() != b""
    feed(call, inputs.CreateResponse({}), fail("broken"))
    assert said_since_last_reply(call.conversation.items(), failed_to=call.dialogue.failed_up_to).items == 0


def test_nothing_said_opens_nothing() -> None:
    """Audio without content is no item."""
    call = new_call()
    feed(call, inputs.CreateResponse({}))
    feed(call, inputs.ResponseAudio(response_id(1), b""))
    assert types(call) == ["response.created"]


def test_a_reply_may_be_as_long_as_the_bound() -> None:
    """Only the character beyond it ends it."""
    call = new_call(output_modalities=["text"])
    feed(call, inputs.CreateResponse({}))
    assert feed(call, inputs.ResponseText(response_id(1), "x" * MAX_RESPONSE_CHARS)) == []
    assert call.response is not None
    assert feed(call, inputs.ResponseText(response_id(1), "x"))[0] == InterruptAgent(first(call).number)


def test_what_a_chunk_does_not_tell_of_its_piece_stays() -> None:
    """An agent tells once how much it made and where the words are; what is known is not written again."""
    call = new_call()
    feed(call, inputs.CreateResponse({}), inputs.ResponseText(response_id(1), "one two"))
    feed(call, inputs.ResponseAudio(response_id(1), FRAME, 4 * len(FRAME), [[20, 4]]))
    assert call.response is not None
    words: list[list[int]]
    for made_bytes, words in [(0, []), (4 * len(FRAME), [[20, 4]])]:
        take_write(call, 0)
        feed(call, inputs.ResponseAudio(response_id(1), FRAME, made_bytes, words))
        assert call.response.said.piece == Piece(0, 0, 4 * len(FRAME), [[20, 4]])
        assert "piece" not in take_write(call, 0).fields
    feed(call, inputs.ResponseAudio(response_id(1), FRAME, 5 * len(FRAME), [[20, 4]]))
    assert call.response.said.piece == Piece(0, 0, 5 * len(FRAME), [[20, 4]])
    assert orjson.loads(take_write(call, 0).fields["piece"])["made_bytes"] == 5 * len(FRAME)


def test_chunks_of_an_item_share_their_event() -> None:
    """Packed once: a chunk costs its audio. The next item has one of its own."""
    call = new_call()
    feed(call, inputs.CreateResponse({}), *[inputs.ResponseAudio(response_id(1), FRAME)] * 3)
    feed(call, call_tool("look_up", "{}"), inputs.ResponseAudio(response_id(1), FRAME))
    heads = [entry.head for entry in call.outbox.unsaved if entry.audio]
    assert len({id(head) for head in heads}) == 2
    assert [orjson.loads(head)["item_id"] for head in heads] == [item_id(1)] * 3 + [item_id(3)]


@pytest.mark.parametrize(("late_ms", "moved_ms"), [(-500, 0), (0, 0), (STALL_MS, 0), (STALL_MS + 1, STALL_MS + 1)])
def test_audio_that_comes_late_is_heard_later(late_ms: int, moved_ms: int) -> None:
    """By as much as it is too late; a delay that no client lets its caller hear does not count."""
    call = new_call()
    feed(call, inputs.CreateResponse({}), inputs.ResponseAudio(response_id(1), FRAME * 50), now_ms=3000)
    feed(call, inputs.ResponseAudio(response_id(1), FRAME), now_ms=4000 + late_ms)
    assert call.dialogue.playback is not None
    assert call.dialogue.playback.started_at_ms == 3000 + moved_ms


@pytest.mark.parametrize(("now_ms", "starts_at_ms"), [(500, 2000), (3000, 3000)])
def test_an_item_is_heard_when_the_one_before_it_was(now_ms: int, starts_at_ms: int) -> None:
    """Or at once, if nothing is playing any more; on another pod, too."""
    call = new_call()
    feed(call, inputs.CreateResponse({}), inputs.ResponseAudio(response_id(1), FRAME * 100))
    feed(call, call_tool("look_up", "{}"))
    for owner in (moved(call), call):
        feed(owner, inputs.ResponseAudio(response_id(1), FRAME), now_ms=now_ms)
        assert owner.dialogue.playback is not None
        assert owner.dialogue.playback.started_at_ms == starts_at_ms


def test_words_that_another_voice_says_anew_are_aligned_with_the_new_audio() -> None:
    """Of the piece before, the words are kept that were sent."""
    call = new_call()
    feed(call, inputs.CreateResponse({}), inputs.ResponseText(response_id(1), "one two three four"))
    feed(call, inputs.ResponseAudio(response_id(1), FRAME * 5, len(FRAME) * 15, [[100, 4], [200, 8]]))
    feed(call, inputs.ResponseDiverged(response_id(1), 4))
    assert call.response is not None
    assert call.response.said.alignment == [[0, 0], [100, 4]]
    assert call.response.said.piece == Piece(4, 5 * len(FRAME), 0, [])


def test_another_voice_says_no_other_item_anew() -> None:
    """Whatever a record holds: an item begins where it began, and where none is open nothing is to be said."""
    call = new_call()
    feed(call, inputs.CreateResponse({}), inputs.ResponseText(response_id(1), "First. "))
    feed(call, inputs.ResponseAudio(response_id(1), FRAME), call_tool("look_up", "{}"))
    feed(call, inputs.ResponseDiverged(response_id(1), 3))
    assert call.response is not None
    assert call.response.said.alignment == []
    feed(call, inputs.ResponseText(response_id(1), "Second."), inputs.ResponseAudio(response_id(1), FRAME))
    feed(call, inputs.ResponseDiverged(response_id(1), 0))
    assert call.response.said.piece == Piece(7, 2 * len(FRAME), 0, [])


def test_an_apology_is_said_in_chunks_as_an_agent_says_it() -> None:
    """All of its audio; its item stands behind what is answered, and in front of what came since."""
    call = new_call()
    feed(call, HELLO, inputs.CreateResponse({}), HELLO)
    audio = bytes(range(240)) * 50
    feed(call, fail("broken", Apology("Sorry.", audio)))
    chunks = [entry.audio for entry in call.outbox.unsaved if entry.audio]
    assert b"".join(chunks) == audio
    assert [PCM.ms(len(chunk)) for chunk in chunks] == [APOLOGY_CHUNK_MS, APOLOGY_CHUNK_MS, 50]
    told = {event["type"]: event for event in emitted(call)}
    assert told["response.output_audio_transcript.delta"]["delta"] == "Sorry."
    assert told["conversation.item.added"]["previous_item_id"] == item_id(1)
    entry = call.conversation.get(told["conversation.item.added"]["item"]["id"])
    assert entry is not None
    assert entry.item["status"] == "completed"
    assert entry.alignment == [[0, 0], [250, 6]]


def test_an_apology_for_what_was_deleted_comes_last() -> None:
    """There is nothing left behind which it could stand."""
    call = new_call()
    feed(call, HELLO, inputs.CreateResponse({}), HELLO, inputs.DeleteItem(item_id(1)))
    feed(call, fail("broken", Apology("Sorry.", FRAME)))
    assert [item["role"] for item in call.conversation.items()] == ["user", "assistant"]
