"""Python functions as tools: what a model is told of them, and what it can do to them.

Of `functions`, `signature` and `kit.tools`.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any, Literal

import jsonschema  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest
from pydantic import BaseModel, Field

from tests.agents.tools.booking import Desk
from tests.kit.recording_call import RecordingCall
from voice_agent.agents.tools.functions import FunctionTool, tool
from voice_agent.kit.call import Call
from voice_agent.kit.tools import MAX_TIMEOUT_S, Tool, ToolError
from voice_agent.testing.script import Type
from voice_agent.testing.simulate import survives

CALL = RecordingCall()
OBJECT = {"type": "object", "properties": {}}


class Wish(BaseModel):
    """A tree of wishes."""

    text: str
    beside: Wish | None = None


@tool(says="One moment. ", timeout_s=3)
async def book(
    people: int,
    at: Annotated[str, Field(description="When")],
    call: Call,
    idempotency_key: str,
    kind: Literal["inside", "outside"] = "inside",
    wishes: list[Wish] = [],  # noqa: B006 what authors write
) -> list[Any]:
    """Book a table.

    Only in this house.

    Args:
        people: How many
            will come.
        kind (str): Where.

    Returns:
        Much.
    """
    wishes.append(Wish(text="quiet"))
    return [people, at, kind, [wish.text for wish in wishes], call is CALL, idempotency_key]


def test_a_schema_comes_from_the_signature_and_the_docstring() -> None:
    """The model sees what it may give, with descriptions, and not what the server gives."""
    told = book.described()
    assert (told["type"], told["name"], told["description"]) == (
        "function",
        "book",
        "Book a table.\n\nOnly in this house.",
    )
    properties = told["parameters"]["properties"]
    assert properties["people"] == {"type": "integer", "description": "How many will come."}
    assert properties["at"] == {"type": "string", "description": "When"}
    assert properties["kind"] == {
        "type": "string",
        "enum": ["inside", "outside"],
        "default": "inside",
        "description": "Where.",
    }
    assert set(properties) == {"people", "at", "kind", "wishes"}
    assert told["parameters"]["required"] == ["people", "at"]
    jsonschema.Draft202012Validator.check_schema(told["parameters"])
    jsonschema.validate({"people": 2, "at": "8", "wishes": [{"text": "a", "beside": {"text": "b"}}]}, book.parameters)


async def test_arguments_are_converted_and_defaults_are_each_calls_own() -> None:
    """A list that one call appends to is not the next one's."""
    for _ in range(2):
        assert await book.run(CALL, {"people": "3", "at": "8"}, "k") == [3, "8", "inside", ["quiet"], True, "k"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"at": "8"}, "people: "),
        ({"people": "many", "at": "8"}, "people: "),
        ({"people": 3, "at": "8", "idempotency_key": "mine"}, "idempotency_key: "),
        ({"people": 3, "at": "8", "call": {}}, "call: "),
        ({"people": 3, "at": "8", "url": "http://evil"}, "url: "),
        ({"people": 3, "at": "8", "wishes": [{}]}, "wishes.0.text: "),
    ],
)
async def test_wrong_arguments_are_told_by_their_names(arguments: dict[str, Any], named: str) -> None:
    """What stands in them is not repeated; what the server gives no model can give."""
    with pytest.raises(ToolError, match="The arguments are wrong") as raised:
        await book.run(CALL, arguments, "k")
    assert named in str(raised.value)
    assert "many" not in str(raised.value)
    assert "evil" not in str(raised.value)


async def test_what_is_no_coroutine_function_runs_in_a_thread() -> None:
    """So it blocks nobody; what it raises is raised, but for what would end the pod."""

    @tool
    def where(n: int) -> tuple[int, bool]:
        return n, threading.current_thread() is threading.main_thread()

    @tool
    def stops(what: str) -> None:
        raise {"exit": SystemExit(3), "stop": StopIteration(), "wrong": KeyError("x")}[what]

    assert await where.run(CALL, {"n": 1}, "k") == (1, False)
    assert where(2) == (2, True)
    with pytest.raises(RuntimeError, match="SystemExit: 3"):
        await stops.run(CALL, {"what": "exit"}, "k")
    with pytest.raises(RuntimeError, match="StopIteration"):
        await stops.run(CALL, {"what": "stop"}, "k")
    with pytest.raises(KeyError):
        await stops.run(CALL, {"what": "wrong"}, "k")


async def test_methods_and_objects_that_can_be_called_are_functions_too() -> None:
    """Bound, their own object is no parameter."""

    class Orders:
        async def look(self, order: int) -> int:
            """Look."""
            return order + 1

        async def __call__(self, order: int) -> int:
            return order + 2

    assert await tool(Orders().look).run(CALL, {"order": 1}, "k") == 2
    called = tool(name="called")(Orders())
    assert await called.run(CALL, {"order": 1}, "k") == 3
    part = tool(name="part")(partial(Orders.look, Orders()))
    assert await part.run(CALL, {"order": 1}, "k") == 2


async def _yields(n: int) -> AsyncIterator[int]:
    yield n


def _any_number(*numbers: int) -> None: ...


def _any_name(**names: int) -> None: ...


def _no_type(n) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001 that is what is tried


def _unknown(n: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821 that is what is tried


def _no_schema(n: threading.Lock) -> None: ...


@pytest.mark.parametrize("function", [_yields, _any_number, _any_name, _no_type, _unknown, _no_schema])
def test_a_function_that_no_model_can_call_is_refused_where_it_is_made_a_tool(function: Any) -> None:
    """And not in a call."""
    with pytest.raises(TypeError):
        tool(function)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "book a table"},
        {"name": ""},
        {"name": "a" * 65},
        {"parameters": {"type": "string"}},
        {"timeout_s": 0},
        {"timeout_s": MAX_TIMEOUT_S + 1},
        {"timeout_s": float("nan")},
        {"says_after_ms": -1},
    ],
)
def test_a_tool_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    """Its name goes to a provider; its time ends before the server takes the agent for dead."""
    with pytest.raises(ValueError, match="tool"):
        Tool(**{"name": "book", "parameters": OBJECT, **wrong})


def test_parameters_may_be_called_what_they_like() -> None:
    """Also as what pydantic's own classes have."""

    @tool
    def odd(model_config: int, schema: str, copy: bool, self_: int = 0) -> None: ...

    assert isinstance(odd, FunctionTool)
    assert set(odd.parameters["properties"]) == {"model_config", "schema", "copy", "self_"}


async def test_an_agent_that_has_tools_can_be_copied() -> None:
    """As each pod of a simulation has a copy of its own."""
    copied = copy.deepcopy(book)
    assert copied.described() == book.described()
    assert await copied.run(CALL, {"people": 1, "at": "8"}, "k")


def test_a_method_that_is_not_bound_is_refused_with_a_hint() -> None:
    """Its object would be an argument of the model's."""
    with pytest.raises(TypeError, match=r"tool\(self\.method\)"):

        class Orders:
            @tool
            def look(self, order: int) -> int:
                return order


@pytest.mark.parametrize("wrong", [SystemExit, KeyError, RecursionError])
def test_in_a_simulation_a_function_without_async_is_run_as_well(wrong: type[BaseException]) -> None:
    """Whatever it raises: the call goes on, and a pod that dies at any moment changes nothing."""

    @tool
    def look(guests: int) -> str:
        if guests:
            raise wrong
        return "on its way"

    run = survives(lambda: Desk(look), [Type("0"), Type("1")], every=9)
    assert not run.errors
    assert run.replies[0].text == "It is on its way. "
    assert run.replies[1].text.startswith("The function failed. ")
