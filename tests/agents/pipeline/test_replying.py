"""Replies for which a model has tools run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from tests.agents.pipeline.models import Models
from tests.doubles.model import Answer, ToolCall
from tests.doubles.provider import Provider
from voice_agent.agents.pipeline import Pipeline
from voice_agent.agents.pipeline.replying import MAX_ROUNDS
from voice_agent.agents.tools.functions import tool
from voice_agent.testing.script import BargeIn, GiveResult, ScriptStep, Type
from voice_agent.testing.simulate import Surroundings, simulate, survives


@tool(says="One moment. ", says_after_ms=200)
async def temperature(city: str, idempotency_key: str) -> dict[str, Any]:
    """How warm it is.

    Args:
        city: Where.
    """
    return {"degrees": 20 + len(city)}


@tool
async def order(bread: str) -> str:
    """Order bread."""
    raise RuntimeError("a secret")


@tool(says="One moment. ", says_after_ms=200)
async def slow() -> bool:
    """Takes its time."""
    await asyncio.sleep(2)  # Virtual time.
    return True


class Clerk(Pipeline):
    """With tools of its own."""

    name = "clerk"
    tools = (temperature, order, slow)


LIGHT = {"type": "function", "name": "light", "parameters": {"type": "object", "properties": {"room": {}}}}


def with_client(around: Surroundings) -> Surroundings:
    return Surroundings(settings=around.settings, session={"tools": [LIGHT]})


class Scripted(Provider):
    """A model that answers what a test says: behind so many rounds of tools the so-many-th, at last the last."""

    def __init__(self, *answers: Answer) -> None:
        super().__init__()
        self.answers = answers

    def think(self, asked: dict[str, Any]) -> Answer:
        rounds = sum("tool_calls" in message for message in asked["messages"])
        return self.answers[min(rounds, len(self.answers) - 1)]


def calls(*names_and_arguments: tuple[str, str], text: str = "") -> Answer:
    return Answer(text, [ToolCall(*each) for each in names_and_arguments])


def test_a_tool_of_the_agent_runs_and_the_model_says_what_it_gave() -> None:
    """In the same reply; with a crash at any moment it has run once, and the model was asked once a round."""
    models = Models(agent=Clerk)
    run = survives(models.agent, [Type("temperature please")], surroundings=models.around(), every=3)
    assert run.errors == []
    assert run.text == 'The tool says: {"degrees":21}. '
    assert [name for name, keys in run.side_effects.items() if keys != 1] == []


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_an_answer_that_is_cut_short_is_an_incomplete_response(finish: str) -> None:
    """By its length or by a filter, as the protocol has it; with a crash at any moment the same."""
    models = Models(Scripted(Answer("So far. ", finish=finish)))
    run = survives(models.agent, [Type("hello")], surroundings=models.around(), every=3)
    assert run.errors == []
    assert [(reply.status, reply.text) for reply in run.replies] == [("incomplete", "So far. ")]


def test_a_later_turn_knows_what_a_tool_gave_in_an_earlier_one() -> None:
    """Though no item of the conversation says it."""
    models = Models(agent=Clerk)
    simulate(models.agent, [Type("temperature please"), Type("thank you")], surroundings=models.around())
    roles = [message["role"] for message in models.asked()[-1]["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]


def test_a_function_of_the_client_is_called_and_its_result_answered() -> None:
    """As the protocol has it; with a crash at any moment once."""
    models = Models(agent=Clerk)
    script: Sequence[ScriptStep] = [Type("light please"), GiveResult("on"), Type("hello")]
    run = survives(models.agent, script, surroundings=with_client(models.around()), every=3)
    assert run.errors == []
    assert run.replies[0].functions == (("light", '{"room": "7"}'),)
    assert run.replies[1].text == "The tool says: on. "


def test_tools_of_both_sides_in_one_answer() -> None:
    """The agent's runs at once, the client's when it gives its result; then the model knows both."""
    answer = calls(("temperature", '{"city": "Ulm"}'), ("light", '{"room": "1"}'), text="I do both. ")
    models = Models(Scripted(answer, Answer("Done. ")), agent=Clerk)
    run = simulate(models.agent, [Type("both"), GiveResult("on")], surroundings=with_client(models.around()))
    assert run.text == "I do both. Done. "
    told = models.asked()[1]["messages"]
    assert [message["role"] for message in told] == ["user", "assistant", "tool", "assistant", "tool"]
    assert [message["content"] for message in told if message["role"] == "tool"] == ['{"degrees":23}', "on"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (calls(("nothing", "{}")), "There is no tool 'nothing'."),
        (calls(("light", "no json")), "Its arguments are no JSON object."),
        (calls(("light", "[1]")), "Its arguments are no JSON object."),
        (calls(("temperature", "{}")), "city"),
        (calls(("temperature", "{")), "JSON"),
        (calls(("order", '{"bread": "rye"}')), "error"),
    ],
)
def test_a_call_that_cannot_be_is_told_to_the_model(answer: Answer, error: str) -> None:
    """And nothing of what went wrong inside."""
    models = Models(Scripted(answer, Answer("I see. ")), agent=Clerk)
    run = simulate(models.agent, [Type("go")], surroundings=with_client(models.around()))
    assert (run.text, run.errors) == ("I see. ", [])
    output = models.asked()[1]["messages"][-1]
    assert output["role"] == "tool"
    assert error in output["content"]
    assert "secret" not in output["content"]


def test_a_model_that_calls_tools_for_ever_is_told_to_stop() -> None:
    """In the last round it may call none; what it calls then is not run."""
    models = Models(Scripted(calls(("temperature", '{"city": "Ulm"}'))), agent=Clerk)
    run = simulate(models.agent, [Type("go")], surroundings=models.around())
    assert len(models.asked()) == MAX_ROUNDS
    assert models.asked()[-1]["tool_choice"] == "none"
    assert run.ended == "hangup"


def test_what_a_tool_says_while_it_runs_does_not_stand_in_its_answers_way() -> None:
    """Several speeches in one reply."""
    models = Models(Scripted(calls(("slow", "{}"), text="Let me see. "), Answer("All is well. ")), agent=Clerk)
    run = survives(models.agent, [Type("go")], surroundings=models.around(), every=11)
    assert run.text == "Let me see. One moment. All is well. "


def test_an_interrupted_tool_is_remembered() -> None:
    """What it did is done: the model is told, so that it is not done again."""
    models = Models(Scripted(calls(("slow", "{}")), Answer("Yes. ")), agent=Clerk)
    script: Sequence[ScriptStep] = [Type("go"), BargeIn("stop", after_ms=300), Type("and")]
    run = simulate(models.agent, script, surroundings=models.around())
    assert run.errors == []
    told = models.asked()[-1]["messages"]
    assert "tool" in [message["role"] for message in told]


def test_a_model_is_asked_once_for_each_round_whose_outcome_is_known() -> None:
    """Wherever the pod dies, it is asked once more at most."""
    models = Models(agent=Clerk)
    whole = simulate(models.agent, [Type("temperature please")], surroundings=models.around())
    for moment in range(1, whole.awaits + 1, 7):
        models.clear()
        simulate(models.agent, [Type("temperature please")], crash_at=moment, surroundings=models.around())
        tools = [[message["role"] for message in asked["messages"]].count("tool") for asked in models.asked()]
        assert tools in ([0, 1], [0, 0, 1], [0, 1, 1])
