"""What a token costs does not grow with the reply that it is of: neither in bytes to the store nor in time."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import pytest

from tests.call.calls import FRAME, Happening, feed, new_call, response_id
from tests.call.engine import call_tool, first
from tests.call.test_responses import HELLO
from voice_agent.call import agent_acts, inputs
from voice_agent.call.record import CallRecord
from voice_agent.call.writes import take_write

TOKEN = "word "
EARLY, LATE, AROUND = 10, 2000, 64
"""Tokens that are compared, and how many behind each are averaged: as many as fill some chunks of every kind."""
PERIOD_MS = 300
LARGE: dict[str, Any] = {
    "tools": [
        {"type": "function", "name": f"tool_{n}", "description": "x" * 900, "parameters": {"type": "object"}}
        for n in range(10)
    ]
}
"""Ten tools of a kilobyte each."""

Step = Callable[[CallRecord, int], list[Happening]]


def text(call: CallRecord, number: int) -> list[Happening]:
    return [inputs.ResponseText(response_id(1), TOKEN, voiced=True)]


def speech(call: CallRecord, number: int) -> list[Happening]:
    """Each token with the audio that says it, too late each time: the caller waits, and what is played stands still."""
    return [*text(call, number), inputs.ResponseAudio(response_id(1), FRAME, len(FRAME))]


def words(call: CallRecord, number: int) -> list[Happening]:
    """One long text, and its audio with more words each time."""
    told = inputs.ResponseAudio(response_id(1), FRAME, len(FRAME) * (number + 1), [[20 * number, 5 * number]], number)
    return [told] if number else [inputs.ResponseText(response_id(1), TOKEN * 2 * LATE), told]


def side_effects(call: CallRecord, number: int) -> list[Happening]:
    """Each with its result."""
    event = first(call).number
    return [inputs.OnceBegun(event, f"book {number}"), inputs.OnceDone(event, f"book {number}", {"table": 7})]


def function_calls(call: CallRecord, number: int) -> list[Happening]:
    """Each under a key of its own."""
    return [call_tool("look_up", '{"order":7}')]


@pytest.fixture(autouse=True)
def _acts_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_acts, "MAX_ACTS", 3 * LATE)


class Costs:
    """Of each step of one reply: bytes of its write, and the time it took."""

    def __init__(self, step: Step, params: dict[str, Any], **session: Any) -> None:
        self.bytes: list[int] = []
        self.cpu_ns: list[int] = []
        call = new_call(**session)
        feed(call, HELLO, inputs.CreateResponse(params))
        take_write(call, 0)
        for number in range(LATE + AROUND):
            events = step(call, number)
            began_ns = time.process_time_ns()
            feed(call, *events, now_ms=number * PERIOD_MS)
            write = take_write(call, 0)
            self.cpu_ns.append(time.process_time_ns() - began_ns)
            self.bytes.append(write.size_bytes + sum(map(len, write.fields)))
        assert call.response is not None

    def bytes_around(self, at: int) -> float:
        return sum(self.bytes[at : at + AROUND]) / AROUND

    def cpu_around(self, at: int) -> float:
        return median(self.cpu_ns[at : at + AROUND])


KINDS = pytest.mark.parametrize(
    ("step", "session", "most_bytes"),
    [
        (text, {"output_modalities": ["text"]}, 450),
        (speech, {}, 2200),
        (words, {}, 1700),
        (side_effects, {}, 400),
        (function_calls, {}, 4000),
        (function_calls, {"conversation": "none"}, 3000),
    ],
    ids=["text", "speech", "words of one text", "side effects", "function calls", "out of band"],
)
PARAMETERS = pytest.mark.parametrize("tools", [False, True], ids=["no tools", "ten tools"])


@PARAMETERS
@KINDS
def test_a_token_costs_as_much_at_2000_as_at_10(
    step: Step, session: dict[str, Any], most_bytes: int, tools: bool
) -> None:
    """In bytes within a fifth, for ids and numbers grow by some digits; in time within what a busy machine adds."""
    session = dict(session)
    params: dict[str, Any] = {name: session.pop(name) for name in ("conversation",) if name in session}
    costs = Costs(step, {**params, **(LARGE if tools else {})}, **session)
    assert costs.bytes_around(LATE) < 1.2 * costs.bytes_around(EARLY)
    assert costs.bytes_around(LATE) < most_bytes
    assert costs.cpu_around(LATE) < 4 * costs.cpu_around(EARLY)


@pytest.mark.parametrize("step", [text, speech, words, side_effects])
def test_a_token_costs_the_same_whatever_was_asked_for(step: Step) -> None:
    """What `response.create` brought is read and stored once, be it the tools of a large application."""
    plain, large = Costs(step, {}), Costs(step, LARGE)
    assert large.bytes_around(LATE) == plain.bytes_around(LATE)
    # Of all: those around one token are over in some milliseconds, which a busy machine makes twice as long.
    assert median(large.cpu_ns) < 2 * median(plain.cpu_ns)
