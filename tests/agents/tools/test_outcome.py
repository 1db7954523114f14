"""Whatever a tool does, its call comes to a value or to an error for the model, in time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import orjson
import pytest
from pydantic import BaseModel
from structlog.testing import capture_logs

from tests.kit.recording_call import RecordingCall
from tests.waiting import until
from voice_agent.agents.tools.functions import tool
from voice_agent.agents.tools.outcome import MAX_ARGUMENTS_BYTES, MAX_OUTPUT_BYTES, outcome_of
from voice_agent.kit.call import Call
from voice_agent.kit.tools import Tool, ToolError

SHORT_S = 0.05
CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


class Table(BaseModel):
    """As authors return it."""

    number: int


class Chain(BaseModel):
    """Links as many as there are."""

    next: Chain | None = None


class Endless:
    """Iterated, it does not end."""

    def __iter__(self) -> Iterator[int]:
        return itertools.count()


class Misbehaving(Tool):
    """Does what the test says."""

    def __init__(self, does: Any, timeout_s: float = 10.0) -> None:
        super().__init__(name="does", parameters={"type": "object"}, timeout_s=timeout_s)
        self.does = does

    async def run(self, call: Call, arguments: Mapping[str, Any], idempotency_key: str) -> Any:
        return await self.does() if callable(self.does) else self.does


async def outcome(does: Any, arguments: Any = "{}", timeout_s: float = 10.0) -> Any:
    return await outcome_of(Misbehaving(does, timeout_s), RecordingCall(), arguments, "k")


async def raises(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    "error",
    [
        KeyError("password"),
        SystemExit("password"),
        asyncio.CancelledError("password"),
        StopAsyncIteration("password"),
        ExceptionGroup("password", [ValueError()]),
        RecursionError("password"),
        MemoryError("password"),
    ],
    ids=repr,
)
async def test_what_a_tool_raises_is_for_the_log_and_not_for_the_model(error: BaseException) -> None:
    """It may hold secrets. The model learns that it failed, and that it is not to try again."""
    with capture_logs() as logs:
        found = await outcome(lambda: raises(error))
    assert set(found) == {"error"}
    assert "not known" in found["error"]
    assert "password" not in found["error"]
    assert [line["event"] for line in logs] == ["tool failed"]


async def test_a_tools_own_error_is_told_to_the_model() -> None:
    """A thousand characters of it."""
    assert await outcome(lambda: raises(ToolError("There is no order 7."))) == {"error": "There is no order 7."}
    long = await outcome(lambda: raises(ToolError("a" * 5000)))
    assert len(long["error"]) == 1024


async def test_a_tool_that_takes_too_long_is_given_up() -> None:
    """Whether it did anything is not known."""
    ended: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    found = await outcome(waits, timeout_s=SHORT_S)
    assert "longer than 0.05 s" in found["error"]
    assert ended == ["cancelled"]


async def test_a_tool_that_swallows_its_cancellation_is_left_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call goes on, and the log names it."""
    monkeypatch.setattr("voice_agent.agents.tools.outcome.CANCELS_WITHIN_S", SHORT_S)
    may_end, ended = asyncio.Event(), []

    async def swallows() -> None:
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                continue
        ended.append("at last")
        raise ValueError

    with capture_logs() as logs:
        found = await outcome(swallows, timeout_s=SHORT_S)
    assert "longer" in found["error"]
    assert [line["event"] for line in logs] == ["tool does not end although it was cancelled"]
    may_end.set()
    await until(lambda: bool(ended))


async def test_who_gives_a_tool_up_waits_for_nothing() -> None:
    """A call that moves to another pod does so at once, whatever the tool makes of it."""
    may_end = asyncio.Event()
    begun = asyncio.Event()

    async def swallows() -> None:
        begun.set()
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                continue

    task = asyncio.create_task(outcome(swallows))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    may_end.set()


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (None, None),
        ("text", "text"),
        ((1, {2}), [1, [2]]),
        ({"a": float("nan"), "b": float("inf")}, {"a": None, "b": None}),
        (b"bytes", "bytes"),
        ({1: 2}, {"1": 2}),
        (Decimal("1.50"), "1.50"),
        (date(2026, 2, 3), "2026-02-03"),
        (Table(number=7), {"number": 7}),
        ([MappingProxyType({"a": 1})], [{"a": 1}]),
    ],
)
async def test_what_a_tool_gives_is_as_json_has_it(value: Any, kept: Any) -> None:
    """Also what is only nearly JSON."""
    assert await outcome(value) == kept


NOT_JSON = [
    b"\xff",
    object(),
    CIRCLE,
    2**70,
    itertools.count(),
    (letter for letter in "ab"),
    Endless(),
    "\ud800",
    {"a": "x" * MAX_OUTPUT_BYTES},
    len,
    orjson.loads(b"[" * 254 + b"]" * 254),
]


@pytest.mark.parametrize("value", NOT_JSON, ids=lambda value: type(value).__name__)
async def test_what_cannot_be_kept_is_an_error_that_says_it_was_done(value: Any) -> None:
    """For it was: the model is not to have it done again."""

    async def gives() -> Any:
        return value

    found = await outcome(gives)
    assert found["error"].startswith("It was done, but")


async def test_what_fits_exactly_is_kept() -> None:
    """The limit is that of a side effect's result."""
    fits = "x" * (MAX_OUTPUT_BYTES - 2)
    assert await outcome(fits) == fits
    assert "It was done" in (await outcome(fits + "x"))["error"]


@pytest.mark.parametrize(
    "arguments",
    ["{", "[]", "3", '"text"', "null", "[" * 5000, '{"a":NaN}', "\ud800", "x" * (MAX_ARGUMENTS_BYTES + 1), [1]],
    ids=lambda given: repr(given)[:12],
)
async def test_arguments_that_are_no_object_are_refused_before_anything_is_done(arguments: Any) -> None:
    """They come from a model."""
    found = await outcome(lambda: raises(AssertionError("it was run")), arguments)
    assert found["error"].startswith("The arguments")


async def test_no_arguments_are_an_empty_object() -> None:
    """As some models give them."""
    assert await outcome("done", "") == "done"


async def test_a_function_is_told_what_is_wrong_with_its_arguments() -> None:
    """By name."""

    @tool
    async def book(people: int) -> None: ...

    found = await outcome_of(book, RecordingCall(), '{"people": "many"}', "k")
    assert "people: " in found["error"]


async def test_arguments_as_deep_as_can_be_are_no_fault_of_the_server() -> None:
    """A model may nest what it gives as deep as its length allows."""

    @tool
    async def count(chain: Chain) -> int:
        depth = 0
        at: Chain | None = chain
        while at is not None:
            at, depth = at.next, depth + 1
        return depth

    for depth in (100, 200, 300, 1000, 5000):
        found = await outcome_of(
            count, RecordingCall(), '{"chain":' + '{"next":' * depth + "null" + "}" * depth + "}", "k"
        )
        assert found == depth or "error" in found
