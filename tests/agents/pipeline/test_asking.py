"""What a model is asked."""

from __future__ import annotations

from typing import Any

from tests.kit.recording_call import asked
from voice_agent.agents.pipeline.asking import GO_ON, Asking, Question, going_on, question
from voice_agent.agents.pipeline.memory import keep_round, kept_rounds
from voice_agent.agents.pipeline.messages import tool_calls, tool_result
from voice_agent.agents.pipeline.settings import Continuation, PipelineSettings
from voice_agent.agents.tools.functions import tool
from voice_agent.providers.chat import ChatRequest

SETTINGS = PipelineSettings(model="http://model0/v1", temperature=0.5, max_tokens=100)
USER = {"type": "message", "role": "user", "id": "item_a", "content": [{"type": "input_text", "text": "hello"}]}
CLIENTS = {"type": "function", "name": "show", "parameters": {"type": "object"}}


@tool
async def look(what: str) -> str:
    """Look something up.

    Args:
        what: What.
    """
    return what


def asks(*, state: dict[str, Any] | None = None, **fields: Any) -> Question:
    event = asked(USER, **fields)
    return question(event, event.items, "Be brief.", [look], kept_rounds(state or {}))


def test_instructions_come_first_those_of_the_agent_before_those_of_the_session() -> None:
    """In one message."""
    request = asks(instructions="Be kind.").request(SETTINGS)
    assert request.messages == [
        {"role": "system", "content": "Be brief.\n\nBe kind."},
        {"role": "user", "content": "hello"},
    ]


def test_tools_of_the_agent_and_functions_of_the_client_are_told() -> None:
    """One of the client's cannot stand in the place of one of the agent's."""
    request = asks(tools=(CLIENTS, {**CLIENTS, "name": "look"})).request(SETTINGS)
    assert [each["function"]["name"] for each in request.tools] == ["look", "show"]
    assert request.tools[0]["function"]["description"] == "Look something up."


def test_a_tool_that_must_be_called_must_be_once() -> None:
    """Behind its result the model is free; to call none stays forbidden."""
    rounds = [tool_calls([("1", "look", "{}")]), tool_result("1", "5")]
    must, mustnt = asks(tool_choice="required"), asks(tool_choice="none")
    assert [must.request(SETTINGS).tool_choice, must.request(SETTINGS, rounds).tool_choice] == ["required", "auto"]
    assert [mustnt.request(SETTINGS).tool_choice, mustnt.request(SETTINGS, rounds).tool_choice] == ["none", "none"]
    assert must.request(SETTINGS, rounds).messages[-2:] == rounds


def test_what_tools_gave_before_is_told_but_not_out_of_band() -> None:
    """There the client says what there is to answer."""
    state: dict[str, Any] = {}
    keep_round(state, "item_a", [tool_calls([("1", "look", "{}")]), tool_result("1", "5")])
    assert len(asks(state=state).request(SETTINGS).messages) == 4
    assert len(asks(state=state, out_of_band=True).request(SETTINGS).messages) == 2


def test_limits_of_the_reply_come_before_those_of_the_settings() -> None:
    """None is none."""
    assert asks().request(SETTINGS).max_tokens == 100
    assert asks(max_output_tokens=7).request(SETTINGS).max_tokens == 7


def test_a_model_is_asked_to_go_on_in_its_own_way() -> None:
    """In words, with a mark, or with parameters."""
    request = ChatRequest(messages=[{"role": "user", "content": "hello"}])
    said = {"role": "assistant", "content": "Good "}
    assert going_on(request, " ", Continuation.PREFIX) == request
    assert going_on(request, "Good ", Continuation.INSTRUCTION).messages[1:] == [
        said,
        {"role": "system", "content": GO_ON},
    ]
    assert going_on(request, "Good ", Continuation.PREFIX).messages[1:] == [{**said, "prefix": True}]
    last = going_on(request, "Good ", Continuation.CONTINUE_FINAL_MESSAGE)
    assert last.messages[1:] == [said]
    assert last.extra == {"continue_final_message": True, "add_generation_prompt": False}
    asking = Asking(request, SETTINGS)
    assert asking(SETTINGS.endpoints[0], "Good ") == going_on(request, "Good ", Continuation.INSTRUCTION)
