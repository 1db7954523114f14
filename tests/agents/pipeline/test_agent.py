"""Whole calls with a pipeline, on pods of virtual time that die at every moment.

They go through `agent`, `conversing`, `replying` and `round`.
"""

from __future__ import annotations

import pytest

from tests.agents.pipeline.models import Models
from tests.doubles.counting import sentences
from tests.doubles.faults import Fault, Kind
from tests.doubles.model import GoingOn
from tests.doubles.provider import Provider
from voice_agent.agents.pipeline.asking import GO_ON
from voice_agent.testing.script import BargeIn, ScriptStep, SendEvent, Type, UntilSilent
from voice_agent.testing.simulate import Surroundings, simulate, survives

COUNT = "count from 1 to 12 in sentences of 4"
COUNTED = sentences(range(1, 13), 4)
LONG = "count from 1 to 16 in sentences of 4"
LONG_COUNTED = sentences(range(1, 17), 4)


def test_a_model_is_asked_and_its_sentences_are_said() -> None:
    """Once; it is told what the caller said."""
    models = Models()
    run = simulate(models.agent, [Type(COUNT)], surroundings=models.around(instructions="Count."))
    assert run.errors == []
    assert run.text == COUNTED
    [asked] = models.asked()
    assert asked["messages"] == [{"role": "system", "content": "Count."}, {"role": "user", "content": COUNT}]
    assert models.open_requests == 0


def test_a_conversation_is_told_with_what_was_said_in_it() -> None:
    """By both sides."""
    models = Models()
    simulate(models.agent, ["hello", "and again"], surroundings=models.around(greeting="Good day. "))
    assert models.asked()[1]["messages"] == [
        {"role": "assistant", "content": "Good day. "},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "You said: hello"},
        {"role": "user", "content": "and again"},
    ]


def test_a_crash_at_any_moment_changes_nothing() -> None:
    """Whatever the model makes of an answer that was begun; once it is whole, no model is asked for it again."""
    for number, going_on in enumerate(GoingOn):
        provider = Provider(going_on=going_on)
        provider.token_s = 0.02
        models = Models(provider)
        every = 19 if number else 7  # They differ in few moments.
        run = survives(models.agent, [Type(LONG)], surroundings=models.around(greeting="Hello. "), every=every)
        assert run.text == f"Hello. {LONG_COUNTED}"
        assert models.open_requests == 0


def test_a_handoff_at_any_moment_changes_nothing() -> None:
    """Nor is anything left open."""
    provider = Provider()
    provider.token_s = 0.02
    models = Models(provider)
    survives(models.agent, [Type(LONG)], surroundings=models.around(), hand_off=True, every=7)
    assert models.open_requests == 0


def test_a_model_is_asked_only_for_what_is_missing() -> None:
    """It is told what was said; where its answer is durable it is not asked at all."""
    provider = Provider()
    provider.token_s = 0.02
    models = Models(provider)
    whole = simulate(models.agent, [Type(LONG)], surroundings=models.around())
    again = set[int]()
    for moment in range(1, whole.awaits + 1, 11):
        models.clear()
        simulate(models.agent, [Type(LONG)], crash_at=moment, surroundings=models.around())
        first, *others = models.asked()
        assert first["messages"] == [{"role": "user", "content": LONG}]
        again.add(len(others))
        for other in others:
            question, *begun = other["messages"]
            assert question == first["messages"][0]
            if begun:
                said, go_on = begun
                assert said["role"] == "assistant"
                assert LONG_COUNTED.startswith(said["content"])
                assert said["content"] != LONG_COUNTED
                assert go_on == {"role": "system", "content": GO_ON}
    assert again == {0, 1}


@pytest.mark.parametrize("kind", ["cut", "short", "garbage", "stall"])
def test_a_stream_that_breaks_off_is_gone_on_with_elsewhere(kind: Kind) -> None:
    """In mid-sentence: no word is missing and none is repeated. See `test_reading` for every byte."""
    first, second = Provider(), Provider(going_on=GoingOn.LAST_WORDS)
    models = Models(first, second)
    simulate(models.agent, [Type(COUNT)], surroundings=models.around())
    size = first.log.all[0].sent_bytes
    for at in range(0, size, size // 12):
        first.faults.add("chat", Fault(kind, after_bytes=at))
        run = simulate(models.agent, [Type(COUNT)], surroundings=models.around())
        assert run.text.split() == COUNTED.split(), at
        assert run.errors == []
    assert models.open_requests == 0


def test_a_caller_who_speaks_into_the_answer_ends_it_and_the_request() -> None:
    """Whenever that is, and the pod dies: no request is left open, and the model knows what was heard."""
    for after_ms in (100, 500, 900, 1_700):
        provider = Provider()
        provider.token_s = 0.15
        models = Models(provider)
        script: list[ScriptStep] = [Type(LONG), BargeIn("stop it", after_ms=after_ms)]
        run = simulate(models.agent, script, surroundings=models.around())
        assert run.errors == []
        assert models.open_requests == 0
        assert not provider.log.all[0].is_complete
        *before, stop = models.asked()[-1]["messages"]
        assert stop["content"].endswith("stop it")
        assert all(LONG_COUNTED.startswith(heard["content"]) for heard in before[1:])
        survives(models.agent, script, surroundings=models.around(), every=41)


def test_a_written_reply_and_one_out_of_band() -> None:
    """No voice is asked; the client says what there is to answer."""
    models = Models()
    asked = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": COUNT}]}
    response = {"conversation": "none", "output_modalities": ["text"], "input": [asked]}
    create = {"type": "response.create", "response": response}
    run = simulate(models.agent, [Type("hello"), SendEvent(create), UntilSilent()], surroundings=models.around())
    assert run.errors == []
    assert [(reply.text, reply.in_conversation, bool(reply.audio)) for reply in run.replies] == [
        ("You said: hello", True, True),
        (COUNTED, False, False),
    ]
    assert models.asked()[1]["messages"] == [{"role": "user", "content": COUNT}]


def test_settings_of_the_session_reach_the_model() -> None:
    """Instructions, tools, which must be called, and how long the answer may be."""
    models = Models()
    light = {"type": "function", "name": "light", "parameters": {"type": "object", "properties": {}}}
    session = {"instructions": "Be kind.", "tools": [light], "tool_choice": "none", "max_output_tokens": 3}
    around = Surroundings(settings=models.around(instructions="Be brief.").settings, session=session)
    run = simulate(models.agent, [Type(COUNT)], surroundings=around)
    [asked] = models.asked()
    assert asked["messages"][0] == {"role": "system", "content": "Be brief.\n\nBe kind."}
    assert [tool["function"]["name"] for tool in asked["tools"]] == ["light"]
    assert (asked["tool_choice"], asked["max_tokens"]) == ("none", 3)
    assert COUNTED.startswith(run.text.strip())


def test_an_answer_that_was_said_to_its_end_is_not_asked_for_again() -> None:
    """Its last piece waits until all of it is durable."""
    models = Models()
    whole = simulate(models.agent, [Type("hello")], surroundings=models.around())
    for moment in range(1, whole.awaits + 1, 3):
        models.clear()
        simulate(models.agent, [Type("hello")], crash_at=moment, surroundings=models.around())
        for asked in models.asked():
            assert [message["role"] for message in asked["messages"]] == ["user"]
