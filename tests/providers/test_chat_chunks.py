"""What a stream of chunks says, put together: of servers that write it as OpenAI does, and of others."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.providers.chat_chunks import (
    DONE,
    MAX_CALLS,
    MAX_CALLS_BYTES,
    MAX_REASON_CHARS,
    MAX_TEXT_BYTES,
    ChatBegan,
    ChatChunks,
    ChatDelta,
    ChatDone,
    ChatText,
    ChatUsage,
    StreamError,
    WrongChunk,
)


def delta(reason: str | None = None, **fields: Any) -> str:
    return orjson.dumps({"choices": [{"index": 0, "delta": fields, "finish_reason": reason}]}).decode()


def call(index: int | None = None, call_id: str | None = None, **function: Any) -> str:
    found: dict[str, Any] = {"function": function}
    if index is not None:
        found["index"] = index
    if call_id is not None:
        found["id"] = call_id
    return delta(tool_calls=[found])


def read(*events: str) -> list[ChatDelta]:
    """All deltas but the first, which tells that it has begun."""
    chunks = ChatChunks()
    found = [each for event in events for each in chunks.feed(event)]
    assert found.pop(0) == ChatBegan()
    return found


def calls_in(*events: str) -> list[tuple[str, str, str]]:
    [done] = read(*events, delta("tool_calls"), DONE)
    assert isinstance(done, ChatDone)
    return [(each.id, each.name, each.arguments) for each in done.tool_calls]


def test_text_comes_as_it_is_made_and_then_the_reason_why_it_ends() -> None:
    """What the request used comes behind it, in a chunk without choices."""
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 1},
        "completion_tokens_details": {"audio_tokens": 0},
    }
    found = read(
        delta(role="assistant", content=""),
        delta(content="Hel"),
        delta(content="lo."),
        delta("stop"),
        orjson.dumps({"choices": [], "usage": usage}).decode(),
        DONE,
    )
    assert found == [ChatText("Hel"), ChatText("lo."), ChatDone("stop"), ChatUsage(9, 2, 4, 1, 0)]


def test_an_answer_that_comes_whole_is_read_as_one() -> None:
    """From a server that does not stream."""
    whole = {"choices": [{"message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}], "usage": {}}
    assert read(orjson.dumps(whole).decode()) == [ChatText("Hello."), ChatDone("stop"), ChatUsage(None, None)]


def test_a_stream_that_says_only_that_it_is_over_is_whole() -> None:
    """Some servers give no reason."""
    assert read(delta(content="Hello."), DONE) == [ChatText("Hello."), ChatDone("stop")]


def test_a_refusal_is_text_that_is_known_to_be_one() -> None:
    """OpenAI puts it in a field of its own."""
    assert read(delta(refusal="No."), delta("stop")) == [ChatText("No."), ChatDone("stop", is_refusal=True)]


@pytest.mark.parametrize("reason", ["length", "content_filter", "eos"])
def test_the_reason_is_told_as_it_is(reason: str) -> None:
    """Whatever it is."""
    assert read(delta(reason)) == [ChatDone(reason)]


def test_calls_are_put_together_by_their_index() -> None:
    """Two at once, their pieces mixed."""
    assert calls_in(
        call(0, "a", name="look", arguments=""),
        call(1, "b", name="book", arguments='{"n"'),
        call(0, arguments='{"x": 1}'),
        call(1, arguments=": 2}"),
    ) == [("a", "look", '{"x": 1}'), ("b", "book", '{"n": 2}')]


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ([call(None, "a", name="look", arguments="{}"), call(None, "b", name="book", arguments="{}")], "a look b book"),
        ([call(0, "a", name="look", arguments="{}"), call(0, "b", name="book", arguments="{}")], "a look b book"),
        ([call(None, None, name="look", arguments="{}"), call(None, None, name="book", arguments="{}")], "look book"),
        ([call(0, "a", name="lo"), call(0, name="ok", arguments="{}")], "a look"),
        ([call(0, "a", name="look"), call(0, "a", name="look", arguments="{}")], "a look"),
        ([delta(function_call={"name": "look", "arguments": "{}"})], "look"),
        ([call(0, "a", name="look")], "a look"),
        ([call(0, "a", name="look", arguments={})], "a look"),
        ([call(0, "a", arguments="{}")], ""),
    ],
)
def test_calls_of_servers_that_write_them_otherwise(events: list[str], found: str) -> None:
    """Without an index or an id, with arguments as an object; one without a name is none."""
    assert " ".join(" ".join(filter(None, (call_id, name))) for call_id, name, _ in calls_in(*events)) == found
    assert {arguments for _, _, arguments in calls_in(*events)} <= {"{}"}


def test_arguments_as_an_object_are_json() -> None:
    """As if they had come as text."""
    assert calls_in(call(0, "a", name="look", arguments={"x": 1})) == [("a", "look", '{"x":1}')]


def test_a_thousand_calls_are_cut_to_a_few() -> None:
    """Those beyond are left out."""
    found = calls_in(*(call(n, f"c{n}", name="look", arguments="{}") for n in range(1_000)))
    assert [call_id for call_id, _, _ in found] == [f"c{n}" for n in range(MAX_CALLS)]


def test_arguments_without_an_end_are_no_call() -> None:
    """What is not whole is not run; the answer is over."""
    chunks = ChatChunks()
    list(chunks.feed(call(0, "a", name="look", arguments="{")))
    assert list(chunks.feed(call(0, arguments="x" * MAX_CALLS_BYTES))) == [ChatDone("length")]
    assert chunks.is_over


def test_text_without_an_end_is_over_where_there_is_no_room() -> None:
    """At a whole letter."""
    chunks = ChatChunks()
    list(chunks.feed(delta(content="x" * (MAX_TEXT_BYTES - 1))))
    assert list(chunks.feed(delta(content="é" * 5_000_000))) == [ChatDone("length")]
    assert chunks.is_over


def test_what_no_voice_says_is_left_out() -> None:
    """Control characters, but for blanks and ends of lines."""
    assert read(delta(content="a\x00b\x1b[1m\n\tc\x7f")) == [ChatText("ab[1m\n\tc")]


@pytest.mark.parametrize(
    "event",
    [
        "",
        "{",
        "[]",
        '"text"',
        "nan",
        '{"choices": 5}',
        '{"choices": [5]}',
        '{"choices": [{"delta": 5}]}',
        '{"choices": [{"delta": {"tool_calls": 5}}]}',
        '{"choices": [{"delta": {"tool_calls": [5]}}]}',
        '{"choices": [{"delta": {"tool_calls": [{"function": 5}]}}]}',
        '{"choices": [{"delta": {"content": "\\ud800"}}]}',
    ],
)
def test_a_chunk_that_makes_no_sense_is_told(event: str) -> None:
    """With one kind of error."""
    with pytest.raises(WrongChunk):
        read(event)


@pytest.mark.parametrize("error", [{"message": "overloaded"}, "overloaded"])
def test_an_error_in_the_middle_is_told(error: Any) -> None:
    """With what the server says of it."""
    with pytest.raises(StreamError, match="overloaded"):
        read(delta(content="Hel"), orjson.dumps({"error": error}).decode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "delta",
                    "message",
                    "content",
                    "refusal",
                    "tool_calls",
                    "function",
                    "function_call",
                    "index",
                    "id",
                    "name",
                    "arguments",
                    "finish_reason",
                    "usage",
                    "error",
                    "prompt_tokens",
                    "prompt_tokens_details",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=4))
def test_whatever_comes_is_a_delta_or_one_of_two_errors(events: list[Any]) -> None:
    """And text is text."""
    chunks = ChatChunks()
    try:
        for event in events:
            for found in chunks.feed(orjson.dumps(event).decode()):
                assert not isinstance(found, ChatText) or found.text.encode()
                if isinstance(found, ChatDone):
                    assert all(each.name for each in found.tool_calls)
    except (WrongChunk, StreamError):
        pass


def test_the_answer_is_over_once() -> None:
    """What comes behind its end is not part of it."""
    assert read(delta("stop"), delta(content="more"), delta("stop"), DONE) == [ChatDone("stop")]


def test_what_is_kept_of_an_answer_is_bounded_whatever_it_holds() -> None:
    """A reason without end, and arguments of letters that take six bytes each where they are kept."""
    chunks = ChatChunks()
    list(chunks.feed(call(0, "a", name="look\0", arguments='{"a":\0\x01 1}')))
    (done,) = chunks.feed(delta("x" * 100_000))
    assert isinstance(done, ChatDone)
    assert len(done.finish_reason) == MAX_REASON_CHARS
    assert [(one.name, one.arguments) for one in done.tool_calls] == [("look", '{"a": 1}')]


def test_arguments_that_are_nested_too_deep_are_a_wrong_chunk() -> None:
    """And no error of ours."""
    data = delta(tool_calls=[{"function": {"name": "look", "arguments": {}}}])
    with pytest.raises(WrongChunk):
        list(ChatChunks().feed(data.replace("{}", '{"a":' * 400 + "1" + "}" * 400)))
